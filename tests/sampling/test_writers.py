"""Artifacts on disk: read back, and never over something that exists."""

import json
import wave

import matplotlib.image
import numpy as np
import pytest

from genjax.errors import RequestError
from genjax.sampling.writers import check_target, grid, listing, preview, write
from genjax.tasks.contract import Artifact

TEXTS = [Artifact("text", "thou \u2028art\n", {"prompt": "O Romeo, ", "num_tokens": 4}), Artifact("text", "\U0001f600", {})]


def images(count, height=5, width=4):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    return [Artifact("image", value, {"prompt": f"p{i}"}) for i, value in enumerate(values)]


def read_png(path):
    return np.round(matplotlib.image.imread(path)[..., :3] * 255).astype(np.uint8)


def test_texts_are_lines_of_json(tmp_path):
    (path,) = write(TEXTS, tmp_path / "deep" / "texts")
    assert path.name == "texts.jsonl"
    lines = path.read_text("utf-8").split("\n")
    assert json.loads(lines[0]) == {"prompt": "O Romeo, ", "text": "thou \u2028art\n", "num_tokens": 4}
    assert json.loads(lines[1]) == {"text": "\U0001f600"} and lines[2:] == [""]


def test_one_image_is_a_png_with_its_prompt_inside(tmp_path):
    (path,) = write(images(1), tmp_path / "one.png")
    np.testing.assert_array_equal(read_png(path), images(1)[0].value)
    assert b'[{"prompt": "p0"}]' in path.read_bytes()


def test_several_images_are_a_grid_or_a_folder(tmp_path):
    artifacts = images(5)
    (path,) = write(artifacts, tmp_path / "all.png")
    sheet = read_png(path)
    assert sheet.shape == (2 * 7 - 2, 3 * 6 - 2, 3)
    np.testing.assert_array_equal(sheet[7:12, 6:10], artifacts[4].value)
    assert (sheet[5:7] == 255).all()
    files = write(artifacts, tmp_path / "folder")
    assert [f.name for f in files] == ["grid.png", *(f"{i:04d}.png" for i in range(5))]
    np.testing.assert_array_equal(read_png(files[4]), artifacts[3].value)
    index = [json.loads(line) for line in (tmp_path / "folder" / "artifacts.jsonl").read_text().splitlines()]
    assert index[3] == {"file": "0003.png", "prompt": "p3"}


@pytest.mark.parametrize(("prompts", "each", "columns"), [(4, 8, 8), (6, 2, 4), (2, 9, 3), (4, 16, 8), (3, 1, 2), (1, 6, 3)])
def test_a_grid_keeps_the_images_of_a_prompt_together(tmp_path, prompts, each, columns):
    artifacts = [Artifact("image", a.value, {"prompt": f"p{i // each}"}) for i, a in enumerate(images(prompts * each))]
    (path,) = write(artifacts, tmp_path / "all.png")
    assert read_png(path).shape[1] == columns * 6 - 2


def test_arrays_lie_beside_their_picture_and_are_not_overwritten(tmp_path):
    carried = [Artifact(a.kind, a.value, a.metadata, {"x/y": np.full((2, 3), i)}) for i, a in enumerate(images(3))]
    files = write(carried, tmp_path / "all.png")
    assert [f.name for f in files] == ["all.png", "all.npz"]
    assert np.load(files[1])["x/y"].tolist() == [[[i] * 3] * 2 for i in range(3)]
    write(carried, tmp_path / "folder")
    assert np.load(tmp_path / "folder" / "0002.npz")["x/y"].tolist() == [[[2] * 3] * 2]
    files[0].unlink()
    with pytest.raises(RequestError, match="all.npz exists; choose another --out, or add --overwrite"):
        check_target(tmp_path / "all.png")
    check_target(tmp_path / "other.png")


def test_a_grid_of_different_sizes_is_filled_up_with_white():
    sheet = grid([np.zeros((2, 2, 3), np.uint8), np.zeros((4, 3, 3), np.uint8)])
    assert sheet.shape == (4, 8, 3)
    assert (sheet[2:, :2] == 255).all() and (sheet[:2, :2] == 0).all() and (sheet[:, 5:] == 0).all()


def test_sounds_are_16_bit_wav(tmp_path):
    samples = np.sin(np.linspace(0, 20, 300)).astype(np.float32) * 1.5
    artifact = Artifact("audio", samples, {"sample_rate": 8000})
    (path,) = write([artifact], tmp_path / "a.wav")
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 8000)
        pcm = np.frombuffer(file.readframes(400), "<i2")
    np.testing.assert_allclose(pcm / 32767, np.clip(samples, -1, 1), atol=2e-5)
    files = write([artifact, Artifact("audio", np.zeros((9, 2)), {"sample_rate": 8000})], tmp_path / "sounds")
    with wave.open(str(files[1])) as file:
        assert (file.getnchannels(), file.getnframes()) == (2, 9)


def test_nothing_is_overwritten_unless_asked(tmp_path):
    path = tmp_path / "texts.jsonl"
    write(TEXTS[:1], path)
    for target in (path, tmp_path / "texts"):
        with pytest.raises(RequestError, match="texts.jsonl exists; choose another --out, or add --overwrite"):
            write(TEXTS, target)
    assert len(path.read_text().split("\n")) == 2
    write(TEXTS, path, overwrite=True)
    assert len(path.read_text("utf-8").split("\n")) == 3
    (tmp_path / "new").mkdir()
    check_target(tmp_path / "new")


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "texts.jsonl"
    write(TEXTS[:1], path)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write([Artifact("text", "a", {"bad": object()})], path, overwrite=True)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["texts.jsonl"]


@pytest.mark.parametrize(
    "artifacts,target,message",
    [
        (TEXTS, "a.png", "texts are written to .jsonl files, but --out is .*a.png"),
        (images(1), "a.jpg", "images are written to .png files"),
        ([Artifact("audio", np.zeros(3), {"sample_rate": 8})] * 2, "a.wav", "can hold one of 2 sounds"),
        ([*TEXTS, *images(1)], "a", "a target takes artifacts of one kind"),
        ([], "a", "cannot write nothing"),
        ([Artifact("video", 0, {})], "a", "there is no writer for 'video'; known: text, image, audio"),
    ],
)
def test_what_cannot_be_written(tmp_path, artifacts, target, message):
    with pytest.raises(RequestError, match=message):
        write(artifacts, tmp_path / target)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="cannot write .*: "):
        write(TEXTS, tmp_path / "file" / "texts.jsonl")


def test_the_terminal_shows_prompt_and_text_and_numbers_several():
    assert listing(TEXTS[:1]) == "O Romeo, thou \u2028art\n"
    assert listing(TEXTS).startswith("--- 1 of 2 ---\nO Romeo, thou") and "--- 2 of 2 ---\n\U0001f600" in listing(TEXTS)
    with pytest.raises(RequestError, match="add --out FILE"):
        listing(images(1))


def test_preview_is_short():
    assert preview(TEXTS) == "O Romeo, thou \u2028art\n"
    assert preview([Artifact("text", "a" * 1000, {})], limit=10) == "a" * 10 + "..."
    assert preview(images(2)) == "2 images" and preview([]) == "nothing"
