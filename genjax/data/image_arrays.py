"""All images of a place as one array of bytes, decoded once: in memory, or in a cache folder and memory-mapped."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image
from tqdm import tqdm

from genjax.data.hashing import digest
from genjax.data.image_files import LARGEST_FILE, decode_image, fit_image
from genjax.errors import DataError
from genjax.interop.preprocessor import Preprocessor
from genjax.storage.folder_cache import made_once

log = logging.getLogger(__name__)
META, PIXELS = "meta.json", "images.u8"
FORMAT = "2"  # change it when the same file comes to other pixels than before

OnCorrupt = Literal["raise", "skip"]


class ImageFiles(Protocol):
    """Encoded images that lie in one place: `genjax.data.sources.trees.Tree`, or a prepared dataset."""

    title: str

    @property
    def fingerprint(self) -> str:
        """Of names and contents."""

    def read(self, limit: int) -> Iterator[tuple[str, bytes]]:
        """(name, content) of each, in an order of their own."""


@dataclass(frozen=True, eq=False)
class ImageArrays:
    """Images of one size, with the paths that they had within their place.

    Attributes:
        sizes: height and width of each before it was fitted.
        left_out: names of those that could not be decoded, where that is allowed.
    """

    names: tuple[str, ...]
    images: UInt8[np.ndarray, "images height width channels"]
    sizes: Int[np.ndarray, "images 2"]
    left_out: tuple[str, ...] = ()


def decode_images(
    files: ImageFiles,
    size: int,
    fit: str,
    channels: int,
    cache_dir: Path | None,
    on_corrupt: OnCorrupt = "raise",
    halves: bool = False,
) -> ImageArrays:
    """Every image of a place, in its order.

    Args:
        files: images alone.
        size: height and width to bring them to; 0: as they are, which must be one size for all.
        fit: "crop" or "stretch", see `Preprocessor`.
        channels: 1 or 3.
        cache_dir: where the array is kept; None keeps it in memory.
        on_corrupt: "skip" leaves out images that cannot be decoded.
        halves: whether a file holds two images side by side, each of which is brought to that size, and which stay together.

    Raises:
        DataError: no images, one that cannot be decoded, or images of several sizes.
    """
    decoder = _Decoder(files, Preprocessor(size, size, fit) if size else None, channels, on_corrupt, halves)
    if cache_dir is None:
        images = np.stack(list(decoder))
        return ImageArrays(tuple(decoder.names), images, np.array(decoder.sizes), tuple(decoder.left_out))

    def write(folder: Path) -> None:
        with open(folder / PIXELS, "wb") as file:
            for image in decoder:
                file.write(np.ascontiguousarray(image).tobytes())
        meta = {"shape": decoder.shape, "names": decoder.names, "sizes": decoder.sizes, "left_out": decoder.left_out}
        (folder / META).write_text(json.dumps(meta), encoding="utf-8")

    # Not one cache for both: what "skip" left out is an error for "raise".
    settings = (size, fit, channels) if on_corrupt == "raise" else (size, fit, channels, on_corrupt)
    settings += ("halves",) * halves
    final = Path(cache_dir) / f"images-{digest(FORMAT, files.fingerprint, repr(settings))}"
    return made_once(final, _open, write, "the cache of decoded images", "data.cache_dir")


def content_hashes(images: Sequence[np.ndarray]) -> list[str]:
    """A fingerprint of each image's pixels."""
    return [digest(np.ascontiguousarray(image).tobytes()) for image in images]


class _Decoder:
    """Decodes and fits one image after the other; what it saw of them is there when the last has come."""

    def __init__(self, files: ImageFiles, preprocessor: Preprocessor | None, channels: int, on_corrupt: OnCorrupt, halves: bool):
        self.files, self.preprocessor, self.channels, self.on_corrupt = files, preprocessor, channels, on_corrupt
        self.halves = halves
        self.names: list[str] = []
        self.sizes: list[tuple[int, int]] = []
        self.left_out: list[str] = []
        self.shape: tuple[int, ...] = ()

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "height width channels"]]:
        title, failure = self.files.title, None
        contents = self.files.read(LARGEST_FILE)
        for name, content in tqdm(contents, desc=f"decoding {title}", unit=" images", disable=None, delay=2):
            try:
                image = decode_image(content, str(PurePosixPath(title) / name), self.channels)
            except DataError as error:
                if self.on_corrupt == "raise":
                    raise
                failure = failure or error
                self.left_out.append(name)
                continue
            array = self._fitted(image, name)
            self.shape = self.shape or array.shape
            if array.shape != self.shape:
                (height, width), (old_height, old_width) = array.shape[:2], self.shape[:2]
                raise DataError(
                    f"the images of {title} are of several sizes ({self.names[0]} is {old_height}x{old_width}, {name} "
                    f"{height}x{width} pixels); set data.image_size to bring them to one."
                )
            self.names.append(name)
            self.sizes.append((image.height, image.width))
            yield array
        if failure is not None and not self.names:
            raise DataError(f"none of the {len(self.left_out):,} images of {title} can be used. The first: {failure}")
        if not self.names:
            raise DataError(f"{title} holds no images (.png, .jpg, .webp, ...); check data.path.")

    def _fitted(self, image: Image.Image, name: str) -> UInt8[np.ndarray, "height width channels"]:
        fit = lambda part: fit_image(part, self.preprocessor or Preprocessor(part.height, part.width, "stretch"))  # noqa: E731
        if not self.halves:
            return fit(image)
        if image.width % 2:
            raise DataError(f"the image {self.files.title}/{name} is {image.width} pixels wide, which are no two halves.")
        half = image.width // 2
        return np.concatenate([fit(image.crop((x, 0, x + half, image.height))) for x in (0, half)], axis=1)


def _open(folder: Path) -> ImageArrays | None:
    if not folder.is_dir():
        return None
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        names, shape, sizes = tuple(meta["names"]), tuple(meta["shape"]), np.array(meta["sizes"])
        if (folder / PIXELS).stat().st_size != len(names) * int(np.prod(shape)) or sizes.shape != (len(names), 2):
            raise ValueError("its parts do not fit together")
        images = np.memmap(folder / PIXELS, np.uint8, "r", shape=(len(names), *shape))
        return ImageArrays(names, images, sizes, tuple(meta["left_out"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("the decoded images in %s are damaged (%s) and are made again", folder, error)
        return None
