"""Images changed a little each epoch: by the numbers drawn for their rows alone, a whole batch at once."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from genjax.data.draws import uniforms
from genjax.errors import ConfigError

STREAM = 0x696D67
DRAWS = 11  # numbers that a row uses
GREY = 128  # of what is erased: 0 to a model that reads [-1, 1]


@dataclass(frozen=True)
class AugmentationConfig:
    """The config section `data.augmentation`. Held-out images stay as they are. The default changes nothing."""

    flip: bool = False  # left and right, of every second image
    flip_vertical: bool = False  # top and bottom, of every second image
    pad: int = 0  # crops of an image that has been padded by so many pixels of its edge on every side
    zoom: float = 0.0  # scaled by a factor between 1 - zoom and 1 + zoom, about the middle, nearest pixel
    color: float = 0.0  # contrast times 1 +- color and brightness +- color of the whole range, each drawn evenly
    erase: float = 0.0  # the share of images that lose a rectangle (Zhong et al., 2020, with grey)
    erase_area: tuple[float, float] = (0.02, 0.25)  # of that rectangle, as a share of the image; its sides 1:2 to 2:1

    def __post_init__(self):
        if self.pad < 0:
            raise ConfigError(f"data.augmentation.pad is {self.pad}; it must be 0 or more pixels.")
        for name in ("zoom", "color", "erase"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"data.augmentation.{name} is {getattr(self, name)}; it must be between 0 and 1.")
        if self.zoom == 1:
            raise ConfigError("data.augmentation.zoom is 1, which would shrink an image to nothing; use less.")
        smallest, largest = self.erase_area
        if not 0 < smallest <= largest <= 0.5:
            raise ConfigError(
                f"data.augmentation.erase_area is {self.erase_area}; it must be two shares of the image, the smaller one first, "
                "above 0 and at most 0.5."
            )


Images = UInt8[np.ndarray, "batch height width channels"]


def augment(
    images: Images,
    config: AugmentationConfig,
    seed: int,
    epochs: Int[np.ndarray, " batch"],
    rows: Int[np.ndarray, " batch"],
    stream: int = STREAM,
) -> Images:
    """The images as row `rows[j]` of epoch `epochs[j]` sees them: a pure function.

    `stream` sets the numbers of a second image of a row apart.
    """
    if config == AugmentationConfig():
        return images
    draws = uniforms(seed, stream, epochs, rows, DRAWS)
    if config.flip or config.flip_vertical or config.pad or config.zoom:
        images = _moved(images, config, draws[:, [0, 1, 2, 3, 10]])
    if config.color:
        images = _recolored(images, config.color, draws[:, 4:6])
    return _erased(images, config, draws) if config.erase else images


def _moved(images: Images, config: AugmentationConfig, draws: Float[np.ndarray, "batch 5"]) -> Images:
    """Each pixel is fetched from where it comes from; what lies outside is the nearest pixel of the edge."""
    batch, height, width, _ = images.shape
    scale = 1 / (1 + config.zoom * (2 * draws[:, 2] - 1))
    flipped = config.flip & (draws[:, 3] < 0.5)
    turned = config.flip_vertical & (draws[:, 4] < 0.5)

    def source(size: int, draw: Float[np.ndarray, " batch"], mirrored) -> Int[np.ndarray, "batch size"]:
        shift = np.minimum(np.floor(draw * (2 * config.pad + 1)), 2 * config.pad) - config.pad
        middle = (size - 1) / 2
        places = np.rint((np.arange(size) - middle) * scale[:, None] + middle + shift[:, None])
        places = np.clip(places, 0, size - 1).astype(np.int64)
        return np.where(mirrored[:, None], places[:, ::-1], places)

    down = source(height, draws[:, 0], turned)
    across = source(width, draws[:, 1], flipped)
    return images[np.arange(batch)[:, None, None], down[:, :, None], across[:, None, :]]


def _recolored(images: Images, color: float, draws: Float[np.ndarray, "batch 2"]) -> Images:
    contrast, brightness = (color * (2 * draws - 1)).astype(np.float32).T
    contrast, brightness = (1 + contrast)[:, None, None, None], 255 * brightness[:, None, None, None]
    return np.clip((images.astype(np.float32) - 127.5) * contrast + 127.5 + brightness, 0, 255).astype(np.uint8)


def _erased(images: Images, config: AugmentationConfig, draws: Float[np.ndarray, "batch 11"]) -> Images:
    _, height, width, _ = images.shape
    smallest, largest = config.erase_area
    chosen = draws[:, 6] < config.erase
    # One number says whether and, where it does, how large: below `erase` it is even again.
    area = (smallest + (largest - smallest) * draws[:, 6] / config.erase) * height * width
    ratio = 2.0 ** (2 * draws[:, 9] - 1)
    tall = np.clip(np.rint(np.sqrt(area * ratio)), 1, height)
    wide = np.clip(np.rint(np.sqrt(area / ratio)), 1, width)
    top, left = np.floor(draws[:, 7] * (height - tall + 1)), np.floor(draws[:, 8] * (width - wide + 1))
    y, x = np.arange(height), np.arange(width)
    rows = (y >= top[:, None]) & (y < (top + tall)[:, None]) & chosen[:, None]
    columns = (x >= left[:, None]) & (x < (left + wide)[:, None])
    return np.where((rows[:, :, None] & columns[:, None, :])[..., None], np.uint8(GREY), images)
