"""Image files to arrays: decoded by Pillow, on white where they are transparent, brought to a size."""

import io
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from genjax.errors import DataError
from genjax.interop.preprocessor import Preprocessor

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
LARGEST_FILE = 1 << 28  # bytes
MODES = {1: "L", 3: "RGB"}


def is_image(name: str) -> bool:
    """Whether the file's name ends as that of an image that can be read."""
    return name.lower().endswith(ENDINGS)


def read_image(file: Path | str, preprocessor: Preprocessor, channels: int = 3) -> UInt8[np.ndarray, "height width channels"]:
    """The image of a file. Raises DataError: no such file, or no image."""
    try:
        content = Path(file).expanduser().read_bytes()
    except OSError as error:
        raise DataError(f"the image {file} cannot be read: {(error.strerror or str(error)).lower()}.") from error
    return fit_image(decode_image(content, str(file), channels), preprocessor)


def decode_image(content: bytes, where: str, channels: int = 3) -> Image.Image:
    """The first picture in a file's bytes, upright as its EXIF says, with 1 or 3 channels of 8 bits.

    Args:
        where: names the file in messages.

    Raises:
        DataError: no image, a damaged one, or one of more pixels than any honest file has (Pillow's limit).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content))
            image = ImageOps.exif_transpose(image)
    except (UnidentifiedImageError, Image.DecompressionBombWarning, Image.DecompressionBombError, OSError, ValueError) as error:
        reason = "not an image that can be read" if isinstance(error, UnidentifiedImageError) else str(error)
        raise DataError(f"the image {where} cannot be decoded: {reason}; restore it, or leave it out.") from error
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(MODES[channels])


def fit_image(image: Image.Image, preprocessor: Preprocessor) -> UInt8[np.ndarray, "height width channels"]:
    """The image at the preprocessor's height and width; as transformers' image processors do it."""
    p = preprocessor
    resample = Image.Resampling[p.resample.upper()]
    size = (p.width, p.height)
    if p.fit == "crop":
        shortest, (width, height) = p.shortest or max(size), image.size
        # The longer side is rounded down, as there.
        size = (shortest, shortest * height // width) if width <= height else (shortest * width // height, shortest)
    if image.size != size:
        image = image.resize(size, resample)
    if p.fit == "crop":
        left, top = (size[0] - p.width) // 2, (size[1] - p.height) // 2
        image = image.crop((left, top, left + p.width, top + p.height))
    array = np.asarray(image)
    return array[:, :, None] if array.ndim == 2 else array
