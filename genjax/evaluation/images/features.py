"""Features of images: what a network that is not ours to judge says of them, and what every measure of images is made of."""

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import Array, Float, UInt8

from genjax.errors import ConfigError, DataError
from genjax.parallel.compiler import compiler_options
from genjax.parallel.rules import batch_parts, batch_sharding, context


class Features(NamedTuple):
    """What a network says of images; None where it has no such output.

    Attributes:
        pool: one vector for each image.
        logits: over classes.
        spatial: vectors that still know places, for sFID.
    """

    pool: Float[Array, "batch features"]
    logits: Float[Array, "batch classes"] | None = None
    spatial: Float[Array, "batch spatial"] | None = None


@dataclass(frozen=True, eq=False)
class FeatureNetwork:
    """A network of features, ready to run.

    Attributes:
        name: stands in the name of every figure, so it must tell networks, weights and ways of resizing apart.
        image_size: height and width that the network sees; `apply` resizes by itself.
        apply: from variables and uint8 images to `Features`, traceable. Each image must be seen for itself, without the others.
        variables: of `apply`, on the devices of the mesh.
        batch_size: images at a time; rounded up to what divides over the mesh.
        mesh: the devices over which images are divided; None: the default device. In a job of several processes, all of them
            call with the same images.
        classes: names of those that the logits are over; (): not known.
    """

    name: str
    image_size: int
    apply: Callable[[Any, UInt8[Array, "batch height width channels"]], Features]
    variables: Any
    batch_size: int = 64
    mesh: Mesh | None = None
    classes: tuple[str, ...] = ()

    def __post_init__(self):
        if self.batch_size < 1:
            raise ConfigError(f"the batch size of {self.name} is {self.batch_size}; it must be 1 or more.")

    def features(self, images: UInt8[np.ndarray, "images height width channels"]) -> Features:
        """Float32 arrays on the host.

        Raises:
            DataError: no images, images that are not uint8 (a figure of numbers that no file can hold is nobody's figure), or
                features that are not finite.
        """
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
            raise DataError(
                f"images are {images.dtype} {list(images.shape)}; features are those of uint8 [images height width channels]. "
                "Round samples in [-1, 1] by `quantize` first."
            )
        parts = 1 if self.mesh is None else batch_parts(self.mesh)
        rows = -(-self.batch_size // parts) * parts
        batches = [images[start : start + rows] for start in range(0, len(images), rows)]
        with contextlib.nullcontext() if self.mesh is None else context(self.mesh):
            found = [self._compiled(self.variables, self._placed(batch, rows)) for batch in batches]  # all on their way
            hosts = [jax.tree.map(_fetched, features) for features in found]
        features = jax.tree.map(lambda *pieces: np.concatenate(pieces)[: len(images)], *hosts)
        for name, values in zip(Features._fields, features, strict=True):
            if values is not None and not np.isfinite(values).all():
                raise DataError(f"{self.name} gives {name} features that are not finite; its weights are damaged.")
        return features

    @functools.cached_property
    def _compiled(self) -> Callable[[Any, Array], Features]:
        return jax.jit(self.apply, compiler_options=compiler_options())

    def _placed(self, batch: UInt8[np.ndarray, "images height width channels"], rows: int) -> Array:
        full = np.zeros((rows, *batch.shape[1:]), np.uint8)  # one shape to compile
        full[: len(batch)] = batch
        return jax.device_put(full, None if self.mesh is None else batch_sharding(self.mesh, ndim=4))


def quantize(images: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Samples in [-1, 1] as an image file holds them: the nearest of 256 levels; what lies outside is clipped.

    Raises:
        DataError: values that are not finite.
    """
    images = np.asarray(images, np.float32)
    if not np.isfinite(images).all():
        raise DataError("the images hold values that are not finite; the sampler diverged.")
    return np.clip(np.floor(images * 127.5 + 128), 0, 255).astype(np.uint8)


def _fetched(x: Array) -> Float[np.ndarray, "..."]:
    if not x.is_fully_addressable:
        x = multihost_utils.process_allgather(x, tiled=True)
    return np.asarray(x, np.float32)
