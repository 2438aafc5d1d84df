"""Filters that enlarge and reduce images: against loops in float64, and gradients against torch's convolutions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from genjax.errors import ConfigError
from genjax.layers import resample
from genjax.layers.resample import conv_resample, downsample2d, setup_filter, upfirdn2d, upsample2d

DRAW = np.random.default_rng(0)
IMAGE = DRAW.standard_normal((2, 5, 7, 3))


def by_loops(x, taps, up, down, rows, columns, gain=1.0):
    """The definition, place by place: zeros inserted, padded or cropped, convolved, decimated."""
    table = np.asarray(taps, np.float64)
    table = (np.outer(table, table) if table.ndim == 1 else table) * gain
    batch, height, width, channels = x.shape
    big = np.zeros((batch, height * up, width * up, channels))
    big[:, ::up, ::up] = x
    big = np.pad(big, [(0, 0), *([max(0, pad) for pad in pads] for pads in (rows, columns)), (0, 0)])
    (top, bottom), (left, right) = ([max(0, -pad) for pad in pads] for pads in (rows, columns))
    big = big[:, top : big.shape[1] - bottom, left : big.shape[2] - right]
    tall, wide = table.shape
    result = np.zeros((batch, big.shape[1] - tall + 1, big.shape[2] - wide + 1, channels))
    for row in range(result.shape[1]):
        for column in range(result.shape[2]):
            for i in range(tall):
                for j in range(wide):
                    result[:, row, column] += table[tall - 1 - i, wide - 1 - j] * big[:, row + i, column + j]
    return result[:, ::down, ::down]


FILTERS = {
    "four taps": np.array([1.0, 3, 3, 1]),
    "five uneven taps": np.array([0.5, -1, 2, 3, 0.25]),
    "one tap": np.array([2.0]),
    "a table": DRAW.standard_normal((2, 3)),
}


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("up, down", [(1, 1), (2, 1), (3, 1), (1, 2), (1, 3), (2, 3), (3, 2)])
def test_equals_the_definition(name, up, down):
    for rows, columns in (((2, 3), (0, 4)), ((-1, 2), (3, -1))):
        expected = by_loops(IMAGE, FILTERS[name], up, down, rows, columns, gain=1.7)
        filtered = jax.jit(partial(upfirdn2d, taps=FILTERS[name], up=up, down=down, padding=(*rows, *columns), gain=1.7))
        found = filtered(jnp.asarray(IMAGE, jnp.float32))
        assert found.shape == expected.shape
        # Sums of at most 25 products in float32.
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_padding_may_be_one_number_or_two():
    filtered = lambda padding: jax.eval_shape(lambda x: upfirdn2d(x, np.ones(4), padding=padding), IMAGE).shape  # noqa: E731
    assert filtered(2) == filtered((2, 2, 2, 2)) == (2, 6, 8, 3)
    assert filtered((3, -1)) == filtered((3, -1, 3, -1)) == (2, 4, 6, 3)


def test_filters_are_scaled():
    np.testing.assert_allclose(setup_filter((1, 3, 3, 1)), np.array([1, 3, 3, 1]) / 8)
    table = setup_filter(np.ones((2, 4)), gain=4.0)
    np.testing.assert_allclose(table, np.full((2, 4), 0.5))
    row = setup_filter((1, 1), gain=4.0)
    assert np.outer(row, row).sum() == pytest.approx(4)


@pytest.mark.parametrize("taps", [(1, 3, 3, 1), (1, 2, 1), (1, 1)])
def test_resampling_keeps_constants_and_sizes(taps):
    taps = setup_filter(taps)
    large, small = jax.jit(lambda x: (upsample2d(x, taps), downsample2d(x, taps)))(jnp.ones((1, 12, 10, 1)))
    assert large.shape == (1, 24, 20, 1) and small.shape == (1, 6, 5, 1)
    np.testing.assert_allclose(large[:, 2:-2, 2:-2], 1, rtol=1e-6)
    np.testing.assert_allclose(small[:, 1:-1, 1:-1], 1, rtol=1e-6)


def theirs(x, kernel, taps, up, down):
    """Convolution and filter as torch's padding and convolutions, at the larger size and nothing joined."""
    size, features = kernel.shape[0], kernel.shape[-1]
    weight = kernel.permute(3, 2, 0, 1)
    table = torch.outer(taps, taps).flip(0, 1)[None, None].expand(features if up > 1 else x.shape[-1], 1, -1, -1)
    count, image = len(taps), x.permute(0, 3, 1, 2)
    half = size // 2
    if up > 1:
        batch, channels, height, width = image.shape
        wide = torch.zeros(batch, channels, height, up, width, up, dtype=x.dtype)
        wide[:, :, :, 0, :, 0] = image
        before, after = half + (count + up - 1) // 2, half + (count - up) // 2
        image = torch.nn.functional.pad(wide.reshape(batch, channels, height * up, width * up), (before, after) * 2)
        image = torch.nn.functional.conv2d(image, weight.flip(2, 3))
        image = torch.nn.functional.conv2d(image, table * up**2, groups=features)
    elif down > 1:
        before, after = half + (count - down + 1) // 2, half + (count - down) // 2
        image = torch.nn.functional.conv2d(torch.nn.functional.pad(image, (before, after) * 2), table, groups=x.shape[-1])
        image = torch.nn.functional.conv2d(image, weight)[:, :, ::down, ::down]
    else:
        image = torch.nn.functional.conv2d(image, weight, padding=half)
    return image.permute(0, 2, 3, 1)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("up, down", [(1, 1), (2, 1), (1, 2), (3, 1)])
@pytest.mark.parametrize("taps, platform", [((1, 3, 3, 1), "cpu"), ((1, 2, 1), "gpu"), ((1, 1, 1, 0.5, 0.2, 0.1), "cpu")])
def test_joined_convolutions_and_their_gradients(monkeypatch, size, up, down, taps, platform):
    """As convolutions without strides, which a CPU computes, and as those of accelerators; also what follows from the squares of
    gradients, with respect to images and kernels alike."""
    monkeypatch.setattr(resample, "current_platform", lambda: platform)
    taps = setup_filter(taps)
    x, kernel = DRAW.standard_normal((2, 6, 6, 3)), DRAW.standard_normal((size, size, 3, 4))
    given = [torch.tensor(value, requires_grad=True) for value in (x, kernel)]
    expected = theirs(*given, torch.tensor(taps, dtype=torch.float64), up, down)
    first = torch.autograd.grad((expected**3).sum(), given, create_graph=True)
    second = torch.autograd.grad(sum((gradient**2).sum() for gradient in first), given)

    def loss(x, kernel):
        y = conv_resample(x, kernel, taps, up, down)
        return (y**3).sum(), y

    def squares(x, kernel):
        gradients, y = jax.grad(loss, (0, 1), has_aux=True)(x, kernel)
        return sum(jnp.square(gradient).sum() for gradient in gradients), (y, gradients)

    slopes = jax.jit(jax.grad(squares, (0, 1), has_aux=True))
    again, (found, gradients) = slopes(jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32))
    # Sums of at most 400 products in float32.
    np.testing.assert_allclose(found, expected.detach(), atol=2e-6 * expected.abs().max().item())
    for value, tensor in zip((*gradients, *again), (*first, *second), strict=True):
        np.testing.assert_allclose(value, tensor.detach(), atol=1e-5 * tensor.abs().max().item())


def test_messages():
    image = jnp.zeros((1, 4, 4, 1))
    with pytest.raises(ConfigError, match="sum to 0"):
        setup_filter((1, -1))
    with pytest.raises(ConfigError, match=r"shape \(1, 1, 1\)"):
        setup_filter(np.ones((1, 1, 1)))
    with pytest.raises(ConfigError, match="one axis"):
        upfirdn2d(image, np.ones((1, 1, 1)))
    with pytest.raises(ConfigError, match="up is 0"):
        upfirdn2d(image, np.ones(2), up=0)
    with pytest.raises(
        ConfigError, match=r"4 places, 1 times as many and padded by \(-1, 0\), are fewer than the filter's 4 taps"
    ):
        upfirdn2d(image, np.ones(4), padding=(-1, 0))
    with pytest.raises(ConfigError, match="one of them must be 1"):
        conv_resample(image, jnp.zeros((3, 3, 1, 1)), np.ones(2), up=2, down=2)
