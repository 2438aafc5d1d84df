"""Images enlarged and reduced through low-pass filters, alone or joined with a convolution (Karras et al., 2020, section 2.3 and
appendix B of StyleGAN2; the operations are those of its public code, there called upfirdn2d and conv2d_resample).

A filter is a host array: one axis for a separable filter, which is applied along rows and columns in turn, or two for any other.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from genjax.errors import ConfigError
from genjax.layers.linear import contract
from genjax.parallel.rules import constrain, current_platform

Taps = tuple[float, ...]
Padding = int | tuple[int, int] | tuple[int, int, int, int]

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def setup_filter(taps: Taps | np.ndarray = (1, 3, 3, 1), gain: float = 1.0) -> Float[np.ndarray, "*taps"]:
    """A filter by which a constant image, away from its borders, is multiplied by `gain`.

    Args:
        taps: one axis for a separable filter, two (rows, columns) for another; only their proportions count.

    Raises:
        ConfigError: no taps, more than two axes, or taps that sum to 0.
    """
    taps = np.asarray(taps, np.float64)
    if taps.ndim not in (1, 2) or not taps.size:
        raise ConfigError(f"a filter has the shape {taps.shape}; give a row of taps, or a table of rows and columns.")
    if abs(taps.sum()) < 1e-12:
        raise ConfigError(f"the taps {taps.tolist()} sum to 0, and cannot be scaled to sum to 1.")
    return (taps / taps.sum() * gain ** (taps.ndim / 2)).astype(np.float32)


def upfirdn2d(
    x: Float[Array, "batch height width channels"],
    taps: Float[np.ndarray, "*taps"],
    up: int = 1,
    down: int = 1,
    padding: Padding = 0,
    gain: float = 1.0,
) -> Float[Array, "batch new_height new_width channels"]:
    """Zeros inserted, borders padded, convolved with a filter, and every `down`-th place kept, each channel by itself.

    Args:
        taps: of the filter; it is turned around, as a convolution does (not a correlation, as networks' layers do).
        up: each place is followed by `up - 1` zeros along both axes.
        down: places for each place of the result.
        padding: zeros around the image after it was enlarged: the same on all sides, (before, after) along both axes, or (before,
            after) of rows, then of columns. A negative number crops.
        gain: what the result is multiplied by.

    Raises:
        ConfigError: a filter of other than one or two axes, a factor below 1, or an image that is smaller than the filter.
    """
    taps = np.asarray(taps, np.float64)
    if taps.ndim not in (1, 2):
        raise ConfigError(f"a filter has the shape {taps.shape}; give one axis (separable) or two, as setup_filter does.")
    if min(up, down) < 1:
        raise ConfigError(f"up is {up} and down {down}; both must be 1 or more.")
    pads = _pads(padding)
    sizes = taps.shape if taps.ndim == 2 else taps.shape * 2
    for length, size, pad in zip(x.shape[1:3], sizes, pads, strict=True):
        if length * up + sum(pad) < size:
            raise ConfigError(
                f"{length} places, {up} times as many and padded by {pad}, are fewer than the filter's {size} taps."
            )
    if taps.ndim == 1:
        return _separable(x, tuple(map(float, taps * gain**0.5)), up, down, pads, x.shape[1:3])
    kernel = jnp.asarray(np.broadcast_to((taps * gain)[::-1, ::-1, None, None], (*taps.shape, 1, x.shape[-1])), x.dtype)
    # Dilation puts no zeros behind the last place.
    pads = [(before, after + up - 1) for before, after in pads]
    return lax.conv_general_dilated(
        x, kernel, (down, down), pads, lhs_dilation=(up, up), dimension_numbers=_LAYOUT, feature_group_count=x.shape[-1]
    )


def upsample2d(
    x: Float[Array, "batch height width channels"], taps: Float[np.ndarray, "*taps"], factor: int = 2
) -> Float[Array, "batch new_height new_width channels"]:
    """`factor` times as many places along each axis, a constant image keeping its value."""
    return upfirdn2d(x, taps, up=factor, padding=_resample_pads(taps, up=factor), gain=factor**2)


def downsample2d(
    x: Float[Array, "batch height width channels"], taps: Float[np.ndarray, "*taps"], factor: int = 2
) -> Float[Array, "batch new_height new_width channels"]:
    """A `factor`-th of the places along each axis, a constant image keeping its value."""
    return upfirdn2d(x, taps, down=factor, padding=_resample_pads(taps, down=factor))


def conv_resample(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "size size channels features"],
    taps: Float[np.ndarray, "*taps"],
    up: int = 1,
    down: int = 1,
) -> Float[Array, "batch new_height new_width features"]:
    """A convolution joined with enlarging or reducing the image, half the kernel padded on all sides.

    To enlarge is a transposed convolution, then a filter; to reduce a filter, then a strided convolution; either is the same as
    filtering at the larger size, but costs a fourth. Kernels of size 1 are applied at the smaller size.

    Where it enlarges, the kernel is turned around (a convolution, as the published networks do it); else it is not.

    Raises:
        ConfigError: both `up` and `down` above 1.
    """
    if up > 1 and down > 1:
        raise ConfigError(f"up is {up} and down {down}; one of them must be 1.")
    # Held to the batch on both sides, as layers/conv.py does and says why.
    x = constrain(x, "activation_batch", None, None, None)
    size = kernel.shape[0]
    half = size // 2
    if up == down == 1:
        y = _conv(x, kernel, padding=half)
    elif up > 1 and size == 1:
        y = upsample2d(_conv(x, kernel), taps, up)
    elif up > 1:
        top, bottom, left, right = _resample_pads(taps, up=up)
        # The transposed convolution has `size - 1` places before the first and `size - up` behind the last of the enlarged image.
        before, after = half - size + 1, half - size + up
        pads = (top + before, bottom + after, left + before, right + after)
        y = upfirdn2d(_transposed_conv(x, kernel, up), taps, padding=pads, gain=up**2)
    elif size == 1:
        y = _conv(downsample2d(x, taps, down), kernel)
    else:
        pads = tuple(pad + half for pad in _resample_pads(taps, down=down))
        y = _conv(upfirdn2d(x, taps, padding=pads), kernel, stride=down)
    return constrain(y, "activation_batch", None, None, None)


def _conv(x, kernel, stride=1, padding=0):
    if stride > 1 and current_platform() == "cpu":
        return _strided_product(x, kernel, stride)
    return lax.conv_general_dilated(x, kernel, (stride, stride), [(padding, padding)] * 2, dimension_numbers=_LAYOUT)


def _transposed_conv(x, kernel, up):
    """Every place's value times the kernel, added up `up` places apart: (places - 1) * up + size places along each axis."""
    if current_platform() == "cpu":
        return _transposed_phases(x, kernel, up)
    size = kernel.shape[0]
    return lax.conv_general_dilated(
        x, kernel[::-1, ::-1], (1, 1), [(size - 1, size - 1)] * 2, lhs_dilation=(up, up), dimension_numbers=_LAYOUT
    )


# XLA's CPU compiler has no fast kernel for the gradient of a transposed convolution with respect to its kernel, nor for the
# second gradient of a strided one, and falls back to loops that take 5 to 40 times as long as these, in any order of
# differentiation: for a stride, one matrix product; transposed, convolutions of every `up`-th tap, laid between each other.
def _strided_product(x, kernel, stride):
    size, counts = kernel.shape[0], [(length - kernel.shape[0]) // stride + 1 for length in x.shape[1:3]]
    for axis, count in zip((1, 2), counts, strict=True):
        pieces = [lax.slice_in_dim(x, i, i + (count - 1) * stride + 1, stride, axis) for i in range(size)]
        x = jnp.stack(pieces, axis + 2)
    return contract(x.reshape(len(x), *counts, -1), kernel.reshape(-1, kernel.shape[-1]))


def _transposed_phases(x, kernel, up):
    size, rows = kernel.shape[0], []
    results = [(length - 1) * up + size for length in x.shape[1:3]]
    each = [length + (size - 1) // up for length in x.shape[1:3]]  # places of one remainder modulo `up`

    def phase(row: int, column: int) -> Array:
        taps = kernel[row::up, column::up]
        y = _full_conv(x, taps) if taps.size else jnp.zeros((len(x), 1, 1, kernel.shape[-1]), x.dtype)
        for axis in (1, 2):
            y = _pad(y, axis, 0, each[axis - 1] - y.shape[axis])
        return y

    for row in range(up):
        rows.append(_interleave([phase(row, column) for column in range(up)], 2, results[1]))
    return _interleave(rows, 1, results[0])


# A convolution without padding, its transpose, and the gradient of either with respect to the kernel are each other's gradients.
# Written so because autodiff would have the second-order ones pad, and XLA exchange their operands, which are 40 times slower so.
@jax.custom_vjp
def _valid_conv(x, kernel):
    """places - size + 1 along each axis."""
    return lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=_LAYOUT)


@jax.custom_vjp
def _full_conv(x, kernel):
    """Every place's value times the kernel, added up: places + size - 1 along each axis."""
    pads = [(size - 1, size - 1) for size in kernel.shape[:2]]
    return lax.conv_general_dilated(x, kernel[::-1, ::-1], (1, 1), pads, dimension_numbers=_LAYOUT)


@jax.custom_vjp
def _kernel_gradient(large, small):
    """Of both: the examples are what is summed over, and places of `small` are the taps."""
    x, kernel = large.transpose(3, 1, 2, 0), small.transpose(1, 2, 0, 3)
    return lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=_LAYOUT).transpose(1, 2, 0, 3)


def _swap(kernel):
    return kernel.swapaxes(2, 3)


def _keep(function):
    return lambda *operands: (function(*operands), operands)


_valid_conv.defvjp(_keep(_valid_conv), lambda kept, g: (_full_conv(g, _swap(kept[1])), _kernel_gradient(kept[0], g)))
_full_conv.defvjp(_keep(_full_conv), lambda kept, g: (_valid_conv(g, _swap(kept[1])), _swap(_kernel_gradient(g, kept[0]))))
_kernel_gradient.defvjp(_keep(_kernel_gradient), lambda kept, g: (_full_conv(kept[1], _swap(g)), _valid_conv(kept[0], g)))


# Its gradient is another one of its kind. Autodiff would add up images that are padded one by one: twice as long on a CPU.
@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4, 5))
def _separable(x, taps, up, down, pads, places):
    """`upfirdn2d` by the same taps along both axes.

    Args:
        places: of x, rows and columns.
    """
    if up == down == 1 and current_platform() == "cpu":
        # At once, and padded before: one pass over the image, without a condition at each place.
        x = lax.optimization_barrier(lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((*pad, 0) for pad in pads), (0, 0, 0)]))
        rows, columns = (length - len(taps) + 1 for length in x.shape[1:3])
        pairs = itertools.product(enumerate(reversed(taps)), repeat=2)
        return sum(x[:, i : i + rows, j : j + columns] * (one * other) for (i, one), (j, other) in pairs)
    for axis, pad in zip((1, 2), pads, strict=True):
        x = _filter_axis(x, taps, axis, up, down, pad)
    return x


def _separable_forward(x, *settings):
    return _separable(x, *settings), None


def _separable_backward(taps, up, down, pads, places, _, gradient):
    size, back = len(taps), []
    for (before, _), length, results in zip(pads, places, gradient.shape[1:3], strict=True):
        back.append((size - 1 - before, (length - 1) * up + 1 - results * down + before))
    return (_separable(gradient, taps[::-1], down, up, tuple(back), gradient.shape[1:3]),)


_separable.defvjp(_separable_forward, _separable_backward)


def _filter_axis(x, taps, axis, up, down, pad):
    """One axis of `upfirdn2d`, as a sum of shifted images: an element-wise program in any order of differentiation.

    Where only `up` is above 1, zeros are not multiplied: the results at places of the same remainder modulo `up` are computed
    from the image as it is, with the taps that meet it, and then laid between each other.
    """
    length, size = x.shape[axis], len(taps)
    flipped = [float(tap) for tap in taps[::-1]]
    results = (length * up + sum(pad) - size) // down + 1
    if up == 1 or down > 1:
        x = _pad(x, axis, pad[0], pad[1] + up - 1, up - 1)
        return _weighted(x, axis, flipped, range(size), results, down)
    each = -(-results // up)
    phases = []
    for phase in range(up):
        meeting = [k for k in range(size) if (phase + k - pad[0]) % up == 0]
        starts = [(phase + k - pad[0]) // up for k in meeting]
        before = max([0, *(-start for start in starts)])
        after = max([0, *(start + each - length for start in starts)])
        phases.append(
            _weighted(_pad(x, axis, before, after), axis, [flipped[k] for k in meeting], [s + before for s in starts], each)
        )
    return _interleave(phases, axis, results)


def _interleave(phases, axis, count):
    """The first `count` places, in turn one of each phase."""
    y = jnp.stack(phases, axis + 1)
    return lax.slice_in_dim(y.reshape(*y.shape[:axis], -1, *y.shape[axis + 2 :]), 0, count, axis=axis)


def _weighted(x, axis, weights, starts, count, stride=1):
    """The sum of `count` places from each of `starts` on, times its weight; zeros where there is no weight."""
    pieces = [
        lax.slice_in_dim(x, start, start + (count - 1) * stride + 1, stride, axis) * weight
        for weight, start in zip(weights, starts, strict=True)
    ]
    if not pieces:
        return jnp.zeros((*x.shape[:axis], count, *x.shape[axis + 1 :]), x.dtype)
    return sum(pieces[1:], pieces[0])


def _pad(x, axis, before, after, between=0):
    """Zeros before, after and between places; negative numbers crop."""
    if not (before or after or between):
        return x
    return lax.pad(x, jnp.zeros((), x.dtype), [(before, after, between) if i == axis else (0, 0, 0) for i in range(x.ndim)])


def _pads(padding: Padding) -> tuple[tuple[int, int], tuple[int, int]]:
    if isinstance(padding, int):
        padding = (padding, padding)
    return (padding[:2], padding[:2]) if len(padding) == 2 else (padding[:2], padding[2:])


def _resample_pads(taps, up=1, down=1) -> tuple[int, int, int, int]:
    """What keeps the image in its place; one more before than after where it cannot be even."""
    shape = np.shape(taps)
    pads = []
    for size in shape if len(shape) == 2 else shape * 2:
        pads += [(size + up - 1) // 2, (size - up) // 2] if up > 1 else [(size - down + 1) // 2, (size - down) // 2]
    return tuple(pads)
