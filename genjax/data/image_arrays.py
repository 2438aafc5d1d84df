"""All images of a place as one array of bytes, decoded once: in memory, or in a cache folder and memory-mapped."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from genjax.data.hashing import digest
from genjax.data.image_files import LARGEST_FILE, decode_image, fit_image
from genjax.data.sources.trees import Tree
from genjax.errors import DataError
from genjax.interop.preprocessor import Preprocessor
from genjax.storage.folder_cache import made_once

log = logging.getLogger(__name__)
META, PIXELS = "meta.json", "images.u8"
FORMAT = "1"  # change it when the same file comes to other pixels than before


@dataclass(frozen=True, eq=False)
class ImageArrays:
    """Images of one size, with the paths that they had within their place."""

    names: tuple[str, ...]
    images: UInt8[np.ndarray, "images height width channels"]


def decode_tree(tree: Tree, size: int, fit: str, channels: int, cache_dir: Path | None) -> ImageArrays:
    """Every image of a folder or an archive, in its order.

    Args:
        tree: with images alone.
        size: height and width to bring them to; 0: as they are, which must be one size for all.
        fit: "crop" or "stretch", see `Preprocessor`.
        channels: 1 or 3.
        cache_dir: where the array is kept; None keeps it in memory.

    Raises:
        DataError: no images, one that cannot be decoded, or images of several sizes.
    """
    preprocessor = Preprocessor(size, size, fit) if size else None
    if cache_dir is None:
        names, rows = [], []
        for name, image in _decoded(tree, preprocessor, channels):
            names.append(name)
            rows.append(image)
        return ImageArrays(tuple(names), np.stack(rows))

    def write(folder: Path) -> None:
        names, shape = [], ()
        with open(folder / PIXELS, "wb") as file:
            for name, image in _decoded(tree, preprocessor, channels):
                names.append(name)
                shape = image.shape
                file.write(np.ascontiguousarray(image).tobytes())
        (folder / META).write_text(json.dumps({"shape": shape, "names": names}), encoding="utf-8")

    fingerprint = digest(FORMAT, tree.fingerprint, repr((size, fit, channels)))
    return made_once(Path(cache_dir) / f"images-{fingerprint}", _open, write, "the cache of decoded images", "data.cache_dir")


def content_hashes(images: Sequence[np.ndarray]) -> list[str]:
    """A fingerprint of each image's pixels."""
    return [digest(np.ascontiguousarray(image).tobytes()) for image in images]


def _decoded(tree: Tree, preprocessor: Preprocessor | None, channels: int):
    first = None
    for name, content in tqdm(tree.read(LARGEST_FILE), desc=f"decoding {tree.title}", unit=" images", disable=None, delay=2):
        image = decode_image(content, str(PurePosixPath(tree.title) / name), channels)
        array = fit_image(image, preprocessor or Preprocessor(image.height, image.width, "stretch"))
        if first is not None and array.shape != first[1].shape:
            (height, width), (old_height, old_width) = array.shape[:2], first[1].shape[:2]
            raise DataError(
                f"the images of {tree.title} are of several sizes ({first[0]} is {old_height}x{old_width}, {name} "
                f"{height}x{width} pixels); set data.image_size to bring them to one."
            )
        first = first or (name, array)
        yield name, array
    if first is None:
        raise DataError(f"{tree.title} holds no images (.png, .jpg, .webp, ...); check data.path.")


def _open(folder: Path) -> ImageArrays | None:
    if not folder.is_dir():
        return None
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        names, shape = tuple(meta["names"]), tuple(meta["shape"])
        if (folder / PIXELS).stat().st_size != len(names) * int(np.prod(shape)):
            raise ValueError("its parts do not fit together")
        images = np.memmap(folder / PIXELS, np.uint8, "r", shape=(len(names), *shape))
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("the decoded images in %s are damaged (%s) and are made again", folder, error)
        return None
    return ImageArrays(names, images)
