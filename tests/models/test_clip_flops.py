"""Analytic operation counts of CLIP's towers against those that XLA counts in the programs."""

import jax
import jax.numpy as jnp
import pytest

from genjax.models.clip import CLIPImage
from genjax.models.clip_resnet import CLIPResNet, CLIPResNetConfig, flops_per_image
from genjax.models.clip_sizes import CLIP_SIZES
from genjax.models.tower import tower_flops


def counted(module, side):
    """Operations of a forward pass on one image."""
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), images)
    return jax.jit(module.apply).lower(variables, images).cost_analysis()["flops"]


def test_a_resnet():
    """XLA's count has the norms and the sums of pooling too, and leaves out what meets the zeros around an image."""
    config = CLIPResNetConfig()
    assert flops_per_image(config) / 3 == pytest.approx(counted(CLIPResNet(config), 224), rel=0.05)


def test_a_vision_transformer():
    config = CLIP_SIZES["clip_b32"].image
    patches = 6 * 49 * 32 * 32 * 3 * 768
    assert (tower_flops(config, 50) + patches) / 3 == pytest.approx(counted(CLIPImage(config), 224), rel=0.03)
