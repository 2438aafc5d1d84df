"""Images that a person wants to be larger, and what is made of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from genjax.data.image_files import open_image
from genjax.errors import DataError, RequestError
from genjax.tasks.contract import Artifact, Batch
from genjax.tasks.image_to_image_requests import files_of

if TYPE_CHECKING:
    from genjax.tasks.super_resolution import SuperResolution

LARGEST = 2048  # pixels along a side of what is made


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class SuperResolutionRequest:
    """An image, or all images of a folder."""

    image: str = _option("", "a file, or a folder, of which all images are taken; of any size")
    reduce: bool = _option(False, "first make the image smaller, so that it comes back to its size: to see what is lost")
    beside: bool = _option(False, "show cubic interpolation to the left of what is made")


def prepare(requests: Sequence[SuperResolutionRequest], task: "SuperResolution") -> list[Batch]:
    """A batch for each image: each has its size. Raises RequestError: one that cannot be read, or would become too large."""
    batches = []
    for request in requests:
        for file in files_of(request):
            image = _read(str(file), request, task)
            if max(image.shape) * task.scale > LARGEST:
                raise RequestError(
                    f"--image={file} is {image.shape[1]}x{image.shape[0]} pixels, which would become more than {LARGEST} along a "
                    "side; cut it into parts, or make it smaller."
                )
            batches.append({"row": np.array([len(batches)], np.int32), "image": image[None]})
    return batches


def _read(file: str, request: SuperResolutionRequest, task: "SuperResolution") -> UInt8[np.ndarray, "height width channels"]:
    try:
        image = open_image(file, task.medium.channels)
    except DataError as error:
        raise RequestError(str(error)) from error
    if request.reduce:
        sides = image.width // task.scale, image.height // task.scale
        if min(sides) < 1:
            raise RequestError(f"--reduce: {file} is smaller than {task.scale} pixels; leave it out.")
        image = image.resize(sides, Image.Resampling.BICUBIC)
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array


def present(requests: Sequence[SuperResolutionRequest], arrays: Sequence[Batch], task: "SuperResolution") -> list[Artifact]:
    """One picture for each image."""
    artifacts: list[Artifact] = []
    for request in requests:
        for file in files_of(request):
            batch = arrays[len(artifacts)]
            parts = [batch["cubic"][0], batch["value"][0]] if request.beside else [batch["value"][0]]
            metadata = {"image": str(file), "scale": task.scale} | ({"reduce": True} if request.reduce else {})
            artifacts.append(task.medium.artifact(np.concatenate(parts, axis=1), None, metadata))
    return artifacts
