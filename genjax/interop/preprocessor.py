"""How a published model wants its images: preprocessor_config.json of transformers, both ways."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from genjax.errors import ConfigError
from genjax.interop import folders
from genjax.interop.settings import Settings

FILE = "preprocessor_config.json"
Resample = Literal["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]
RESAMPLES: tuple[Resample, ...] = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # by Pillow's numbers
HALF = (0.5, 0.5, 0.5)
# Of OpenAI's training images, as shares of the range; those of published CLIP models.
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Preprocessor:
    """From an image of any size to what a model reads.

    Attributes:
        height, width: of the result, in pixels.
        fit: "stretch" both sides to them, or scale until the shorter side is `shortest` and "crop" the middle.
        shortest: see `fit`; 0: the larger of height and width.
        resample: Pillow's filter.
        mean, std: of each channel as shares of the range, (x / 255 - mean) / std; one number for each channel, or one for all.
    """

    height: int
    width: int
    fit: Literal["crop", "stretch"] = "crop"
    shortest: int = 0
    resample: Resample = "bicubic"
    mean: tuple[float, ...] = HALF
    std: tuple[float, ...] = HALF

    def __post_init__(self):
        if min(self.height, self.width) < 1:
            raise ConfigError(f"images of {self.height}x{self.width} pixels are none; use positive sizes.")
        if self.fit == "crop" and self.shortest and self.shortest < max(self.height, self.width):
            raise ConfigError(
                f"images whose shorter side is scaled to {self.shortest} pixels cannot be cropped to {self.height}x{self.width}."
            )
        if not self.std or min(self.std) <= 0 or len(self.mean) != len(self.std):
            raise ConfigError(f"images cannot be normalized by mean {self.mean} and std {self.std}; give as many of both.")


def read_preprocessor(folder: Path | str, default: Preprocessor) -> Preprocessor:
    """What a folder's file says; `default`, where there is none, or for what it leaves out.

    Raises:
        CheckpointError: a file that cannot be read, or that asks for what genjax does not do.
    """
    path = Path(folder) / FILE
    return from_json(folders.read_json(path), str(path), default) if path.exists() else default


def from_json(values: Mapping[str, Any], where: str, default: Preprocessor) -> Preprocessor:
    """Sizes are a number, {"height", "width"} or {"shortest_edge"}. Raises CheckpointError: names every unsupported setting."""
    s = Settings(values, where)
    factor = s.number("rescale_factor", 1 / 255)
    if abs(factor - 1 / 255) > 1e-6 or not s.boolean("do_rescale", True):
        s.problem(f"rescale_factor is {factor}, supported: 1/255")
    if not s.boolean("do_resize", True):
        s.problem("do_resize is false, but images must come to one size")
    size, crop = values.get("size"), values.get("crop_size")
    # Old files have one number: the shorter side where a crop follows, else both.
    crops = s.boolean("do_center_crop", crop is not None)
    edge = size.get("shortest_edge") if isinstance(size, Mapping) else size if crops else None
    if edge is not None:
        height, width = _pair(s, "crop_size", crop if crops and crop is not None else edge, default)
        fit, shortest = "crop", edge if isinstance(edge, int) and edge != max(height, width) else 0
    else:
        height, width = _pair(s, "size", size, default)
        fit, shortest = "stretch", 0
        if crops:
            s.problem("do_center_crop is true and size is no shortest_edge")
    number = s.integer("resample", 1) if values.get("resample") not in (None, 0) else values.get("resample")
    resample = default.resample if number is None else RESAMPLES[number] if number < len(RESAMPLES) else None
    if resample is None:
        s.problem(f"resample is {number}; supported: 0 to {len(RESAMPLES) - 1}")
    normalizes = s.boolean("do_normalize", True)
    mean, std = (
        tuple(float(x) for x in values.get(key) or given)
        for key, given in (("image_mean", default.mean), ("image_std", default.std))
    )
    s.check()
    if not normalizes:
        mean, std = (0.0,), (1.0,)
    return Preprocessor(height, width, fit, shortest, resample, mean, std)


def to_json(preprocessor: Preprocessor, kind: str) -> dict[str, Any]:
    """The content of the file; `kind` is the class of transformers that reads it, such as "CLIPImageProcessor"."""
    p = preprocessor
    size = {"height": p.height, "width": p.width}
    crop = p.fit == "crop"
    values = {"size": {"shortest_edge": p.shortest or max(p.height, p.width)} if crop else size}
    if crop:
        values |= {"do_center_crop": True, "crop_size": size}
    return values | {
        "image_processor_type": kind,
        "do_resize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "resample": RESAMPLES.index(p.resample),
        "image_mean": list(p.mean),
        "image_std": list(p.std),
    }


def _pair(s: Settings, key: str, value: Any, default: Preprocessor) -> tuple[int, int]:
    if value is None:
        return default.height, default.width
    pair = (value.get("height"), value.get("width")) if isinstance(value, Mapping) else (value, value)
    if not all(isinstance(n, int) and n > 0 for n in pair):
        s.problem(f"{key} is {value!r}, expected a number of pixels, or height and width")
        return default.height, default.width
    return pair
