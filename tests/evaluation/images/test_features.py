"""Features do not depend on how images are divided over batches and devices; images that cannot be are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from genjax.errors import CheckpointError, ConfigError, DataError
from genjax.evaluation.images.collection import collect
from genjax.evaluation.images.features import FeatureNetwork, Features, quantize
from genjax.evaluation.images.frechet import frechet_distance
from genjax.evaluation.images.inception import inception_network
from genjax.models.vit import ViT, ViTConfig
from genjax.parallel.mesh import MeshConfig, make_mesh
from tests.evaluation.images.networks import TINY, pictures, plain_network, tiny_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny_weights(tmp_path_factory.mktemp("weights") / "tiny")


def batches(images, size):
    return [images[start : start + size] for start in range(0, len(images), size)]


def test_inception_on_other_batches_and_devices(weights, cpu_devices):
    """FID and sFID move by less than 1e-6 between batches of 16 on one device and of 24 over eight."""
    path, sha256 = weights
    real, made = pictures(150, 24), pictures(140, 24, seed=1, brightness=110)
    found = []
    for batch_size, mesh in ((16, None), (20, make_mesh(MeshConfig(), cpu_devices))):
        network = inception_network(path, sha256, batch_size=batch_size, mesh=mesh, config=TINY)
        assert network.name == f"inception-2015-12-05-{sha256[:8]}"
        collections = [collect(network, batches(images, 7)) for images in (made, real)]
        assert collections[0].features.shape == (140, TINY.features) and collections[0].logits.shape == (140, 10)
        found.append(
            [frechet_distance(getattr(collections[0], name), getattr(collections[1], name)) for name in ("pool", "spatial")]
        )
    assert min(found[0]) > 0.1
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-6)


def test_logits_are_those_without_bias(weights):
    network = inception_network(*weights, batch_size=16, config=TINY)
    found = network.features(pictures(3, 24))
    kernel = np.asarray(network.variables["params"]["fc"]["kernel"])
    np.testing.assert_allclose(found.logits, found.pool @ kernel, rtol=1e-4, atol=1e-5)
    assert np.abs(network.variables["params"]["fc_bias"]).max() > 0.1


def test_inception_needs_its_own_weights(weights):
    with pytest.raises(CheckpointError, match="but the published weights have 6726825d"):
        inception_network(weights[0], config=TINY)


def test_a_vit_of_ours_over_a_mesh(cpu_devices):
    config = ViTConfig(
        image_size=8, patch_size=4, num_layers=2, num_heads=2, embed_dim=16, mlp_dim=32, num_classes=5, pooler=False
    )
    variables = jax.jit(ViT(config).init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))

    def apply(variables, images):
        found = ViT(config).apply(variables, images / 127.5 - 1)
        return Features(found.features[:, 0], found.logits)

    mesh = make_mesh(MeshConfig(data=4, tensor=2), cpu_devices)
    replicated = jax.device_put(variables, NamedSharding(mesh, PartitionSpec()))
    images = pictures(11)
    one = FeatureNetwork("vit", 8, apply, variables, 3).features(images)
    many = FeatureNetwork("vit", 8, apply, replicated, 3, mesh).features(images)
    assert one.pool.shape == (11, 16) and one.logits.shape == (11, 5) and one.spatial is None
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5), one, many)


def test_rows_that_fill_a_batch_are_left_out(cpu_devices):
    images = pictures(13)
    expected = images.mean((1, 2), dtype=np.float64)
    for settings in ({"batch_size": 5}, {"batch_size": 64}, {"mesh": make_mesh(MeshConfig(), cpu_devices), "batch_size": 3}):
        np.testing.assert_allclose(plain_network(**settings).features(images).pool, expected, rtol=1e-5)


@pytest.mark.parametrize("sizes", [[1100], [1] * 3 + [600, 497], [100] * 11, [511, 2, 587]], ids=str)
def test_a_collection_does_not_depend_on_batches(sizes):
    """Not even in the last bit: the same chunks are added up, and the same images drawn."""
    images = pictures(1100)
    whole = collect(plain_network(), [images], keep=40)
    found = collect(plain_network(), np.split(images, np.cumsum(sizes)[:-1]), keep=40)
    assert found.count == 1100 and found.network == "means" and found.spatial is None
    for a, b in (
        *((getattr(found.pool, name), getattr(whole.pool, name)) for name in ("mean", "scatter")),
        *((found.features, whole.features), (found.logits, whole.logits)),
    ):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(found.pool.covariance, np.cov(images.mean((1, 2), dtype=np.float64), rowvar=False), rtol=1e-5)


def test_kept_images_are_drawn_from_all():
    """A set that comes sorted must not be judged by its beginning."""
    ramp = np.broadcast_to(np.arange(1000)[:, None, None, None] // 4, (1000, 8, 8, 3)).astype(np.uint8)
    drawn = np.concatenate([collect(plain_network(), [ramp], keep=50, seed=seed).features[:, 0] for seed in range(8)])
    assert len(drawn) == 400
    shares = np.histogram(drawn, bins=5, range=(0, 250))[0] / len(drawn)
    assert np.abs(shares - 0.2).max() < 0.08  # four standard deviations
    kept = collect(plain_network(), [ramp], keep=2000)
    np.testing.assert_array_equal(kept.features[:, 0], np.arange(1000) // 4)
    np.testing.assert_array_equal(kept.logits, 2 * kept.features)


def test_images_that_are_refused():
    network = plain_network()
    with pytest.raises(DataError, match=r"images are float32 \[2, 8, 8, 3\]; features are those of uint8.*by `quantize` first"):
        network.features(np.zeros((2, 8, 8, 3), np.float32))
    for wrong in (np.zeros((8, 8, 3), np.uint8), np.zeros((0, 8, 8, 3), np.uint8)):
        with pytest.raises(DataError, match="features are those of uint8"):
            network.features(wrong)
    with pytest.raises(DataError, match=r"several sizes: \[8, 8, 3\], \[9, 9, 3\]"):
        collect(network, [pictures(2), pictures(2, 9)])
    with pytest.raises(DataError, match="no images to measure"):
        collect(network, [])
    with pytest.raises(ConfigError, match="the batch size of means is 0; it must be 1 or more"):
        plain_network(batch_size=0)
    broken = FeatureNetwork("means", 8, network.apply, {"factor": jnp.asarray(jnp.nan)})
    with pytest.raises(DataError, match="means gives pool features that are not finite; its weights are damaged"):
        broken.features(pictures(2))


def test_quantize_rounds_to_the_nearest_level():
    levels = np.arange(256)
    np.testing.assert_array_equal(quantize(levels / 127.5 - 1), levels)
    np.testing.assert_array_equal(quantize((levels + np.linspace(-0.49, 0.49, 256)) / 127.5 - 1), levels)
    np.testing.assert_array_equal(quantize(np.array([-3, 3.0])), [0, 255])
    with pytest.raises(DataError, match="not finite; the sampler diverged"):
        quantize(np.array([0, np.nan]))
