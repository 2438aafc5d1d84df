"""The network of features that published figures are measured with."""

from pathlib import Path

import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from genjax.evaluation.images.features import FeatureNetwork, Features
from genjax.interop import inception
from genjax.models.inception import Inception, InceptionConfig


def inception_network(
    path: Path | str,
    sha256: str = inception.SHA256,
    *,
    batch_size: int = 64,
    mesh: Mesh | None = None,
    config: InceptionConfig | None = None,
) -> FeatureNetwork:
    """Inception with the weights of a file; figures bear the name inception-2015-12-05 and the first digits of its hash.

    Its logits are those without bias, as all published Inception scores have them; images are resized as pytorch-fid does
    (TensorFlow's old resizing, which torch-fidelity imitates, gives slightly other figures).

    Args:
        path, sha256: see `interop.inception.load`.
        batch_size, mesh: see `FeatureNetwork`; every device holds all of the weights (95 MB).
        config: what the file must fit; None: the published network.

    Raises:
        CheckpointError: see `interop.inception.load`.
    """
    config = config or InceptionConfig()
    sharding = None if mesh is None else NamedSharding(mesh, PartitionSpec())
    variables = inception.load(path, sha256, sharding, config)

    def apply(variables, images) -> Features:
        found = Inception(config).apply(variables, images.astype(jnp.float32) / 255)
        return Features(found.pool, found.logits_without_bias, found.spatial)

    return FeatureNetwork(f"inception-2015-12-05-{sha256[:8].lower()}", config.image_size, apply, variables, batch_size, mesh)
