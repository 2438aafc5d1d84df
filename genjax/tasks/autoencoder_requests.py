"""Images that a person gives to an autoencoder, what comes back of them, and their codes as pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int, UInt8

from genjax.decoding.buckets import power_of_two
from genjax.errors import RequestError
from genjax.interop.preprocessor import Preprocessor
from genjax.tasks.contract import Artifact, Batch
from genjax.tasks.image_batches import ROWS, read_request_images
from genjax.tasks.image_to_image_requests import image_files
from genjax.tasks.sample_rows import filled

if TYPE_CHECKING:
    from genjax.tasks.autoencoder import AutoencoderTask

_GOLDEN = 0.6180339887498949  # of the circle of hues: neighbouring numbers get colours that are far apart


@dataclass(frozen=True)
class ReconstructionRequest:
    """An image, or all images of a folder."""

    image: str = field(default="", metadata={"help": "a file, or a folder, of which all images are taken"})
    beside: bool = field(default=False, metadata={"help": "show the given image to the left of what comes back of it"})
    codes: bool = field(default=False, metadata={"help": "show its codes to the right, each in a colour of its own"})


@dataclass(frozen=True, eq=False)
class RequestOfData(ReconstructionRequest):
    """One of the images that a run holds out."""

    pixels: UInt8[np.ndarray, "height width channels"] | None = None


def _given(request: ReconstructionRequest, task: "AutoencoderTask") -> list[tuple[str, np.ndarray]]:
    """Names and images of a request. Raises RequestError: none, or one that cannot be read."""
    if isinstance(request, RequestOfData):
        return [("", request.pixels)]
    files = [str(file) for file in image_files(request.image)]
    size = Preprocessor(task.medium.height, task.medium.width)
    return list(zip(files, read_request_images(files, size, task.medium.channels), strict=True))


def prepare(requests: Sequence[ReconstructionRequest], task: "AutoencoderTask") -> list[Batch]:
    """Batches of at most `ROWS` images. Raises RequestError: no image, one that cannot be read, or codes that there are not."""
    for request in requests:
        if request.codes and not isinstance(request, RequestOfData) and not task.code_grids:
            raise RequestError("--codes: this autoencoder's bottleneck has no codes; leave it out.")
    images = [image for request in requests for _, image in _given(request, task)]
    batches = []
    for first in range(0, len(images), ROWS):
        part = images[first : first + ROWS]
        full = power_of_two(len(part))
        rows = filled(np.arange(first, first + len(part)), full, -1).astype(np.int32)
        batches.append({"row": rows, "image": filled(part, full)})
    return batches


def present(requests: Sequence[ReconstructionRequest], arrays: Sequence[Batch], task: "AutoencoderTask") -> list[Artifact]:
    """One picture for each image; the codes are kept beside it."""
    found: dict[int, dict[str, Any]] = {}
    for batch in arrays:
        for place, row in enumerate(batch["row"]):
            found[int(row)] = {name: values[place] for name, values in batch.items() if name != "row"}
    artifacts: list[Artifact] = []
    for request in requests:
        for name, image in _given(request, task):
            own = found[len(artifacts)]
            codes = {key: value for key, value in own.items() if key.startswith("codes_")}
            panels = [image] if request.beside else []
            panels.append(own["value"])
            if request.codes:
                panels += [code_picture(value, image.shape[0]) for value in codes.values()]
            panels = [np.broadcast_to(panel, (*panel.shape[:2], 3)) for panel in panels]
            metadata = {"image": name} if name else {}
            artifacts.append(Artifact("image", np.concatenate(panels, axis=1), metadata, codes))
    return artifacts


def code_picture(codes: Int[np.ndarray, "rows columns *depth"], height: int) -> UInt8[np.ndarray, "height width 3"]:
    """Codes as squares, each number in a colour of its own; where a place has several, the first."""
    codes = np.asarray(codes).reshape(*codes.shape[:2], -1)[..., 0]
    hue = (codes * _GOLDEN) % 1.0
    bright = 0.55 + 0.45 * ((codes * _GOLDEN**2) % 1.0)
    third = np.stack([hue, hue - 1 / 3, hue - 2 / 3], axis=-1) % 1.0
    picture = (255 * bright[..., None] * np.clip(np.abs(6 * third - 3) - 1, 0.15, 1)).astype(np.uint8)
    return np.repeat(np.repeat(picture, height // len(codes), axis=0), height // len(codes), axis=1)
