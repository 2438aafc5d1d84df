"""What a person may ask of a generator that reads styles: what goes together, which layers, and the files that hold styles."""

import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from genjax.errors import RequestError
from genjax.tasks.gan_players import StylePlayers

if TYPE_CHECKING:
    from genjax.tasks.gan_requests import GANRequest

STYLES, NOISE = "styles", "noise/"  # entries of a file: one array, and arrays by the path of an image of noise

# What says nothing without another option.
NEEDED: Mapping[str, str] = {
    **dict.fromkeys(("image", "project_steps", "distance", "vgg", "beside"), "project"),
    **dict.fromkeys(("strength", "sweep", "direction_layers"), "direction"),
    "mix_layers": "mix",
}
# What stands alone, why, and beside which options it cannot.
_FREE = ("num_samples", "label", "interpolate", "truncation", "truncation_cutoff", "mix")
ALONE: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "project": ("finds the styles of an image", (*_FREE, "styles", "direction")),
    "styles": ("takes all styles of a file as they are", _FREE),
    "sweep": ("makes a table of its own", ("interpolate", "mix")),
}
COMMON = ("num_samples", "label", "interpolate")  # of requests to any generator
DAMAGE = (  # what NumPy raises for a file that is not what it should be
    *(ValueError, TypeError, AttributeError, KeyError, EOFError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)


def check(r: "GANRequest", players: StylePlayers) -> None:
    """Raises RequestError: options that do not go together, or out of range."""
    asked = asked_for(r)
    for name in asked:
        if name in NEEDED and NEEDED[name] not in asked:
            raise RequestError(f"--{name} says more about --{NEEDED[name]}; give --{NEEDED[name]} too, or leave --{name} out.")
    for name, (why, others) in ALONE.items():
        if name in asked and (found := [other for other in others if other in asked]):
            raise RequestError(f"--{name} {why}, so that --{found[0]} does not go with it; leave one of them out.")
    if r.truncation_cutoff < 0:
        raise RequestError(f"--truncation_cutoff={r.truncation_cutoff}: it must be 0 (all layers) or more.")
    if r.direction is not None:
        if not 0 <= r.direction < players.config.style_width:
            last = players.config.style_width - 1
            raise RequestError(f"--direction={r.direction}: this generator's styles have directions from 0 to {last}.")
        if r.sweep and r.sweep < 2:
            raise RequestError(f"--sweep={r.sweep}: it goes from one side to the other in 2 steps or more.")
        shifted_layers(r, players)


def asked_for(r: "GANRequest") -> tuple[str, ...]:
    """The options that are not as they are by default."""
    plain = type(r)()
    return tuple(name for name, value in vars(r).items() if value != getattr(plain, name))


def layers(option: str, written: str, players: StylePlayers) -> tuple[int, int]:
    """The first and the last of the layers that are written as FIRST-LAST. Raises RequestError: there are no such."""
    count = players.config.num_styles
    found = re.fullmatch(r"(\d+)-(\d+)", written)
    if not found or not 0 <= int(found[1]) <= int(found[2]) < count:
        raise RequestError(f"--{option}={written}: write FIRST-LAST, both from 0 to {count - 1} for this generator.")
    return int(found[1]), int(found[2])


def shifted_layers(r: "GANRequest", players: StylePlayers) -> tuple[int, int]:
    """Those that read shifted styles."""
    return layers("direction_layers", r.direction_layers or f"0-{players.config.num_styles - 1}", players)


def strengths(r: "GANRequest") -> Float[np.ndarray, " columns"]:
    """Of a request with a direction: its own, or from one side to the other."""
    return np.linspace(-r.strength, r.strength, r.sweep) if r.sweep else np.array([r.strength])


@dataclass(frozen=True, eq=False)
class Held:
    """What a file holds.

    Attributes:
        noise: for each image, or for none where the file has no noise; by the paths that `StylePlayers.synthesize` knows.
    """

    styles: Float[np.ndarray, "images layers width"]
    noise: Mapping[str, Float[np.ndarray, "images height width"]]


def read_styles(file: str, players: StylePlayers) -> Held:
    """The styles of an .npz file, as a projection leaves it beside its picture.

    Raises:
        RequestError: no such file, or one that holds no styles of this generator.
    """
    path = Path(file).expanduser()
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except OSError as error:
        raise RequestError(f"--styles={file} cannot be read: {(error.strerror or str(error)).lower()}.") from error
    except DAMAGE as error:
        raise RequestError(f"--styles={file} is no .npz file of arrays ({error}); --project writes such.") from error
    c, styles = players.config, found.get(STYLES)
    if styles is None or styles.ndim != 3 or not len(styles) or styles.shape[1:] != (c.num_styles, c.style_width):
        shape = "none" if styles is None else "x".join(map(str, styles.shape))
        raise RequestError(
            f"--styles={file}: its array {STYLES!r} must have a row for each image, of {c.num_styles} layers and {c.style_width} "
            f"numbers for this generator; it is {shape}."
        )
    noise = {name.removeprefix(NOISE): image for name, image in found.items() if name.startswith(NOISE)}
    expected = {path: (len(styles), *shape) for path, shape in players.noise_shapes.items()} if noise else {}
    if {path: image.shape for path, image in noise.items()} != expected:
        raise RequestError(f"--styles={file}: its images of noise are not those of this generator; take them out of the file.")
    if not all(np.issubdtype(array.dtype, np.floating) and np.isfinite(array).all() for array in (styles, *noise.values())):
        raise RequestError(f"--styles={file} holds something else than finite floating-point numbers.")
    return Held(styles.astype(np.float32), {path: image.astype(np.float32) for path, image in noise.items()})


def to_file(styles: Float[np.ndarray, "layers width"], noise: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What `read_styles` finds again, of one image."""
    return {STYLES: styles} | {f"{NOISE}{path}": image for path, image in noise.items()}
