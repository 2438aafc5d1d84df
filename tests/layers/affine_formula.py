"""Affine maps of images in float64, step by step: zeros between pixels, filters, and torch's own sampling between."""

import numpy as np

from genjax.layers.affine import SYM6


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def turn(angle):
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])


def scale(x, y):
    return np.diag([x, y, 1.0])


def shift(x, y):
    return np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])


def convolved(values, taps, axis):
    """The full convolution along an axis, which becomes longer by one less than there are taps."""
    values = np.moveaxis(values, axis, 0)
    result = np.zeros((len(values) + len(taps) - 1, *values.shape[1:]))
    for place, tap in enumerate(taps):
        result[place : place + len(values)] += tap * values
    return np.moveaxis(result, 0, axis)


def reference(images, maps, margin):
    """The appendix's resampling, step by step: reflect, double with sym6, affine_grid and grid_sample, halve with sym6."""
    import torch
    from torch.nn import functional

    taps, edge = np.array(SYM6), 3  # pixels that the filter reaches over an image's edge
    padded = np.pad(images.astype(np.float64), [(0, 0), (margin, margin), (margin, margin), (0, 0)], mode="reflect")
    for axis in (1, 2):
        stuffed = np.zeros([size * (2 if i == axis else 1) for i, size in enumerate(padded.shape)])
        np.moveaxis(stuffed, axis, 0)[::2] = np.moveaxis(padded, axis, 0)
        padded = np.take(convolved(stuffed, taps, axis), np.arange(stuffed.shape[axis]) + 5, axis)
    (batch, height, width, channels), (doubled_height, doubled_width) = images.shape, padded.shape[1:3]
    shape = (2 * (height + 2 * edge), 2 * (width + 2 * edge))
    # Pixel centres of the doubled image lie half a pixel of it to the left of those of the image.
    between = np.array([shift(-0.5, -0.5) @ scale(2, 2) @ m @ scale(0.5, 0.5) @ shift(0.5, 0.5) for m in maps])
    theta = scale(2 / doubled_width, 2 / doubled_height) @ between @ scale(shape[1] / 2, shape[0] / 2)
    grid = functional.affine_grid(torch.from_numpy(theta[:, :2]), [batch, channels, *shape], align_corners=False)
    pixels = torch.from_numpy(np.ascontiguousarray(padded.transpose(0, 3, 1, 2)))
    seen = functional.grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False).numpy()
    seen = seen.transpose(0, 2, 3, 1)
    for axis in (1, 2):
        seen = np.take(convolved(seen, taps[::-1], axis), np.arange(0, seen.shape[axis], 2) + 6, axis)
    return seen[:, edge:-edge, edge:-edge]
