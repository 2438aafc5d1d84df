"""DiT and the U-Net: the same numbers on eight devices, divided in every way, as on one; and in half precision about the same."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.models.dit import DiT, DiTConfig
from genjax.models.unet import UNet, UNetConfig
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.processes import global_batch
from genjax.parallel.rules import context, tree_shardings

DRAW = np.random.default_rng(0)
SAMPLES = {"times": np.linspace(0.1, 90, 4, dtype=np.float32), "classes": np.arange(4, dtype=np.int32)}
UNET = UNetConfig(
    dimensions=1, widths=(8, 16), blocks=1, groups=4, attention_levels=(), cross_attention_levels=(1,), context_width=4, heads=2,
    condition_features=2, num_classes=4, scale_shift=True, resample="block", middle_attention=False,
)  # fmt: skip
CASES = {
    "dit": (
        DiT,
        DiTConfig(sample_size=8, num_layers=2, num_heads=2, embed_dim=8, num_classes=3, scan_layers=True),
        SAMPLES | {"x": DRAW.standard_normal((4, 8, 8, 4), np.float32)},
    ),
    "unet": (
        UNet,
        UNET,
        SAMPLES
        | {"x": DRAW.standard_normal((4, 8, 3), np.float32), "condition": DRAW.standard_normal((4, 2), np.float32)}
        | {"context": DRAW.standard_normal((4, 4, 4), np.float32)},
    ),
}


def begin(network, batch):
    """Boxed shapes, and parameters that are off their first values, many of which are 0."""
    boxed = jax.eval_shape(lambda: network.init(jax.random.key(0), **batch))["params"]
    draw = lambda leaf: DRAW.standard_normal(leaf.shape, np.float32) / math.sqrt(max(4, leaf.size / leaf.shape[-1]))  # noqa: E731
    return boxed, jax.tree.map(draw, jax.tree.map(lambda box: box.value, boxed, is_leaf=lambda x: hasattr(x, "names")))


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_equal_one_device(cpu_devices, name):
    kind, config, batch = CASES[name]
    boxed, params = begin(kind(config), batch)

    def loss(params, batch, config=config):
        out = kind(config).apply({"params": params}, **batch)
        return (out**2).mean(), out

    step = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (_, expected), gradients = step(params, batch)
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2), cpu_devices)
    with context(mesh):
        placed = jax.device_put(params, tree_shardings(boxed, mesh))
        (_, found), other = step(placed, global_batch(batch, mesh))
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())
    for one, two in zip(jax.tree.leaves(gradients), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(two, one, atol=2e-5 * max(1, np.abs(one).max()))
    half, _ = jax.jit(lambda *given: loss(*given, config=dataclasses.replace(config, dtype="bfloat16"))[::-1])(params, batch)
    assert half.dtype == jnp.float32
    assert 0 < np.abs(half - expected).max() < 0.1 * np.abs(expected).max()
