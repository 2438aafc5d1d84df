"""StyleGAN2 and progressive growing: the same numbers on eight devices, divided in every way, as on one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import meta

from genjax.layers import resample
from genjax.models.progressive import ProgressiveConfig, ProgressiveDiscriminator, ProgressiveGenerator
from genjax.models.style_config import StyleGAN2Config
from genjax.models.style_discriminator import StyleDiscriminator
from genjax.models.style_generator import StyleGenerator
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.processes import global_batch
from genjax.parallel.rules import context, tree_shardings

DRAW = np.random.default_rng(0)
SIZES = dict(image_size=8, latent=4, channel_base=64, channel_max=8, mbstd_group_size=4)
CASES = {
    "style": (StyleGenerator, StyleDiscriminator, StyleGAN2Config(**SIZES, style_width=4, mapping_layers=2)),
    "progressive": (ProgressiveGenerator, ProgressiveDiscriminator, ProgressiveConfig(**SIZES)),
}


@pytest.mark.parametrize("name, platform", [("style", "gpu"), ("progressive", "cpu")])
def test_scores_and_gradients_equal_one_device(monkeypatch, cpu_devices, name, platform):
    """Through the convolutions of accelerators, and through the matrix products of a CPU. Groups of the batch's deviation span
    devices, and noise is drawn alike."""
    monkeypatch.setattr(resample, "current_platform", lambda: platform)
    *kinds, config = CASES[name]
    generator, discriminator = (kind(config) for kind in kinds)
    z, images = DRAW.standard_normal((8, 4), np.float32), DRAW.standard_normal((8, 8, 8, 3), np.float32)
    boxed = [jax.eval_shape(network.init, jax.random.key(0), x) for network, x in ((generator, z), (discriminator, images))]
    variables = jax.tree.map(lambda leaf: DRAW.standard_normal(leaf.shape, np.float32), meta.unbox(boxed))

    def loss(variables, batch):
        fakes = generator.apply(variables[0], batch["z"], rngs={"noise": jax.random.key(3)})
        scores, back = jax.vjp(lambda images: discriminator.apply(variables[1], images), fakes + batch["images"])
        total = (scores * np.arange(8)).mean()
        if name == "progressive":  # R1 differentiates twice; the smaller network, as this compiles much
            total += jnp.square(back(jnp.ones_like(scores))[0]).sum() / 1000
        return total, scores

    step = jax.jit(jax.value_and_grad(loss, has_aux=True))
    batch = {"z": z, "images": images}
    (_, expected), gradients = step(variables, batch)
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2), cpu_devices)
    with context(mesh):
        placed = jax.device_put(variables, tree_shardings(boxed, mesh))
        assert not jax.tree.all(jax.tree.map(lambda leaf: leaf.is_fully_replicated, placed))
        (_, found), other = step(placed, global_batch(batch, mesh))
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())
    for one, two in zip(jax.tree.leaves(gradients), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(two, one, atol=2e-5 * max(1, np.abs(one).max()))
