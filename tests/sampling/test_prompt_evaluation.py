"""Figures of what is drawn for texts, and of what comes back of images: by hand, and by the commands."""

import json

import numpy as np
import pytest
from PIL import Image

from genjax import data
from genjax.data.sources import shape_captions, shape_pictures, shapes
from genjax.errors import RequestError
from genjax.sampling import prompt_evaluation, reconstruction_evaluation
from genjax.sampling.prompt_evaluation import alignment, captions_of, diversity, measured_by, pictures_of
from genjax.sampling.run import read_config, run_task
from tests.dalle_runs import SHAPES


@pytest.fixture(scope="module")
def drawn():
    """Captions of all that can be said, and the pictures that they are of."""
    labels = shapes.combinations(1)[::37]
    return [shape_captions.caption(shapes.scene_of(label)) for label in labels.tolist()], shape_pictures.draw(
        labels, 32, 0, np.arange(len(labels))
    )


def test_alignment_is_what_is_in_the_pictures(drawn):
    captions, images = drawn
    found = alignment(captions, images)
    assert found["alignment"] > 0.99 and found["alignment_whole"] > 0.97
    other = [caption.replace("red", "blue") for caption in captions]
    wrong = alignment(other, images)
    assert wrong["alignment_place"] == found["alignment_place"]
    share = np.mean(["red" not in caption for caption in captions])
    assert wrong["alignment_color"] == pytest.approx(share, abs=0.02) and wrong["alignment"] < found["alignment"]
    assert alignment(["a dog on a sofa"], images[:1]) == {}


def test_diversity_compares_within_a_caption_and_between():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    assert diversity(images, 2) == pytest.approx(1, abs=0.05)
    assert diversity(np.repeat(images[:20], 2, axis=0), 2) == 0
    half = np.repeat(images[:20], 2, axis=0)
    half[1::2, :4] = images[20:, :4]
    assert diversity(half, 2) == pytest.approx(0.5**0.5, abs=0.05)


def test_prompts_by_the_command(dalle_runs, tmp_path, capsys):
    common = [f"--workdir={dalle_runs / 'drawn'}", "--count=6", "--each=2", f"--clip={dalle_runs / 'ranker'}"]
    assert prompt_evaluation.main([*common, "--sweep=1,2", f"--out={tmp_path / 'out'}", "--temperature=0.5"]) == 0
    rows = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [row["request"]["guidance"] for row in rows] == [1, 2]
    assert all({"alignment", "alignment_place", "diversity", "clip_score/ranker-2"} <= row["figures"].keys() for row in rows)
    assert rows[0]["figures"]["data_clip_score/ranker-2"] == rows[1]["figures"]["data_clip_score/ranker-2"]
    assert measured_by(rows[0]["figures"]) == "alignment" and measured_by({"diversity": 1.0}) == ""
    assert (
        measured_by({"diversity": 1.0, "clip_score/x": 1.0, "own_caption_nearer/x": 0.5, "fid/y": 1.0}) == "own_caption_nearer/x"
    )
    assert all(row["pictures"] == 12 for row in rows) and rows[0]["request"]["temperature"] == 0.5
    assert (tmp_path / "out" / "samples.png").exists() and (tmp_path / "out" / "tradeoff.png").exists()
    for arguments, message in (
        ([f"--workdir={dalle_runs / 'stage'}", f"--out={tmp_path / 'new'}"], "is no run of task 'dalle'"),
        ([*common, f"--out={tmp_path / 'out'}"], "already holds files"),
        ([*common, "--sweep=1;2", f"--out={tmp_path / 'new'}"], "write scales of guidance with commas"),
    ):
        assert prompt_evaluation.main(arguments) != 0
        assert message in capsys.readouterr().err


def test_captions_of_what_was_held_out_and_of_what_was_seen(dalle_runs):
    names = {}
    for which in ("held_out", "seen"):
        options = prompt_evaluation.parser().parse_args(
            [f"--workdir={dalle_runs / 'drawn'}", "--out=x", f"--captions={which}", "--count=50"]
        )
        captions, _ = captions_of(read_config(dalle_runs / "drawn"), dalle_runs / "drawn", options)
        names[which] = set(shapes.names_of(np.array([shapes.label_of(shape_captions.parse(caption)) for caption in captions])))
    trained = data.build(SHAPES, seed=0, cache_dir=None).train.batches.rows.pictures
    seen = set(shapes.names_of(trained.combinations))
    assert not names["held_out"] & seen and names["seen"] <= seen


def test_a_caption_of_two_images_is_asked_for_once(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    with (folder / "metadata.jsonl").open("w") as lines:
        for number in range(8):
            Image.new("RGB", (8, 8), (30 * number, 0, 0)).save(folder / f"{number}.png")
            lines.write(json.dumps({"file_name": f"{number}.png", "text": f"picture {number % 4}"}) + "\n")
    section = {"name": "image_texts", "path": str(folder), "image_size": 8, "context_length": 8, "tokenizer": {"name": "byte"}}
    run = {"data": {**section, "batch_size": 2, "evaluation_fraction": 0.0, "codes": {"path": "of another machine"}}}
    common = [f"--workdir={tmp_path}", "--out=x", "--captions=seen"]
    for count, expected in ((3, 3), (8, 4)):
        captions, dataset = captions_of(run, tmp_path, prompt_evaluation.parser().parse_args([*common, f"--count={count}"]))
        assert captions == {f"picture {number}": number for number in range(expected)}
        assert pictures_of(dataset, captions)[:, 0, 0].tolist() == [[30 * number, 0, 0] for number in range(expected)]


def test_reconstructions_by_the_command(dalle_runs, tmp_path):
    arguments = [f"--workdir={dalle_runs / 'stage'}", f"--features={dalle_runs / 'ranker'}", f"--out={tmp_path / 'out'}"]
    assert reconstruction_evaluation.main(arguments) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    figures = summary["figures"]
    (rfid,) = (value for name, value in figures.items() if name.startswith("rfid/clip-ranker-"))
    (perceptual,) = (value for name, value in figures.items() if name.startswith("perceptual/clip-ranker-"))
    assert rfid > 0 and perceptual > 0 and figures["sharpness"] > 0 and 0 < figures["code_use"] <= 1 and summary["images"] == 16
    task = run_task(dalle_runs / "stage")
    assert (tmp_path / "out" / "reconstructions.png").exists() and task.medium.shape == (32, 32, 3)
    with pytest.raises(RequestError, match="is no run of task 'autoencoder'"):
        options = reconstruction_evaluation.parser().parse_args(
            [f"--workdir={dalle_runs / 'ranker'}", f"--out={tmp_path / 'new'}"]
        )
        reconstruction_evaluation.run(options)
