"""Images that a person gives to a model of images to images, and what is made of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genjax.data.image_files import is_image
from genjax.decoding.buckets import power_of_two
from genjax.errors import RequestError
from genjax.interop.preprocessor import Preprocessor
from genjax.tasks.contract import GRID, INDEX, Artifact, Batch
from genjax.tasks.image_batches import ROWS, read_request_images
from genjax.tasks.sample_rows import filled

if TYPE_CHECKING:
    from genjax.tasks.image_to_image import ImageToImage


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class ImageToImageRequest:
    """An image, or all images of a folder."""

    image: str = _option("", "a file, or a folder, of which all images are taken")
    reverse: bool = _option(False, "the way back, for a model that has one (cyclegan)")
    beside: bool = _option(False, "show the given image to the left of what is made of it")


def files_of(request: ImageToImageRequest) -> list[Path]:
    """Raises RequestError: no image, or a folder without any."""
    return image_files(request.image)


def image_files(place: str) -> list[Path]:
    """The file, or all images of the folder, that a person names. Raises RequestError: as `files_of`.

    Of a folder that sample.py wrote, the grid is left out: it shows the others once more.
    """
    if not place:
        raise RequestError("this model makes images of images: give it a file or a folder with --image.")
    path = Path(place).expanduser()
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.rglob("*") if file.is_file() and is_image(file.name) and not _is_grid(file))
    if not files:
        raise RequestError(f"--image={place}: the folder holds no images (.png, .jpg, .webp, ...).")
    return files


def _is_grid(file: Path) -> bool:
    return file.name == GRID and (file.parent / INDEX).exists()


def prepare(requests: Sequence[ImageToImageRequest], task: "ImageToImage") -> list[Batch]:
    """Batches of at most `ROWS` images. Raises RequestError: one that cannot be read, or a way back that there is not."""
    files, back = [], []
    for request in requests:
        if request.reverse and len(task.ways) < 2:
            raise RequestError("--reverse: this model goes one way; leave it out.")
        found = files_of(request)
        files += found
        back += [request.reverse] * len(found)
    size = Preprocessor(task.medium.height, task.medium.width, "stretch")
    images = read_request_images([str(file) for file in files], size, task.medium.channels)
    batches = []
    for first in range(0, len(files), ROWS):
        part = slice(first, first + ROWS)
        full = power_of_two(len(files[part]))
        rows = filled(np.arange(len(files))[part], full, -1).astype(np.int32)
        batches.append({"row": rows, "image": filled(images[part], full), "reverse": filled(np.array(back[part]), full)})
    return batches


def present(requests: Sequence[ImageToImageRequest], arrays: Sequence[Batch], task: "ImageToImage") -> list[Artifact]:
    """One picture for each image."""
    found = {int(row): value for batch in arrays for row, value in zip(batch["row"], batch["value"], strict=True)}
    size = Preprocessor(task.medium.height, task.medium.width, "stretch")
    artifacts: list[Artifact] = []
    for request in requests:
        for file in files_of(request):
            value = found[len(artifacts)]
            if request.beside:
                (given,) = read_request_images([str(file)], size, task.medium.channels)
                value = np.concatenate([given, value], axis=1)
            metadata = {"image": str(file)} | ({"reverse": True} if request.reverse else {})
            artifacts.append(task.medium.artifact(value, None, metadata))
    return artifacts
