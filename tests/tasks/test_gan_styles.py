"""Styles of a generator: found for images, kept in files, shifted along their principal directions."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from PIL import Image

from genjax.adversarial.projection import Procedure
from genjax.errors import RequestError
from genjax.interop import public_files
from genjax.models.vgg import VGG, VGGConfig
from genjax.sampling import Sampler, writers
from genjax.tasks import style_samples
from genjax.tasks.contract import HOST, PROGRESS
from genjax.tasks.gan import GANRequest
from genjax.tasks.gan_players import StylePlayers
from genjax.tasks.media import Images
from genjax.tasks.style_distances import Distance, load_vgg
from genjax.tasks.style_projection import Projector
from genjax.tasks.style_requests import read_styles
from tests.tasks.test_gan import IMAGES, STYLES, build


def made_up(task):
    """Variables as training begins with, whose noise also counts; made without compiling anything."""
    rng = np.random.default_rng(0)

    def value(path, leaf):
        if path.endswith("noise_strength"):
            return np.float32(0.1)
        if path.endswith("bias"):
            return np.full(leaf.shape, "affine" in path, np.float32)
        return (rng.standard_normal(leaf.shape) * (100 if "mapping" in path else 1)).astype(np.float32)

    flat = flatten_dict(nn.unbox(jax.eval_shape(task.init, jax.random.key(0))), sep="/")
    return unflatten_dict({path: value(path, leaf) for path, leaf in flat.items()}, sep="/")


@pytest.fixture(scope="module")
def styles():
    task = build(STYLES, classes=())
    return task, made_up(task), Sampler(task)


@pytest.fixture(scope="module")
def own(styles):
    """A sample, and one whose layers read the styles of two."""
    _, variables, sampler = styles
    return pictures(sampler(variables, [GANRequest(mix="1x1")], seed=3))[2:]


def pictures(artifacts):
    return np.stack([a.value for a in artifacts]).astype(int)


def test_images_of_the_generator_are_found_again_and_made_again(styles, own, tmp_path, capsys):
    task, variables, sampler = styles
    (tmp_path / "given").mkdir()
    for number, image in enumerate(own):
        Image.fromarray(image.astype(np.uint8)).save(tmp_path / f"given/{number}.png")
    asked = {"image": str(tmp_path / "given"), "project_steps": 300}
    requests = [GANRequest(project="w", beside=True, **asked), GANRequest(project="w+", **asked)]
    found = sampler(variables, requests, seed=1, progress=True)
    assert "300/300" in (told := capsys.readouterr().err) and "step/s" in told
    assert task._projector.compilations == 3  # before, a step and behind; neither the space nor the batch compiles another
    (single, mixed), free = (
        [a.metadata["distance_end"] / a.metadata["distance_start"] for a in x] for x in (found[:2], found[2:])
    )
    assert single < 1 / 30 and max(free) < 1 / 10 and mixed > 1.5 * free[1]  # one style does not make what two have made
    assert [a.metadata["project"] for a in found] == ["w", "w", "w+", "w+"] and found[0].metadata["distance"] == "discriminator"
    np.testing.assert_array_equal(pictures(found[:2])[:, :, :8], own)
    assert np.abs(pictures(found[2:]) - own).mean() < np.abs(own - own[::-1]).mean() / 5
    one, many = found[0].arrays["styles"], found[2].arrays["styles"]
    assert (one == one[0]).all() and (many[1:] != many[0]).all()

    assert [path.name for path in writers.write(found[2:], tmp_path / "found.png")] == ["found.png", "found.npz"]
    asked = {"styles": str(tmp_path / "found.npz"), "direction": 1, "sweep": 3, "strength": 1.0}
    swept = pictures(sampler(variables, [GANRequest(**asked)], seed=9))
    np.testing.assert_allclose(swept[[1, 4]], pictures(found[2:]), atol=1)
    assert np.abs(swept[0] - swept[2]).max() > 10
    writers.write(found[2:], tmp_path / "folder")
    held = read_styles(str(tmp_path / "folder/0001.npz"), task.players)
    np.testing.assert_array_equal(held.styles, found[3].arrays["styles"][None])
    assert set(held.noise) == set(task.players.noise_shapes)


class Shown(StylePlayers):
    """Players who show styles in the place of images."""

    def synthesize(self, variables, styles, key, noise_images=None):
        return styles


def test_a_sweep_goes_along_a_principal_direction_of_w(styles, own):
    task, variables, sampler = styles
    asked = {"num_samples": 2, "sweep": 3}
    request = GANRequest(direction=0, strength=1.5, direction_layers="1-2", **asked)
    swept = sampler(variables, [request], seed=3)
    assert [a.metadata["strength"] for a in swept] == [-1.5, 0.0, 1.5] * 2 and swept[0].metadata["columns"] == 3
    np.testing.assert_allclose(pictures(swept)[1], own[0], atol=1)
    count = sampler.compilations
    other = pictures(sampler(variables, [GANRequest(direction=4, strength=0.3, **asked)], seed=3))
    np.testing.assert_allclose(other[1], own[0], atol=1)
    assert sampler.compilations == count and (other != pictures(swept)).any()

    players, (batch,) = Shown(task.players.kind, task.players.config), task.prepare([request])
    shown = jax.jit(lambda v: style_samples.images(players, v, batch, jax.random.key(3)))
    found = np.asarray(shown(variables | task.shared(variables, [batch])))[:6].reshape(2, 3, 4, 6)
    samples = np.asarray(jax.jit(lambda v: players.drawn_styles(v, style_samples.DRAWN))(variables), np.float64)
    _, values, rows = np.linalg.svd(samples - samples.mean(0), full_matrices=False)
    move = 1.5 * values[0] / np.sqrt(len(samples) - 1) * rows[0] * np.sign(rows[0, np.abs(rows[0]).argmax()])
    np.testing.assert_array_equal(found[:, :, [0, 3]], np.broadcast_to(found[:, 1:2, [0, 3]], (2, 3, 2, 6)))
    for column, sign in ((0, -1), (2, 1)):
        np.testing.assert_allclose(found[:, column, 1:3] - found[:, 1, 1:3], np.broadcast_to(sign * move, (2, 2, 6)), atol=1e-3)


def test_w_of_a_model_that_knows_classes_is_that_of_all_in_turn():
    task = build(STYLES | {"conditional": True})
    variables = made_up(task)
    found = jax.jit(lambda v: task.players.drawn_styles(v, 5))(variables)
    z = jax.random.normal(jax.random.key(0), (5, 6))
    of = jax.jit(lambda v: task.players.styles(v, z, jnp.array([0, 1, 2, 0, 1]), train=False)[0][:, 3])
    np.testing.assert_allclose(found, of(variables), rtol=1e-5)
    seen = jax.eval_shape(lambda v: task.players.features(v, jnp.zeros((2, 8, 8, 1))), variables)
    assert [x.shape for x in seen] == [(2, 4, 4, 8)]


class Linear:
    """Players whose images are linear in styles and noise."""

    config = SimpleNamespace(num_styles=2, style_width=3)
    noise_shapes = {"a": (4, 4)}

    def drawn_styles(self, variables, count):
        return jax.random.normal(jax.random.key(0), (count, 3))

    def synthesize(self, variables, styles, key, noise_images):
        return (styles.reshape(len(styles), -1) @ variables["matrix"]).reshape(-1, 4, 4, 1) + 0.1 * noise_images["a"][..., None]


def test_a_loop_on_an_accelerator_takes_the_steps_that_the_host_drives_on_a_cpu():
    variables = {"matrix": jnp.asarray(np.random.default_rng(0).standard_normal((6, 16)), jnp.float32)}
    batch = {
        "row": np.arange(2, dtype=np.int32),
        "image": np.random.default_rng(1).integers(0, 256, (2, 4, 4, 1)).astype(np.uint8),
        "procedure": Procedure(steps=np.int32(7)),
        HOST: {"distance": Distance("pixels"), "steps": 7},
    }
    one, three = (Projector(Linear(), Images(4, 4, 1), chunk=chunk) for chunk in (1, 3))
    *told, expected = one.stream(variables, batch, jax.random.key(0))
    assert [piece[PROGRESS] for piece in told] == [(done, 7) for done in range(1, 8)]
    *told, found = three.stream(variables, batch, jax.random.key(0))
    assert [piece[PROGRESS] for piece in told] == [(3, 7), (6, 7), (7, 7)] and three.compilations == 3
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, expected)


def test_distances(styles, tmp_path):
    task, variables, _ = styles
    rng = np.random.default_rng(0)
    one, other = (rng.uniform(-1, 1, (2, 8, 8, 1)).astype(np.float32) for _ in range(2))
    pixels, discriminator = Distance("pixels"), Distance("discriminator")
    np.testing.assert_allclose(pixels.between((one,), (other,)), np.square(one - other).mean((1, 2, 3)), rtol=1e-5)

    see = jax.jit(lambda x: discriminator.features(task.players, variables, x))
    (seen,), (beside,) = (np.asarray(see(np.concatenate(x))) for x in ((one, other), (one, one)))
    assert seen.shape == (4, 4, 4, 8)
    np.testing.assert_allclose(seen[:2], beside[:2], atol=1e-5)  # unlike logits, which see the batch
    expected = np.abs(seen[:2] - seen[2:]).mean((1, 2, 3))
    np.testing.assert_allclose(discriminator.between((seen[:2],), (seen[2:],)), expected, rtol=1e-4)

    config = VGGConfig(width=2, layers=("relu1_2", "relu2_2"))
    deep = jax.eval_shape(VGG(VGGConfig(width=2)).init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    held = jax.tree.map(lambda x: rng.standard_normal(x.shape).astype(np.float32) * 0.3, nn.unbox(deep))
    public_files.save("vgg", VGGConfig(width=2), held, tmp_path / "vgg")
    found, loaded = load_vgg(str(tmp_path / "vgg"))
    assert found == VGGConfig(width=2)
    jax.tree.map(np.testing.assert_array_equal, loaded, held)
    distance = Distance("vgg", config)

    @jax.jit
    def near(x, y):
        made, given = (distance.features(task.players, {"vgg": held}, z) for z in (x, y))
        return distance.between(made, given).sum(), VGG(config).apply(held, jnp.repeat(jnp.concatenate([x, y]), 3, -1))

    slopes = jax.jit(jax.value_and_grad(near, has_aux=True))
    (value, raw), slope = slopes(one, other)
    unit = [np.asarray(x) / np.linalg.norm(x, axis=-1, keepdims=True).clip(1e-5) for x in raw.values()]
    np.testing.assert_allclose(value, sum(np.square(x[:2] - x[2:]).sum(-1).mean((1, 2)).sum() for x in unit), rtol=1e-3)
    assert np.isfinite(slope).all() and (slope != 0).any()
    assert np.isfinite(slopes(np.zeros_like(one), other)[1]).all()  # where no feature answers, too
    with pytest.raises(RequestError, match="--vgg: .*nowhere"):
        load_vgg(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"project": "z", "image": "x.png"}, "--project=z: choose one of w, w+"),
        ({"project": "w"}, "give it a file or a folder with --image"),
        ({"project": "w", "image": "nowhere.png"}, "nowhere.png cannot be read"),
        ({"project": "w", "image": "x.png", "project_steps": 0}, "--project_steps=0"),
        ({"project": "w", "image": "x.png", "distance": "lpips"}, "choose one of discriminator, pixels, vgg"),
        ({"project": "w", "image": "x.png", "distance": "vgg"}, "give both it and --vgg=FILE"),
        ({"project": "w", "image": "x.png", "truncation": 0.5}, "--project finds the styles .* --truncation does not go with it"),
        ({"image": "x.png"}, "--image says more about --project; give --project too"),
        ({"strength": 3.0}, "--strength says more about --direction"),
        ({"direction": 6}, "--direction=6: .* from 0 to 5"),
        ({"direction": 0, "sweep": 1}, "--sweep=1"),
        ({"direction": 0, "direction_layers": "2-4"}, "--direction_layers=2-4: write FIRST-LAST, both from 0 to 3"),
        ({"direction": 0, "sweep": 3, "interpolate": True, "num_samples": 4}, "--sweep makes a table .* --interpolate"),
        ({"styles": "x.npz", "num_samples": 3}, "--styles takes all styles of a file .* --num_samples"),
        ({"styles": "nowhere.npz"}, "--styles=nowhere.npz cannot be read: no such file"),
    ],
)
def test_requests_that_cannot_be_served(styles, asked, message):
    with pytest.raises(RequestError, match=message):
        styles[0].prepare([GANRequest(**asked)])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (None, "is no .npz file of arrays"),
        ({"w": np.zeros((1, 4, 6))}, "a row for each image, of 4 layers and 6 numbers for this generator; it is none"),
        ({"styles": np.zeros((4, 6))}, "it is 4x6"),
        ({"styles": np.zeros((1, 4, 6)), "noise/x": np.zeros((1, 4, 4))}, "images of noise are not those of this generator"),
        ({"styles": np.full((1, 4, 6), np.nan)}, "finite"),
    ],
)
def test_files_without_styles_of_this_generator(styles, arrays, message, tmp_path):
    file = tmp_path / "x.npz"
    if arrays is None:
        file.write_bytes(b"PK\x03\x04 and no more")
    else:
        np.savez(file, **arrays)
    with pytest.raises(RequestError, match=message):
        styles[0].prepare([GANRequest(styles=str(file))])


def test_a_generator_without_styles_finds_none():
    with pytest.raises(RequestError, match="--image: this generator reads no styles"):
        build(IMAGES).prepare([GANRequest(project="w", image="x.png")])
