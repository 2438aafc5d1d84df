"""What the tasks that look at images share: numbers of the range that a model reads, and the images of requests."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from genjax.data.image_files import read_image
from genjax.decoding.buckets import power_of_two
from genjax.errors import ConfigError, DataError, RequestError
from genjax.interop.preprocessor import Preprocessor

ROWS = 32  # of a request's batch at most


def normalize(
    images: UInt8[Array, "batch height width channels"], preprocessor: Preprocessor
) -> Float[Array, "batch height width channels"]:
    """(x / 255 - mean) / std in float32, on the device: bytes are what travels there."""
    mean, std = (jnp.asarray(numbers, jnp.float32) for numbers in (preprocessor.mean, preprocessor.std))
    return images.astype(jnp.float32) * (1 / (255 * std)) - mean / std


def check_channels(preprocessor: Preprocessor, channels: int) -> None:
    """Raises ConfigError: a mean and std that are neither for each channel nor one for all."""
    if len(preprocessor.mean) not in (1, channels):
        raise ConfigError(
            f"config.task.mean and std have {len(preprocessor.mean)} numbers, but the images {channels} channels; give "
            "as many, or one."
        )


def read_request_images(
    files: Sequence[str], preprocessor: Preprocessor, channels: int
) -> UInt8[np.ndarray, "images height width channels"]:
    """The images of files. Raises RequestError: one that cannot be read."""
    try:
        return np.stack([read_image(file, preprocessor, channels) for file in files])
    except DataError as error:
        raise RequestError(str(error)) from error


def row_batches(rows: np.ndarray, limit: int = ROWS) -> list[np.ndarray]:
    """The rows cut into batches of at most `limit` (a power of two), each filled up with zeros to a power of two: few shapes."""
    batches = []
    for start in range(0, len(rows), limit):
        part = rows[start : start + limit]
        full = np.zeros((power_of_two(len(part)), *rows.shape[1:]), rows.dtype)
        full[: len(part)] = part
        batches.append(full)
    return batches


def unbatched(arrays: Sequence[np.ndarray], count: int) -> np.ndarray:
    """What became of the rows of `row_batches`, without what filled them up."""
    return np.concatenate([np.asarray(array) for array in arrays])[:count]
