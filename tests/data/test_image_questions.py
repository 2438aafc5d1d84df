"""Images with questions: what a row holds, what is held out, what is refused."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from genjax import data
from genjax.data.image_files import fit_image
from genjax.data.image_questions import prompt_tokens, square
from genjax.errors import ConfigError, DataError

COLORS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def png(image):
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Forty images of one colour, the top left pixel black, two questions each; and captions."""
    path = tmp_path_factory.mktemp("vqa") / "questions.zip"
    questions, captions = [], []
    with zipfile.ZipFile(path, "w") as file:
        for number in range(40):
            color = list(COLORS)[number % 3]
            image = Image.new("RGB", (8, 8), COLORS[color])
            image.putpixel((0, 0), (0, 0, 0))
            file.writestr(f"train/images/{number}.png", png(image))
            questions += [["what color is it?", color, number], ["is it red?", "yes" if color == "red" else "no", number]]
            captions.append({"file_name": f"train/images/{number}.png", "text": [f"a {color} square", f"it is {color}"]})
        file.writestr("train/questions.json", json.dumps(questions))
        file.writestr("metadata.jsonl", "\n".join(map(json.dumps, captions)))
    return path


def build(path, seed=0, **options):
    section = {"name": "image_questions", "path": str(path), "image_size": 8, "sequence_length": 16, "batch_size": 4}
    section["tokenizer"] = {"name": "bpe", "vocab_size": 400}
    return data.build(section | {"evaluation_fraction": 0.2} | options, seed=seed, cache_dir=None)


def rows(dataset):
    found = dataset.batches.rows
    return found.fetch(np.zeros(found.num_rows, np.int64), np.arange(found.num_rows))


def color_of(image):
    return next(name for name, color in COLORS.items() if (image[4, 4] == color).all())


def test_a_row_is_an_image_and_its_question_with_the_loss_on_the_answer(archive):
    datasets = build(archive)
    tokenizer, seen = datasets.train.info.tokenizer, 0
    for dataset in (datasets.train, datasets.evaluation):
        found = rows(dataset)
        for row in range(len(found["image"])):
            image, tokens, targets, mask = (found[name][row] for name in ("image", "tokens", "targets", "loss_mask"))
            learned = targets[mask == 1]
            assert learned[-1] == tokenizer.eos_id
            answer, question = tokenizer.decode(learned[:-1]).strip(), tokenizer.decode(tokens[: int(mask.argmax()) + 1])
            color = color_of(image)
            expected = {"what color is it?": color, "is it red?": "yes" if color == "red" else "no"}
            assert answer == expected[question.replace("<|endoftext|>", "")]
            start = prompt_tokens(tokenizer, "{question}", question.replace("<|endoftext|>", ""))
            assert tokens[: len(start)].tolist() == start and mask[: len(start) - 1].sum() == 0
            used = int(np.flatnonzero(mask)[-1]) + 1
            assert (targets[: used - 1] == tokens[1:used]).all() and not tokens[used:].any() and not mask[used:].any()
            seen += 1
    assert seen == 80 == datasets.train.info.num_rows + datasets.evaluation.info.num_rows


def test_whole_images_are_held_out(archive):
    datasets = build(archive)
    assert datasets.train.info.num_images + datasets.evaluation.info.num_images == 40
    assert 2 * datasets.evaluation.info.num_images == datasets.evaluation.info.num_rows > 0
    assert datasets.train.fingerprint != build(archive, seed=1).train.fingerprint
    assert datasets.train.fingerprint == build(archive).train.fingerprint


def test_the_last_rows_of_an_evaluation_are_empty(archive):
    evaluation = build(archive, batch_size=64).evaluation
    batch = evaluation.batch(0)
    used = evaluation.info.num_rows
    assert batch["loss_mask"][:used].any(1).all() and not batch["loss_mask"][used:].any()


def test_captions_are_answers_to_no_question(archive):
    datasets = build(archive, layout="captions")
    found = rows(datasets.train)
    tokenizer = datasets.train.info.tokenizer
    texts = {
        tokenizer.decode(targets[mask == 1][:-1]) for targets, mask in zip(found["targets"], found["loss_mask"], strict=True)
    }
    assert texts == {f"{start} {color}{end}" for color in COLORS for start, end in (("a", " square"), ("it is", ""))}
    assert (found["loss_mask"][:, 0] == 1).all() and (found["tokens"][:, 0] == tokenizer.bos_id).all()


def test_flips_are_drawn_from_seed_epoch_and_row(archive):
    found = build(archive, augmentation={"flip": True, "flip_vertical": True}).train.batches.rows
    everything = np.arange(found.num_rows)
    first, again, later = (found.fetch(np.full(found.num_rows, e), everything)["image"] for e in (0, 0, 1))
    alone = found.fetch(np.array([0]), everything[7:8])["image"]
    assert (first == again).all() and (first != later).any() and (first[7] == alone[0]).all()
    corners = np.stack([(first[:, y, x] == 0).all(-1) for y, x in ((0, 0), (0, 7), (7, 0), (7, 7))], 1)
    assert (corners.sum(1) == 1).all() and (corners.sum(0) > 0).all()
    plain = build(archive).train.batches.rows
    assert (plain.fetch(np.full(plain.num_rows, 3), everything)["image"][:, 0, 0] == 0).all()


def test_images_of_another_shape_are_made_square():
    pixels = np.zeros((4, 10, 3), np.uint8)
    pixels[:, 5:] = 255
    made = fit_image(Image.fromarray(pixels), square(6))
    assert made.shape == (6, 6, 3) and (made[:, 0] == 0).all() and (made[:, 5] == 255).all()


def test_lists_of_one_archive_share_a_cache_without_taking_each_others_images(archive, tmp_path):
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as copy, zipfile.ZipFile(archive) as original:
        for name in original.namelist():
            copy.writestr(name, original.read(name))
        few = json.loads(original.read("train/questions.json"))[:12]
        copy.writestr("few.json", json.dumps(few))
    shared = {"cache_dir": str(tmp_path / "cache"), "evaluation_fraction": 0.0}
    few = build(tmp_path / "two.zip", list_file="few.json", **shared).train
    everything = build(tmp_path / "two.zip", **shared).train
    assert (few.info.num_images, everything.info.num_images) == (6, 40)
    assert (len(few.batches.rows.images), len(everything.batches.rows.images)) == (6, 40)


@pytest.mark.parametrize(
    ("options", "message", "kind"),
    [
        ({"path": "nowhere.zip"}, "does not exist", DataError),
        ({"path": "$GENJAX_NOWHERE/a.zip"}, "an environment variable that is not set", DataError),
        ({"list_file": "other.json"}, "holds no other.json; set data.list_file", DataError),
        ({"list_file": "metadata.jsonl"}, "must be a JSON list of \\[question, answer, image\\]", DataError),
        ({"sequence_length": 2}, "texts are longer than data.sequence_length 2; raise it", DataError),
        ({"template": "Q:"}, "it must have {question} where the question stands", ConfigError),
        ({"augmentation": {"flips": True}}, "did you mean config.data.augmentation.flip", ConfigError),
        ({"image_files": "train/images/{}.jpg"}, "holds no images", DataError),
        ({"image_files": "train/images/1{}.png"}, "holds no train/images/110.png, of which a text speaks", DataError),
    ],
)
def test_what_cannot_be_read_is_a_sentence(archive, options, message, kind):
    with pytest.raises(kind, match=message):
        build(options.pop("path", archive), **options)


def test_easy_vqa(data_folder):
    config = {"path": str(data_folder / "easy_vqa.zip"), "sequence_length": 16, "evaluation_fraction": 0.1}
    datasets = data.build({"name": "image_questions"} | config, seed=0, cache_dir=None)
    train, held_out = datasets.train.info, datasets.evaluation.info
    assert (train.num_images + held_out.num_images, train.num_rows + held_out.num_rows) == (4000, 38575)
    assert train.left_out == held_out.left_out == 0 and 300 < held_out.num_images < 500
