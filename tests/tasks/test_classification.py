"""The classifier behind the contract: what it is built from, what it measures, how it names an image, weights both ways."""

import dataclasses
import json

import flax.linen as nn
import jax
import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from genjax import data, tasks
from genjax.errors import CheckpointError, ConfigError, RequestError
from genjax.sampling import Sampler, listing
from genjax.tasks.classification import ClassificationRequest
from genjax.training import train
from tests.data.pictures import png, write_zip

MODEL = {"patch_size": 4, "num_layers": 2, "num_heads": 2, "embed_dim": 16}
CLASSES = tuple("abcdefg")


def build(task=None, model=None, **section):
    info = data.describe({"name": "images", "classes": CLASSES, "image_size": 8, "batch_size": 6} | section)
    return tasks.build({"name": "classification", "model": MODEL | (model or {})} | (task or {}), info)


@pytest.fixture(scope="module")
def task():
    return build()


@pytest.fixture(scope="module")
def variables(task):
    return jax.tree.map(lambda x: x + 0.1, nn.unbox(jax.jit(task.init)(jax.random.key(0))))


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    mask = np.array([1, 1, 1, 1, 0, 0], np.int32)
    return {
        "image": rng.integers(0, 256, (6, 8, 8, 3)).astype(np.uint8),
        "label": rng.integers(0, 7, 6).astype(np.int32),
        "mask": mask,
    }


def logits(task, variables, images):
    pixels = images.astype(np.float32) / 127.5 - 1
    return np.asarray(task.model.apply(variables["vit"], pixels).logits, np.float64)


def test_the_network_is_made_for_the_data(task):
    assert task.model_config.num_classes == 7 and task.model_config.image_size == 8
    assert build(channels=1).model_config.channels == 1
    assert build(model={"size": "vit_ti16", "patch_size": 4}).model_config.embed_dim == 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": {"size": "vit_b61"}}, "did you mean 'vit_b16'"),
        ({"model": {"num_leyers": 2}}, "did you mean config.task.model.num_layers"),
        ({"model": {"num_classes": 9}}, "num_classes is 9, but the data has 7 classes"),
        ({"classes": (), "model": {"num_classes": 0}}, "name the classes in config.data.classes"),
        ({"task": {"label_smoothing": 1.0}}, "label_smoothing is 1.0"),
        ({"task": {"mean": (0.5, 0.5), "std": (0.5, 0.5)}}, "2 numbers, but the images 3 channels"),
    ],
)
def test_what_cannot_be_built_is_a_sentence(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build(**arguments)
    with pytest.raises(ConfigError, match="needs images with classes"):
        tasks.build({"name": "classification", "model": MODEL}, data.describe({"name": "text"}))


def test_the_loss_is_torchs_with_smoothed_labels(variables, batch):
    task = build({"label_smoothing": 0.2})
    whole = batch | {"mask": np.ones(6, np.int32)}
    loss, aux = task.loss(variables, whole, jax.random.key(0))
    theirs = torch.nn.functional.cross_entropy(
        torch.tensor(logits(task, variables, batch["image"])), torch.tensor(batch["label"]).long(), label_smoothing=0.2
    )
    assert float(loss) == pytest.approx(float(theirs), rel=1e-5) and float(aux.weight) == 6


def test_metrics_count_the_rows_that_are_there(task, variables, batch):
    found = {name: float(a) / float(b) for name, (a, b) in task.evaluate(variables, batch, jax.random.key(0)).items()}
    scores, labels = logits(task, variables, batch["image"])[:4], batch["label"][:4]
    ranks = (scores > scores[np.arange(4), labels][:, None]).sum(1)
    nats = np.log(np.exp(scores).sum(1)) - scores[np.arange(4), labels]
    assert found["loss"] == pytest.approx(nats.mean(), rel=1e-4)
    assert found["accuracy"] == (ranks < 1).mean() and found["top_5"] == (ranks < 5).mean()
    other = batch | {"image": np.where(batch["mask"][:, None, None, None], batch["image"], 9)}
    for method in (task.evaluate, lambda *a: {"loss": (task.loss(*a)[0], 1)}):
        first, second = (method(variables, b, jax.random.key(0))["loss"][0] for b in (batch, other))
        assert float(first) == pytest.approx(float(second), rel=1e-6)


def test_mixing_nothing_is_the_plain_loss(variables, batch):
    """Beta(1e-4, 1e-4) gives 0 or 1: every image is then whole, with its own label."""
    plain = build().loss(variables, batch | {"mask": np.ones(6, np.int32)}, jax.random.key(0))[0]
    mixed = build({"mixup": 1e-4}).loss(variables, batch | {"mask": np.ones(6, np.int32)}, jax.random.key(0))[0]
    half = build({"mixup": 50.0}).loss(variables, batch | {"mask": np.ones(6, np.int32)}, jax.random.key(0))[0]
    assert float(mixed) == pytest.approx(float(plain), rel=1e-4) and abs(float(half) - float(plain)) > 1e-4


def test_images_are_named(task, variables, tmp_path):
    rng = np.random.default_rng(1)
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)).save(file)
    requests = [ClassificationRequest(str(file), top_k=3) for file in files]
    artifacts = Sampler(task)(variables, requests)
    for file, artifact in zip(files, artifacts, strict=True):
        scores = logits(task, variables, np.asarray(Image.open(file))[None])[0]
        share = np.exp(scores) / np.exp(scores).sum()
        best = np.argsort(-share)[:3]
        assert [entry["class"] for entry in artifact.metadata["classes"]] == [CLASSES[i] for i in best]
        assert artifact.metadata["classes"][0]["probability"] == pytest.approx(share[best[0]], abs=1e-5)
    assert f"{CLASSES[best[0]]}  " in listing(artifacts)
    with pytest.raises(RequestError, match="the image nothing.png cannot be read"):
        task.prepare([ClassificationRequest("nothing.png")])
    with pytest.raises(RequestError, match="top_k is 0"):
        task.prepare([ClassificationRequest(str(files[0]), top_k=0)])


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder as transformers writes it, and its model."""
    folder = tmp_path_factory.mktemp("vit")
    config = transformers.ViTConfig(
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=20,
        image_size=8,
        patch_size=4,
        id2label={0: "cat", 1: "dog", 2: "owl"},
        label2id={"cat": 0, "dog": 1, "owl": 2},
    )
    torch.manual_seed(0)
    model = transformers.ViTForImageClassification(config).eval()
    model.save_pretrained(folder)
    content = {"size": {"height": 8, "width": 8}, "resample": 2, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
    (folder / "preprocessor_config.json").write_text(json.dumps(content))
    return folder, model


def test_published_weights_name_an_image_as_transformers_does(published, tmp_path):
    folder, model = published
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    task, variables = tasks.open_weights(folder)
    (artifact,) = Sampler(task)(variables, [ClassificationRequest(str(tmp_path / "x.png"))])
    values = (pixels / 255 - [0.4, 0.5, 0.6]) / [0.2, 0.3, 0.4]
    with torch.no_grad():
        expected = model(torch.tensor(values.transpose(2, 0, 1)[None]).float()).logits.softmax(-1)[0].numpy()
    found = {entry["class"]: entry["probability"] for entry in artifact.metadata["classes"]}
    assert found == pytest.approx(dict(zip(("cat", "dog", "owl"), expected, strict=True)), abs=1e-5)
    task.export(tmp_path / "out", variables)
    again, _ = tasks.open_weights(tmp_path / "out")
    assert again.info.classes == ("cat", "dog", "owl") and again.preprocessor == task.preprocessor
    theirs = transformers.ViTForImageClassification.from_pretrained(tmp_path / "out")
    assert theirs.config.id2label == {0: "cat", 1: "dog", 2: "owl"}


def test_a_classifier_of_other_classes_starts_fresh(published):
    folder, model = published
    task = build(model={"num_heads": 2, "embed_dim": 12, "mlp_dim": 20})
    task = dataclasses.replace(task, model_config=dataclasses.replace(task.model_config, norm_epsilon=1e-12))
    loaded = task.pretrained(folder, None)["vit"]["params"]
    assert "head" not in loaded
    np.testing.assert_array_equal(loaded["class_token"], model.vit.embeddings.cls_token.detach().numpy()[0, 0])


def test_a_vit_without_a_classifier_names_nothing(tmp_path):
    config = transformers.ViTConfig(hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=20)
    transformers.ViTModel(config).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="without a classifier"):
        tasks.open_weights(tmp_path)


def test_a_run_learns_colours_and_knows_its_classes_without_the_data(tmp_path):
    """A whole run, on eight devices: training with accumulation, evaluation, sampling from the run directory."""
    from genjax.sampling import open_run

    files = {
        f"{name}/{i}.png": png(tuple(int(v) for v in np.clip(np.array(color) + i - 20, 0, 255)))
        for name, color in (("red", (200, 30, 30)), ("blue", (30, 30, 200)))
        for i in range(40)
    }
    path = write_zip(tmp_path / "colours.zip", files)
    config = {
        "seed": 0,
        "task": {"name": "classification", "model": MODEL},
        "data": {"name": "images", "path": str(path), "batch_size": 16, "augmentation": {"flip": True, "pad": 1}},
        "optimizer": {"name": "adamw", "peak_lr": 3e-3, "schedule": "constant"},
        "train": {"steps": 30, "log_every": 10, "eval_every": 30, "checkpoint_every": 30, "accumulation": 2},
    }
    result = train(config, tmp_path / "run")
    assert result.metrics["held_out/accuracy"] == 1.0
    path.unlink()
    task, variables = open_run(tmp_path / "run")
    (tmp_path / "x.png").write_bytes(png((190, 40, 20)))
    (artifact,) = Sampler(task)(variables, [ClassificationRequest(str(tmp_path / "x.png"))])
    assert artifact.metadata["classes"][0]["class"] == "red"


@pytest.mark.parametrize("scan_layers", [False, True])
def test_what_the_class_sees_of_an_image(scan_layers, tmp_path):
    task = build(model={"scan_layers": scan_layers}, channels=1)
    (tmp_path / "a.png").write_bytes(png("red"))
    (found,) = task.attention(nn.unbox(jax.jit(task.init)(jax.random.key(0))), ClassificationRequest(str(tmp_path / "a.png")))
    assert found.weights.shape == (2, 2, 1, 4) and found.grid == (2, 2) and found.image.shape == (8, 8, 3)
    assert (found.weights > 0).all() and (found.weights.sum(-1) < 1).all()
