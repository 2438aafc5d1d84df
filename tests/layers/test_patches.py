"""Patches are a convolution's; positions are resized as torch resizes them."""

import jax
import numpy as np
import pytest
import torch
from flax.core import meta

from genjax.errors import ConfigError
from genjax.layers.patches import PatchEmbedding, resize_positions


@pytest.mark.parametrize("size, height, width", [(4, 8, 12), (3, 11, 7), (16, 16, 16)])
def test_a_patch_embedding_is_a_strided_convolution(size, height, width):
    images = np.random.default_rng(0).normal(size=(2, height, width, 3)).astype(np.float32)
    module = PatchEmbedding(size, 10)
    params = jax.tree.map(lambda x: x + 0.1, meta.unbox(module.init(jax.random.key(0), images)["params"]))
    kernel, bias = (np.asarray(params["projection"][name]) for name in ("kernel", "bias"))
    expected = torch.nn.functional.conv2d(
        torch.tensor(images.transpose(0, 3, 1, 2)), torch.tensor(kernel.transpose(3, 2, 0, 1)), torch.tensor(bias), stride=size
    )
    found = module.apply({"params": params}, images)
    np.testing.assert_allclose(found, expected.flatten(2).transpose(1, 2), atol=1e-5)


def test_an_image_smaller_than_a_patch_is_refused():
    with pytest.raises(ConfigError, match="an image of 4x9 pixels is smaller than one patch of 8x8"):
        PatchEmbedding(8, 2).init(jax.random.key(0), np.zeros((1, 4, 9, 3), np.float32))


@pytest.mark.parametrize("grid, new", [((3, 3), (5, 4)), ((7, 7), (3, 14)), ((2, 5), (2, 5)), ((1, 4), (3, 2))])
def test_positions_are_resized_as_torch_does(grid, new):
    table = np.random.default_rng(1).normal(size=(grid[0] * grid[1], 6)).astype(np.float32)
    square = torch.tensor(table).reshape(1, *grid, 6).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(square, size=new, mode="bicubic", align_corners=False)
    np.testing.assert_allclose(resize_positions(table, grid, new), expected[0].permute(1, 2, 0).reshape(-1, 6), atol=1e-6)


def test_a_table_of_another_grid_is_refused():
    with pytest.raises(ConfigError, match="10 positions are not a grid of 3x3 patches"):
        resize_positions(np.zeros((10, 2), np.float32), (3, 3), (4, 4))
