"""Autoencoders behind the contract: losses by hand, schedules, requests, and runs of each kind."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen as nn
from PIL import Image
from torchmetrics.functional.image import structural_similarity_index_measure

from genjax import data, sampling, tasks, training
from genjax.errors import ConfigError, DataError, RequestError
from genjax.evaluation.images.similarity import edges, psnr, ssim
from genjax.models.autoencoder import Autoencoder
from genjax.quantization.quantized import CODEBOOK
from genjax.tasks.autoencoder import ReconstructionRequest
from genjax.tasks.autoencoder_requests import code_picture
from genjax.tasks.pixels import PIXELS, logit_laplace

SMALL = {"widths": (8, 8), "blocks": 1, "groups": 4, "attention_levels": (), "middle_attention": False, "latent_channels": 4}
VECTOR = {"name": "vector", "codes": 16, "width": 4}
SHAPES = {"name": "shapes", "image_size": 32, "batch_size": 8, "num_images": 64, "evaluation_images": 20}
ADAM = {"name": "adam", "schedule": "constant", "peak_lr": 1e-3}


def make(bottleneck=VECTOR, **section):
    section = {"name": "autoencoder", "model": SMALL | {"bottleneck": bottleneck}} | section
    return tasks.build(section, data.describe(SHAPES))


@pytest.fixture(scope="module")
def batch():
    return data.build(SHAPES, seed=0, cache_dir=None).train.batch(0)


def start(task):
    return jax.jit(lambda: nn.unbox(task.init(jax.random.key(0))))()


KINDS = {
    "vector": VECTOR,
    "restarting": VECTOR | {"restart": 0.1},
    "learned": VECTOR | {"learning": "loss"},
    "cosine": VECTOR | {"cosine": True, "width": 3},
    "residual": {"name": "residual", "depth": 2, "codebook": {"codes": 16, "width": 4}},
    "finite_scalar": {"name": "finite_scalar", "levels": (5, 4)},
    "lookup_free": {"name": "lookup_free", "bits": 5},
    "gumbel": {"name": "gumbel", "codes": 16, "width": 4},
    "gaussian": {"name": "gaussian", "width": 4},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_bottleneck_gives_gradients_and_figures(kind, batch):
    task = make(KINDS[kind])
    variables = start(task)
    run = jax.jit(jax.value_and_grad(lambda params: _loss(task, variables, params, batch), has_aux=True))
    (loss, aux), gradients = run(variables["autoencoder"]["params"])
    assert np.isfinite(loss)
    idle = [jax.tree_util.keystr(path) for path, leaf in jax.tree_util.tree_leaves_with_path(gradients) if not np.any(leaf)]
    assert not idle
    moved = aux.collections.get("autoencoder", {})
    assert (CODEBOOK in moved) == (kind in ("vector", "restarting", "cosine", "residual"))
    sums = jax.jit(task.evaluate)(variables, batch, jax.random.key(1))
    found = task.summarize({n: np.asarray(a) / w if np.ndim(a) else float(a / w) for n, (a, w) in sums.items()})
    images = batch["image"] / 127.5 - 1.0
    made = np.clip(
        jax.jit(Autoencoder(task.model_config).apply)(variables["autoencoder"], jnp.asarray(images, jnp.float32))[0], -1, 1
    )
    expected = [10 * np.log10(4 / ((a - b) ** 2).mean()) for a, b in zip(images, np.asarray(made), strict=True)]
    assert found["psnr"] == pytest.approx(np.mean(expected), rel=1e-4)
    assert found["sharpness"] == pytest.approx(float(edges(made).sum() / edges(images).sum()), rel=1e-4)
    assert ("code_use" in found) == (kind != "gaussian")
    if kind != "gaussian":
        assert 0 < found["code_use"] <= 1 and 1 <= found["code_perplexity"] <= task.code_grids[0].bottleneck.codes


def _loss(task, variables, params, batch, loss=None):
    changed = dict(variables) | {"autoencoder": dict(variables["autoencoder"]) | {"params": params}}
    return (loss or task.loss)(changed, batch, jax.random.key(2))


def test_the_loss_is_the_weighed_sum(batch):
    task = make(VECTOR | {"learning": "loss"}, pixels="squared", commitment=0.5, codebook=2.0)
    variables = start(task)
    loss, aux = task.loss(variables, batch, jax.random.key(2))
    parts = {name: float(total / weight) for name, (total, weight) in aux.metrics.items()}
    assert loss == pytest.approx(parts["pixels"] + 0.5 * parts["commitment"] + 2 * parts["codebook"], rel=1e-6)
    images = jnp.asarray(batch["image"], jnp.float32) / 127.5 - 1
    made, _ = task.model.apply(variables["autoencoder"], images)
    assert parts["pixels"] == pytest.approx(np.square(made - images).mean(), rel=1e-5)


def test_the_divergence_counts_for_each_number_of_an_image(batch):
    task = make(KINDS["gaussian"], kl=0.01)
    variables = start(task)
    loss, aux = task.loss(variables, batch, jax.random.key(2))
    parts = {name: float(total / weight) for name, (total, weight) in aux.metrics.items()}
    assert loss == pytest.approx(parts["pixels"] + 0.01 * parts["kl"] / (32 * 32 * 3), rel=1e-6)


def test_temperature_and_divergence_follow_half_a_cosine(batch):
    task = make(KINDS["gumbel"], kl=6.6, kl_steps=4, temperature=(1.0, 0.1), temperature_steps=8)
    variables = start(task)
    for seen, temperature, weight in (
        (0, 1.0, 0.0),
        (2 * 8, 0.1 + 0.9 * 0.5 * (1 + 0.5**0.5), 3.3),
        (8 * 8, 0.1, 6.6),
        (99 * 8, 0.1, 6.6),
    ):
        told = variables | {"schedule": {"moving": {"images": jnp.float32(seen)}}}
        _, aux = task.loss(told, batch, jax.random.key(0))
        assert float(aux.metrics["temperature"][0] / 8) == pytest.approx(temperature, rel=1e-5)
        assert float(aux.metrics["kl_weight"][0] / 8) == pytest.approx(weight, abs=1e-5)
        assert float(aux.collections["schedule"]["moving"]["images"]) == seen + 8


@pytest.mark.parametrize("adaptive", [True, False])
def test_the_discriminator_weighs_as_its_slopes_at_the_last_layer(adaptive, batch):
    """Esser et al., 2021, equation 7, with gradients of the whole losses in the last layer's kernel."""
    task = make(adversarial=0.8, adaptive=adaptive, discriminator={"width": 4, "layers": 1})
    variables = start(task)
    _, aux = task.judged_loss(variables, batch, jax.random.key(2))
    parts = {name: float(total / weight) for name, (total, weight) in aux.metrics.items()}
    images, params = jnp.asarray(batch["image"], jnp.float32) / 127.5 - 1, variables["autoencoder"]["params"]

    def made(kernel):
        last = params["decoder"] | {"conv_out": params["decoder"]["conv_out"] | {"kernel": kernel}}
        return task.model.apply(variables["autoencoder"] | {"params": params | {"decoder": last}}, images)[0]

    lost = lambda kernel: jnp.abs(made(kernel) - images).mean()  # noqa: E731
    fooled = lambda kernel: -task.judge(variables["discriminator"], made(kernel), True)[0].mean()  # noqa: E731
    kernel = params["decoder"]["conv_out"]["kernel"]
    slopes = [np.linalg.norm(jax.grad(f)(kernel)) for f in (lost, fooled)]
    weight = 0.8 * (slopes[0] / (slopes[1] + 1e-4) if adaptive else 1.0)
    assert parts["adversarial_weight"] == pytest.approx(weight, rel=1e-4)
    assert parts["adversarial"] == pytest.approx(float(fooled(kernel)), rel=1e-4)
    loss = task.judged_loss(variables, batch, jax.random.key(2))[0]
    assert loss == pytest.approx(parts["pixels"] + 0.25 * parts["commitment"] + weight * parts["adversarial"], rel=1e-5)


def test_the_discriminator_comes_later():
    task = make(adversarial=0.8, adversarial_start=100, discriminator={"width": 4, "layers": 1})
    assert [(turn.name, turn.prefix, turn.start, turn.stop) for turn in task.turns] == [
        ("autoencoder", "", 0, 100),
        ("autoencoder_judged", "autoencoder", 100, None),
        ("discriminator", "", 100, None),
    ]
    assert task.flops_at(0) < task.flops_at(100) == task.flops_per_step


def test_the_logit_laplace_distribution():
    """It integrates to 1 over the interval that pixels are brought to and beyond, and its median is the image."""
    outputs = jnp.broadcast_to(jnp.array([0.7, np.log(0.4)], jnp.float32), (20001, 2))
    y = np.linspace(1e-6, 1 - 1e-6, 20001)
    images = (y - 0.5) / 0.4
    density = np.exp(-np.asarray(logit_laplace(outputs, jnp.asarray(images[:, None], jnp.float32)), np.float64))[:, 0]
    assert np.trapezoid(density, y) == pytest.approx(1, abs=2e-3)
    median = PIXELS["logit_laplace"].image(jnp.array([[[0.7, 0.0]]]))
    assert median.item() == pytest.approx((1 / (1 + np.exp(-0.7)) - 0.5) / 0.4, rel=1e-6)


def test_similarity_is_torchmetrics():
    generator = np.random.default_rng(0)
    x = generator.uniform(-1, 1, (3, 19, 24, 3)).astype(np.float32)
    y = np.clip(x + 0.3 * generator.standard_normal(x.shape), -1, 1).astype(np.float32)
    images = (torch.from_numpy(np.moveaxis(z, -1, 1).copy()) for z in (x, y))
    _, theirs = structural_similarity_index_measure(*images, data_range=2.0, return_full_image=True)
    # Theirs also has places at which the window hangs over the border, where images are reflected.
    np.testing.assert_allclose(ssim(x, y), theirs[..., 5:-5, 5:-5].mean((1, 2, 3)), atol=2e-5)
    np.testing.assert_allclose(ssim(x, x), 1, atol=1e-6)
    np.testing.assert_allclose(psnr(x, y), 10 * np.log10(4 / ((x - y) ** 2).mean((1, 2, 3))), rtol=1e-5)
    steps = [np.abs(np.diff(y.astype(np.float64), axis=axis)).mean((1, 2, 3)) for axis in (1, 2)]
    np.testing.assert_allclose(edges(y), sum(steps), rtol=1e-5)
    with pytest.raises(DataError, match="windows of 11x11 pixels; images of 8x8 have none"):
        ssim(x[:, :8, :8], y[:, :8, :8])


def test_an_image_comes_back_with_its_codes(tmp_path, batch):
    task = make()
    variables = start(task)
    for number, image in enumerate(batch["image"][:3]):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    sampler = sampling.Sampler(task)
    plain, wide = (sampler(variables, [ReconstructionRequest(str(tmp_path), beside=wide, codes=wide)]) for wide in (False, True))
    assert [a.value.shape for a in plain] == [(32, 32, 3)] * 3 and [a.value.shape for a in wide] == [(32, 96, 3)] * 3
    for number, (one, both) in enumerate(zip(plain, wide, strict=True)):
        np.testing.assert_array_equal(both.value[:, :32], batch["image"][number])
        np.testing.assert_array_equal(both.value[:, 32:64], one.value)
        codes = both.arrays["codes_0"]
        np.testing.assert_array_equal(both.value[:, 64:], code_picture(codes, 32))
        made = task.model.apply(variables["autoencoder"], codes[None], method="decode_codes")
        np.testing.assert_array_equal(task.to_image(made)[0], one.value)


def test_codes_have_colours_of_their_own():
    colours = code_picture(np.arange(512).reshape(16, 32), 16).reshape(-1, 3)
    assert len(np.unique(colours, axis=0)) > 450
    assert code_picture(np.zeros((2, 3, 4), int), 8).shape == (8, 12, 3)


def test_two_levels_have_two_grids(batch):
    level = SMALL | {"bottleneck": VECTOR}
    task = make(network="two_level", model={"bottom": level, "top": level})
    assert [str(grid) for grid in task.code_grids] == ["8x8 codes of 16", "16x16 codes of 16"]
    sums = jax.jit(task.evaluate)(start(task), batch, jax.random.key(1))
    found = task.summarize({n: np.asarray(a) / w if np.ndim(a) else float(a / w) for n, (a, w) in sums.items()})
    assert {
        "code_use_0",
        "code_use_1",
        "code_perplexity_0",
        "code_perplexity_1",
        "psnr",
        "ssim",
        "sharpness",
        "pixels",
    } == found.keys()


@pytest.mark.parametrize(
    ("make_it", "error", "message"),
    [
        (lambda: make({"name": "vectr"}), ConfigError, "did you mean 'vector'"),
        (lambda: make(commitment=-1), ConfigError, "config.task.commitment is -1"),
        (lambda: make(perceptual=1.0), ConfigError, "name a run of task 'classification' or 'contrastive' as config"),
        (lambda: make(features="runs/x", perceptual=1.0, vgg={"depth": 16}), ConfigError, "and not both"),
        (lambda: make(model=SMALL | {"channels": 3}), ConfigError, "config.task.model.channels follows from the data"),
        (lambda: make(model=SMALL | {"widths": (8,) * 7}), ConfigError, "32x32 pixels do not divide by 64"),
        (lambda: make(network="openai_dvae"), ConfigError, "set config.task.pixels='logit_laplace'"),
        (lambda: make().prepare([ReconstructionRequest()]), RequestError, "give it a file or a folder with --image"),
        (lambda: make(KINDS["gaussian"]).prepare([ReconstructionRequest("x.png", codes=True)]), RequestError, "has no codes"),
    ],
)
def test_what_cannot_be(make_it, error, message):
    with pytest.raises(error, match=message):
        make_it()


RUNS = {
    "vqgan": {
        "model": SMALL | {"bottleneck": KINDS["restarting"]},
        "adversarial": 0.8,
        "adversarial_start": 2,
        "discriminator": {"width": 4, "layers": 1, "norm": "batch"},
    },
    "dvae": {
        "network": "openai_dvae",
        "pixels": "logit_laplace",
        "kl": 6.6,
        "kl_steps": 2,
        "temperature_steps": 4,
        "model": {"hidden": 8, "groups": 2, "blocks": 1, "bottleneck": {"codes": 16, "width": 4}},
    },
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_goes_on_with_the_same_bits_and_shows_what_it_makes(name, tmp_path):
    config = {
        "seed": 1,
        "task": {"name": "autoencoder"} | RUNS[name],
        "data": SHAPES,
        "optimizer": ADAM,
        "train": {"steps": 4, "log_every": 2, "eval_every": 100, "sample_every": 4, "checkpoint_every": 2, "keep_every": 2},
    }
    config |= {"discriminator_optimizer": ADAM} if name == "vqgan" else {}
    training.train(config, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "halted")
    shutil.rmtree(tmp_path / "halted" / "checkpoints" / "4")
    training.train(config, tmp_path / "halted")
    leaves = []
    for run in ("whole", "halted"):
        saved = json.loads((tmp_path / run / "checkpoints" / "4" / "manifest" / "metadata").read_text())["leaves"]
        leaves.append({key: leaf["checksum"] for key, leaf in saved.items()})
    assert leaves[0] == leaves[1] and any(key.startswith("variables/autoencoder") for key in leaves[0])
    task, _ = sampling.open_run(tmp_path / "whole")
    picture = next((tmp_path / "whole" / "samples").rglob("*.png"))
    assert np.asarray(Image.open(picture)).shape[1] >= 32 * (2 + len(task.code_grids))
