"""Image files to arrays: decoded by Pillow, on white where they are transparent, brought to a size."""

import io
import struct
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
DAMAGE = (  # what Pillow's decoders raise for bytes that are not what they should be
    *(UnidentifiedImageError, Image.DecompressionBombWarning, Image.DecompressionBombError, OSError, ValueError, SyntaxError),
    *(EOFError, TypeError, KeyError, IndexError, OverflowError, struct.error),
)
OF_16_BITS = ("PNG", "PPM")  # formats whose numbers of Pillow's mode I, which holds 32 bits, have 16


def is_image(name: str) -> bool:
    """Whether the file's name ends as that of an image that can be read."""
    return name.lower().endswith(ENDINGS)


def read_image(file: Path | str, preprocessor: Preprocessor, channels: int = 3) -> UInt8[np.ndarray, "height width channels"]:
    """The image of a file, as a model reads it. Errors as for `open_image`."""
    return fit_image(open_image(file, channels), preprocessor)


def open_image(file: Path | str, channels: int = 3) -> Image.Image:
    """The image of a file, see `decode_image`. Raises DataError: no such file, or no image."""
    try:
        content = Path(file).expanduser().read_bytes()
    except OSError as error:
        raise DataError(f"the image {file} cannot be read: {(error.strerror or str(error)).lower()}.") from error
    return decode_image(content, str(file), channels)


def decode_image(content: bytes, where: str, channels: int = 3) -> Image.Image:
    """The first picture in a file's bytes, upright as its EXIF says, on white, with 1 or 3 channels of 8 bits.

    Of numbers of 16 bits the upper 8 are kept; CMYK comes to (255 - ink) (255 - black) / 255, without colour profiles.

    Args:
        where: names the file in messages.

    Raises:
        DataError: no image, a damaged one, one of more pixels than any honest file has (Pillow's limit), or one whose numbers
            have no known range (floating point, whole numbers of 32 bits).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content))
            kind = image.format
            image = ImageOps.exif_transpose(image)
    except DAMAGE as error:
        reason = "not an image that can be read" if isinstance(error, UnidentifiedImageError) else str(error)
        raise DataError(f"the image {where} cannot be decoded: {reason}; restore it, or leave it out.") from error
    if image.mode.startswith("I;16") or (image.mode == "I" and kind in OF_16_BITS):
        image = _upper_bits(image)
    if image.mode in ("I", "F"):
        numbers = "floating-point numbers" if image.mode == "F" else "whole numbers of 32 bits"
        raise DataError(f"the image {where} holds {numbers}, whose range is not known; convert it to 8 or 16 bits.")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode == "LAB":  # Pillow has no way from it to grey
        image = image.convert("RGB")
    return image.convert(MODES[channels])


def _upper_bits(image: Image.Image) -> Image.Image:
    """Grey of 8 bits from grey of 16; a grey that stands for transparency is white."""
    numbers = np.asarray(image)
    grey = (numbers >> 8).astype(np.uint8)
    if isinstance(transparent := image.info.get("transparency"), int):
        grey[numbers == transparent] = 255
    return Image.fromarray(grey)


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
