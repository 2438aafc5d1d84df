"""Super-resolution behind the contract: losses by hand, cubic interpolation as Pillow's, any size, weights of others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image

from genjax import data, tasks
from genjax.errors import ConfigError, RequestError
from genjax.evaluation.images.similarity import psnr
from genjax.interop import public_files
from genjax.sampling import Sampler
from genjax.tasks.super_resolution import SuperResolutionRequest, enlarged, reduced

SMALL = {"generator": {"width": 4, "blocks": 1, "scale": 2}}
ESRGAN = {
    "network": "rrdb",
    "generator": {"width": 4, "growth": 2, "blocks": 1, "scale": 2},
    "discriminator": {"width": 2, "stages": 2, "hidden": 4},
    **{"adversarial": 0.005, "perceptual": 1.0, "features": {"width": 2, "layers": ("relu1_2", "conv2_1")}},
}
ROWS, SIDE = 3, 16


def build(section=SMALL, **given):
    config = {"name": "images", "labels": "none", "image_size": SIDE, "batch_size": ROWS}
    return tasks.build({"name": "super_resolution"} | section, data.describe(config | given))


def fresh(task):
    return nn.unbox(jax.jit(task.init)(jax.random.key(0)))


def photograph(height=SIDE, width=SIDE, seed=0):
    """Smooth, with some noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width] / 5
    waves = [np.sin(rows * rng.uniform(0.5, 2) + columns * rng.uniform(0.5, 2)) for _ in range(3)]
    return np.clip(128 + 90 * np.stack(waves, -1) + rng.normal(0, 4, (height, width, 3)), 0, 255).astype(np.uint8)


def batch_of():
    images = np.stack([photograph(seed=seed) for seed in range(ROWS)])
    return {"image": images, "label": np.zeros(ROWS, np.int32), "mask": np.ones(ROWS, np.int32)}


@pytest.fixture(scope="module")
def full():
    task = build(ESRGAN)
    return task, fresh(task)


@pytest.mark.parametrize("scale", [2, 4])
def test_cubic_interpolation_is_pillows(scale):
    image = photograph(24, 32)
    as_float = jnp.asarray(image, jnp.float32)[None] / 127.5 - 1
    bands = [Image.fromarray(band.astype(np.float32) / np.float32(127.5) - 1) for band in np.moveaxis(image, -1, 0)]
    for ours, size in (
        (reduced(as_float, scale), (32 // scale, 24 // scale)),
        (enlarged(as_float, scale), (32 * scale, 24 * scale)),
    ):
        theirs = np.stack([np.asarray(band.resize(size, Image.Resampling.BICUBIC)) for band in bands], -1)
        np.testing.assert_allclose(ours[0], theirs, atol=2e-5)


def test_pixels_alone():
    task = build()
    assert [turn.name for turn in task.turns] == ["generator"]
    variables, batch = fresh(task), batch_of()
    loss, aux = jax.jit(task.generator_loss)(variables, batch, jax.random.key(0))
    large = batch["image"] / np.float32(127.5) - 1
    made, _ = task.generator.apply(variables["generator"], reduced(large, 2), train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(loss, np.abs(made - large).mean(), rtol=1e-5)
    assert list(aux.collections) == ["generator"]


def test_esrgan_is_its_three_losses(full):
    """Wang et al., 2018, equations 1 to 3."""
    (task, variables), batch = full, batch_of()
    large = batch["image"] / np.float32(127.5) - 1
    made = task.generator.apply(variables["generator"], reduced(large, 2))
    judge = lambda x: np.asarray(task._judge(variables["discriminator"], x)[0], np.float64)  # noqa: E731
    real, fake = judge(large), judge(made)
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    more, less = sigmoid(real - fake.mean()), sigmoid(fake - real.mean())
    loss, _ = jax.jit(task.generator_loss)(variables, batch, jax.random.key(0))
    features = [task.features.apply(variables["features"], x) for x in (made, large)]
    assert list(features[0]) == ["relu1_2", "conv2_1"]
    perceptual = sum(np.abs(features[0][name] - features[1][name]).mean() for name in features[0])
    adversarial = -np.log(1 - more).mean() - np.log(less).mean()
    np.testing.assert_allclose(loss, np.abs(made - large).mean() + perceptual + 0.005 * adversarial, rtol=1e-4)
    # The discriminator's statistics move between its two looks, which changes nothing that it says of the second batch.
    loss, aux = jax.jit(task.discriminator_loss)(variables, batch, jax.random.key(0))
    np.testing.assert_allclose(loss, -np.log(more).mean() - np.log(1 - less).mean(), rtol=1e-4)
    assert "batch_stats" in aux.collections["discriminator"] and [turn.name for turn in task.turns][0] == "discriminator"


def test_patches_are_parts_of_the_images():
    task = build(SMALL | {"patch": 8})
    batch = batch_of()
    small, large = jax.jit(task._pair)(batch, jax.random.key(1))
    assert small.shape == (ROWS, 4, 4, 3) and large.shape == (ROWS, 8, 8, 3)
    whole = batch["image"] / np.float32(127.5) - 1
    for patch, image in zip(large, whole, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(image, (8, 8), (0, 1)).transpose(0, 1, 3, 4, 2)
        assert (np.abs(windows - patch).max((2, 3, 4)) < 1e-6).sum() == 1


def test_measured_beside_cubic_interpolation():
    task = build()
    variables, batch = fresh(task), batch_of() | {"mask": np.array([1, 1, 0], np.int32)}
    found = {name: float(a) / float(b) for name, (a, b) in jax.jit(task.evaluate)(variables, batch, jax.random.key(0)).items()}
    large = batch["image"][:2] / np.float32(127.5) - 1
    cubic = np.clip(enlarged(reduced(large, 2), 2), -1, 1)
    mse = np.square((cubic - large) / 2).mean((1, 2, 3))
    assert found["psnr_cubic"] == pytest.approx(np.mean(10 * np.log10(1 / mse)), rel=1e-4)
    assert 20 < found["psnr_cubic"] < 45 and found["psnr_y_cubic"] > found["psnr_cubic"]
    assert set(found) == {"psnr_cubic", "psnr_made", "psnr_y_cubic", "psnr_y_made"}
    assert float(psnr(large, large)[0]) > 90


def test_images_of_any_size_become_larger(tmp_path):
    task = build()
    variables = fresh(task)
    for name, size in (("a", (6, 9)), ("b", (10, 4))):
        Image.fromarray(photograph(*size)).save(tmp_path / f"{name}.png")
    sampler = Sampler(task)
    one, two = sampler(variables, [SuperResolutionRequest(image=str(tmp_path))])
    assert one.value.shape == (12, 18, 3) and two.value.shape == (20, 8, 3) and one.metadata["scale"] == 2
    (back,) = sampler(variables, [SuperResolutionRequest(image=str(tmp_path / "b.png"), reduce=True, beside=True)])
    assert back.value.shape == (10, 8, 3)
    for request, message in (
        (SuperResolutionRequest(image=str(tmp_path / "c.png")), "c.png cannot be read: no such file"),
        (SuperResolutionRequest(), "give it a file or a folder"),
    ):
        with pytest.raises(RequestError, match=message):
            task.prepare([request])
    Image.new("RGB", (1100, 3)).save(tmp_path / "long.png")
    with pytest.raises(RequestError, match="1100x3 pixels, which would become more than 2048"):
        task.prepare([SuperResolutionRequest(image=str(tmp_path / "long.png"))])


def test_weights_of_others(full, tmp_path):
    task, variables = full
    public_files.save("vgg", task.features.config, variables["features"], tmp_path / "vgg")
    task.export(str(tmp_path / "esrgan"), variables)
    for folder, name in (("vgg", "features"), ("esrgan", "generator")):
        found = task.pretrained(str(tmp_path / folder), None)
        assert list(found) == [name]
        jax.tree.map(np.testing.assert_array_equal, found[name]["params"], variables[name]["params"])
    for path in (tmp_path / "esrgan", tmp_path / "esrgan" / "model.safetensors"):
        opened, found = tasks.open_weights(path)
        assert opened.generator.config == task.generator.config and list(found) == ["generator"]
    with pytest.raises(ConfigError, match="no public layout of SRResNet"):
        build().export(str(tmp_path / "small"), {})
    with pytest.raises(ConfigError, match="perceptual is 0; set it"):
        build().pretrained(str(tmp_path / "vgg"), None)
    with pytest.raises(ConfigError, match="set config.task.network 'rrdb' and its fields"):
        build().pretrained(str(tmp_path / "esrgan"), None)


@pytest.mark.parametrize(
    ("section", "given", "message"),
    [
        ({"patch": 32}, {}, "no larger than the images"),
        ({"patch": 7}, {}, "must be multiples of 2"),
        ({"generator": {"channels": 3}}, {}, "generator sets channels"),
        ({"network": "rrdb", "generator": {"scale": 1}}, {}, "makes nothing larger"),
        ({"perceptual": 1.0}, {"channels": 1}, "looks at colours"),
        ({"pixels": -1.0}, {}, "pixels is -1.0"),
        ({}, {"image_size": 0}, "config.data.image_size is 0"),
    ],
)
def test_what_cannot_be_built_is_a_sentence(section, given, message):
    with pytest.raises(ConfigError, match=message):
        build(SMALL | section, **given)
    with pytest.raises(ConfigError, match="needs images"):
        tasks.build({"name": "super_resolution"}, data.describe({"name": "mixture"}))
