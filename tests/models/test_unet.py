"""What the U-Net's options mean: axes, conditions, classes, contexts, and how kernels begin."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import meta
from flax.traverse_util import flatten_dict, unflatten_dict

from genjax.models.uncertainty import LogVariance
from genjax.models.unet import UNet, UNetConfig

TINY = UNetConfig(
    dimensions=1, in_channels=2, out_channels=2, widths=(8, 16), blocks=1, attention_levels=(1,), heads=2, groups=4, num_classes=4
)
PLAIN = dataclasses.replace(TINY, widths=(8,), attention_levels=(), middle_attention=False)
DRAW = np.random.default_rng(0)
X, TIMES, CLASSES = DRAW.standard_normal((3, 8, 2), np.float32), np.asarray([0.1, 5.0, 99.0]), np.asarray([0, 3, 1])


def start(config, *given, seed=0, **named):
    """Parameters moved off their first values, where ends of blocks are near 0."""
    variables = meta.unbox(jax.eval_shape(UNet(config).init, jax.random.key(seed), *given, **named))
    generator = np.random.default_rng(seed)
    draw = lambda leaf: generator.standard_normal(leaf.shape, np.float32) / math.sqrt(max(1, leaf.size / leaf.shape[-1]))  # noqa: E731
    return jax.tree.map(draw, variables["params"])


def run(config):
    return jax.jit(lambda params, *given, **named: UNet(config).apply({"params": params}, *given, **named))


@pytest.mark.parametrize("resample", ["conv", "block"])
def test_a_sound_is_an_image_whose_columns_are_equal(resample):
    """Kernels of images that are 0 beside their middle column keep columns equal: values are those of one axis, and so are
    gradients, with what is needed for them computed again.
    """
    config = dataclasses.replace(TINY, resample=resample, remat=resample == "block")
    image_config = dataclasses.replace(config, dimensions=2, remat=False)
    params = start(config, X, TIMES, CLASSES)
    shapes = meta.unbox(jax.eval_shape(UNet(image_config).init, jax.random.key(0), X[:, :, None].repeat(8, 2), TIMES, CLASSES))

    def widened(kernel, shape):
        return kernel if kernel.shape == shape.shape else jnp.zeros(shape.shape).at[:, shape.shape[1] // 2].set(kernel)

    def of_sound(params):
        out = UNet(config).apply({"params": params}, X, TIMES, CLASSES)
        return (out**2).mean(), out

    def of_image(params):
        wide = jax.tree.map(widened, params, shapes["params"])
        out = UNet(image_config).apply({"params": wide}, X[:, :, None].repeat(8, 2), TIMES, CLASSES)
        return (out**2).mean(), out

    derived = (lambda f: jax.value_and_grad(f, has_aux=True)) if resample == "block" else (lambda f: lambda p: (f(p), {}))
    ((_, sound), one), ((_, image), two) = (jax.jit(derived(function))(params) for function in (of_sound, of_image))
    assert sound.shape == X.shape and np.abs(sound).max() > 0.1
    np.testing.assert_allclose(image, np.repeat(sound[:, :, None], 8, 2), atol=2e-5)
    two = flatten_dict(two, sep="/")
    for path, gradient in flatten_dict(one, sep="/").items():
        np.testing.assert_allclose(two[path], gradient, atol=1e-5 + 1e-4 * np.abs(gradient).max(), err_msg=path)
        assert np.abs(gradient).max() > 0 or path.endswith("attention/key/bias"), path


def test_the_last_clean_sample_is_read_and_none_is_zeros():
    config = dataclasses.replace(PLAIN, self_conditioning=True)
    params, apply = start(config, X, TIMES, CLASSES), run(config)
    none, zeros, other = (apply(params, X, TIMES, CLASSES, last) for last in (None, np.zeros_like(X), X[::-1]))
    assert np.array_equal(none, zeros)
    assert np.abs(other - none).max() > 1e-2


def test_a_condition_is_read_and_none_is_zeros():
    config = dataclasses.replace(PLAIN, condition_features=3)
    params, apply = start(config, X, TIMES, CLASSES), run(config)
    given = DRAW.standard_normal((3, 3), np.float32)
    none, zeros, other = (apply(params, X, TIMES, CLASSES, condition=one) for one in (None, np.zeros_like(given), given))
    assert np.array_equal(none, zeros)
    assert np.abs(other - none).max() > 1e-2
    # ADM's and torch's begin without effect (Karras et al., 2022, DhariwalUNet).
    first = jax.jit(UNet(dataclasses.replace(config, initialization="torch")).init)(jax.random.key(0), X, TIMES, CLASSES)[
        "params"
    ]
    assert np.array_equal(meta.unbox(first)["conditions"]["condition"]["kernel"], np.zeros((3, 8)))


@pytest.mark.parametrize("early", [False, True])
def test_classes_of_several_attributes_are_added(early):
    """Two attributes are a class whose row is the sum of theirs."""
    config = dataclasses.replace(PLAIN, early_classes=early)
    params, apply = start(config, X, TIMES, CLASSES), run(config)
    pairs = np.asarray([[0, 2], [1, 1], [3, 0]])
    table = np.asarray(params["conditions"]["classes"]["embedding"])
    assert table.shape == (4, 8 if early else 32)
    summed = jax.tree.map(lambda leaf: leaf, params)
    summed["conditions"]["classes"]["embedding"] = np.concatenate([table[pairs].sum(1), table[:1]])
    found = apply(params, X, TIMES, pairs)
    np.testing.assert_allclose(found, apply(summed, X, TIMES, np.arange(3)), atol=1e-5)
    assert np.abs(found - apply(params, X, TIMES, pairs[:, 0])).max() > 1e-2


def test_kernels_begin_as_published():
    """Variances: Xavier's 2 / (inputs + outputs), near 0 where a block ends, a fifth for queries, of which, keys and values there
    is one kernel in the code of Karras et al., 2022."""
    config = dataclasses.replace(TINY, widths=(128,), heads=4, attention_levels=(0,), stem_width=64, early_classes=True)
    variables = jax.eval_shape(UNet(config).init, jax.random.key(0), X, TIMES, CLASSES)
    assert all(len(box.names) == box.value.ndim for box in jax.tree.leaves(variables, is_leaf=lambda x: hasattr(x, "names")))
    expected = {
        "conv_in": 2 / (3 * (2 + 64)),
        "down_0_0/conv_1": 2 / (3 * (64 + 128)),
        "down_0_0/time": 2 / (256 + 128),
        "down_0_0_attention/attention/query": 0.2 * 2 / (128 + 3 * 128),
        "down_0_0_attention/attention/out": 1e-10 / 128,
        "down_0_0/conv_2": 1e-10 / (3 * 128),
        "conv_out": 1e-10 * 2 / (3 * (2 + 128)),
        "conditions/time_2": 1 / 256,
    }
    params = flatten_dict(meta.unbox(jax.jit(UNet(config).init)(jax.random.key(0), X, TIMES, CLASSES))["params"], sep="/")
    for path, variance in expected.items():
        kernel = np.asarray(params[f"{path}/kernel"])
        spread = 1 / math.sqrt(kernel.size)  # of an estimate of the variance of a uniform distribution, about
        assert np.square(kernel).mean() == pytest.approx(variance, rel=4 * spread), path
    # A layer that reads sqrt(classes) at the place of a class.
    table = np.asarray(params["conditions/classes/embedding"])
    assert np.square(table).mean() == pytest.approx(4 * 2 / (4 + 64), rel=0.25)
    torch_like = jax.jit(UNet(dataclasses.replace(config, initialization="zero")).init)(jax.random.key(0), X, TIMES, CLASSES)
    params = flatten_dict(meta.unbox(torch_like)["params"], sep="/")
    assert np.square(params["down_0_0_attention/attention/key/kernel"]).mean() == pytest.approx(1 / (3 * 128), rel=0.05)
    for path in ("down_0_0/conv_2/kernel", "down_0_0_attention/attention/out/kernel", "conv_out/kernel"):
        assert not params[path].any(), path


def test_uncertainty_begins_at_0_and_is_a_layer_of_cosines():
    """Karras et al., 2024: features of unit variance, so that a step changes no level more than another."""
    times = np.linspace(-1.5, 1.5, 400)
    variables = LogVariance().init(jax.random.key(0), times)
    assert not LogVariance().apply(variables, times).any()
    rows = unflatten_dict({("params", "linear", "kernel"): jnp.eye(128)[:, :, None]})
    features = np.asarray(jax.vmap(lambda one: LogVariance().apply(one, times))(rows)).T
    assert np.square(features).mean() == pytest.approx(1, abs=0.1)
    assert np.linalg.matrix_rank(features.astype(np.float64), tol=1e-2) > 10
    # Levels an order of magnitude apart (c_noise = ln(sigma) / 4) are told apart.
    fitted = features @ np.linalg.lstsq(features, np.sin(3 * times), rcond=1e-4)[0]
    assert np.abs(fitted - np.sin(3 * times)).max() < 1e-2
