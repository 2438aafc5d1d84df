"""Answers about images: the loss over answers, exact match, decoding with a cache, requests, parts from published weights."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from PIL import Image

from genjax import data, tasks
from genjax.data.image_questions import ImageQuestionRows
from genjax.data.tokenizers.byte import ByteTokenizer
from genjax.errors import CheckpointError, ConfigError, RequestError
from genjax.interop import huggingface
from genjax.sampling import sample
from genjax.tasks.visual_language import VisualRequest

GPT = {"num_layers": 2, "num_heads": 2, "embed_dim": 16, "context_length": 48, "init_std": 0.3}
VISION = {"patch_size": 4, "num_layers": 1, "num_heads": 2, "embed_dim": 12, "init_std": 0.3}
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)


def build(task=None, model=None, **section):
    section = {"name": "image_questions", "batch_size": 4, "sequence_length": 12, "image_size": 8} | section
    made = {"name": "visual_language", "model": {"gpt": GPT, "vision": VISION} | (model or {})} | (task or {})
    return tasks.build(made, data.describe(section, ByteTokenizer()))


def variables_of(task, gates=0.7):
    opened = lambda path, x: x + gates if "gate" in path[-1].key else x  # noqa: E731
    return jax.tree_util.tree_map_with_path(opened, nn.unbox(jax.jit(task.init)(jax.random.key(1))))


def rows_of(pairs, length=12):
    """A batch of (image number, prompt tokens, answer tokens)."""
    tokens = [prompt + answer for _, prompt, answer in pairs]
    rows = ImageQuestionRows(
        IMAGES,
        np.array([image for image, *_ in pairs]),
        np.concatenate([np.array(t, np.int32) for t in tokens]),
        np.array([len(t) for t in tokens]),
        np.array([len(answer) for *_, answer in pairs]),
        length,
    )
    return rows.fetch(np.zeros(len(pairs), np.int64), np.arange(len(pairs)))


PAIRS = [(0, [256, 97, 63], [98, 256]), (1, [256, 97, 98, 63], [99, 100, 256]), (2, [256], [97, 97, 256])]


@pytest.mark.parametrize("fusion", ["prefix", "gated"])
def test_the_loss_is_over_answers_alone(fusion):
    task = build(model={"fusion": fusion})
    variables, batch = variables_of(task), rows_of(PAIRS)
    joined = {"params": {name: variables[name]["params"] for name in variables}}
    images = batch["image"].astype(np.float32) / 127.5 - 1
    log_probs = np.asarray(jax.nn.log_softmax(jax.jit(task.model.apply)(joined, images, batch["tokens"])))
    expected = [
        -log_probs[row, len(prompt) - 1 + i, token]
        for row, (_, prompt, answer) in enumerate(PAIRS)
        for i, token in enumerate(answer)
    ]
    loss, aux = jax.jit(task.loss)(variables, batch, jax.random.key(0))
    assert float(loss) == pytest.approx(np.mean(expected), rel=1e-4) and float(aux.weight) == 8
    empty = {name: np.concatenate([value, np.zeros_like(value[:1])]) for name, value in batch.items()}
    totals, padded = (jax.jit(task.evaluate)(variables, b, jax.random.key(0)) for b in (batch, empty))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), totals, padded)
    assert float(totals["exact_match"][1]) == 3


@pytest.mark.parametrize("fusion", ["prefix", "gated"])
def test_greedy_answers_with_the_cache_are_those_that_match_exactly(fusion):
    """What a model of random weights writes about an image is, as its answer, an exact match; with a token changed it is not."""
    task = build(model={"fusion": fusion})
    variables = variables_of(task)
    questions = ["a?", "abc?", "", "b", "zzzz?"]
    knobs = {"max_new_tokens": 4, "ignore_eos": True, "log_probs": True}
    requests = [VisualRequest(image=IMAGES[i], prompt=q, **knobs) for i, q in enumerate(questions)]
    requests.append(VisualRequest(image=IMAGES[3], prompt="b", num_samples=3, **knobs))
    found = sample(task, variables, requests)
    answers = [artifact.metadata["tokens"] for artifact in found]
    assert answers[3] == answers[5] == answers[6] == answers[7]  # at temperature 0, samples of one prompt are one text
    pairs = [(i, [256, *question.encode()], answers[i]) for i, question in enumerate(questions)]
    evaluate = jax.jit(task.evaluate)
    totals = evaluate(variables, rows_of(pairs), jax.random.key(0))
    assert float(totals["exact_match"][0]) == float(totals["exact_match"][1]) == 5
    wrong = [(i, prompt, [*answer[:-1], (answer[-1] + 1) % 256]) for i, prompt, answer in pairs]
    assert float(evaluate(variables, rows_of(wrong), jax.random.key(0))["exact_match"][0]) == 0
    (beam, *_) = sample(task, variables, [VisualRequest(image=IMAGES[0], prompt="a?", num_beams=3, **knobs)])
    assert len(beam.metadata["tokens"]) == 4 and np.isfinite(beam.metadata["score"])


def test_requests_by_file_and_what_they_cannot_ask(tmp_path):
    task = build()
    variables = variables_of(task)
    Image.fromarray(IMAGES[0]).save(tmp_path / "a.png")
    by_file, by_array = sample(
        task, variables, [VisualRequest(image=str(tmp_path / "a.png"), prompt="a?"), VisualRequest(image=IMAGES[0], prompt="a?")]
    )
    assert by_file.value == by_array.value and by_file.metadata["image"].endswith("a.png")
    for request, message in (
        (VisualRequest(prompt="a?"), "no image to look at; give one with --image FILE"),
        (VisualRequest(image="nowhere.png"), "the image nowhere.png cannot be read"),
        (VisualRequest(image=IMAGES[0, :4]), "must be uint8 \\[8 8 3\\], but is uint8 \\[4, 8, 3\\]"),
        (VisualRequest(image=IMAGES[0], prompt="a" * 60), "the model's context holds 48"),
    ):
        with pytest.raises(RequestError, match=message):
            task.prepare([request])


@pytest.mark.parametrize("fusion", ["prefix", "gated"])
def test_what_the_last_word_sees_of_the_image(fusion):
    task = build(model={"fusion": fusion})
    (found,) = task.attention(variables_of(task), VisualRequest(image=IMAGES[0], prompt="a?"))
    assert found.weights.shape == (2, 2, 1, 4) and found.grid == (2, 2) and found.image.shape == (8, 8, 3)
    assert found.queries == ("?",) and (found.weights > 0).all() and (found.weights.sum(-1) < 1).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": {"trains": ("adaptor",)}}, "did you mean 'adapter'"),
        ({"model": {"gpt": GPT | {"size": "gpt2_125m"}}}, "did you mean 'gpt2_124m'"),
        ({"model": {"gpt": GPT | {"context_length": 16}}}, "are 17 tokens, but model.gpt.context_length is 16"),
        ({"model": {"fusion": "gate"}}, "did you mean 'gated'"),
        ({"task": {"std": (1.0, 1.0)}}, "task.mean and task.std are three numbers"),
    ],
)
def test_what_cannot_be_built_is_a_sentence(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build(**arguments)


def test_a_turn_trains_the_parts_that_the_config_names():
    assert build().turns[0].trains == ("vision/params/*", "gpt/params/*", "adapter/params/*")
    assert build({"trains": ("adapter", "gpt/params/blocks_1/*")}).turns[0].trains == (
        "adapter/params/*",
        "gpt/params/blocks_1/*",
    )


def test_parts_come_from_folders_of_published_weights(tmp_path):
    task = build()
    variables = variables_of(task)
    huggingface.save(tmp_path / "both" / "gpt", variables["gpt"]["params"], task.model_config.gpt)
    huggingface.save(tmp_path / "both" / "vision", variables["vision"]["params"], task.model_config.vision)
    for folder, parts in (("both", ["vision", "gpt"]), ("both/gpt", ["gpt"]), ("both/vision", ["vision"])):
        found = task.pretrained(str(tmp_path / folder), None)
        assert list(found) == parts
        for part in parts:
            jax.tree.map(np.testing.assert_array_equal, found[part], variables[part])
    clip = {"patch_size": 4, "num_layers": 1, "num_heads": 2, "embed_dim": 12}
    with pytest.raises(CheckpointError, match="holds a vit, which is neither this model's GPT nor its image tower"):
        build(model={"clip": clip}).pretrained(str(tmp_path / "both" / "vision"), None)
