"""The players of a GAN in the layouts of public code: StyleGAN2's, and a plain DCGAN's; both ways."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from genjax.config import differences
from genjax.errors import CheckpointError, ConfigError
from genjax.interop import public_files, stylegan2
from genjax.models.dcgan import DCGANConfig
from genjax.models.style_config import StyleGAN2Config
from genjax.tasks.gan_players import DISCRIMINATOR, GENERATOR, Players

PARTS = (GENERATOR, DISCRIMINATOR)
UNTOLD = ("dtype", "dropout", "test_statistics", "test_dropout")  # fields that change no shape


def load(players: Players, folder: Path | str) -> dict[str, Any]:
    """The variables of those players that a folder holds: `generator.safetensors` and `discriminator.safetensors` of StyleGAN2,
    or folders of these names with `model.safetensors` of DCGAN.

    Raises:
        CheckpointError: neither is there, or a network of another shape.
        ConfigError: players whose layout no public code has.
    """
    folder, c = Path(folder), players.config
    if not isinstance(c, StyleGAN2Config | DCGANConfig):
        raise ConfigError(f"train.init_from: there is no public layout of {type(c).__name__}; leave it out.")
    styles, found = isinstance(c, StyleGAN2Config), {}
    for part in PARTS:
        path = folder / (f"{part}.safetensors" if styles else f"{part}/model.safetensors")
        if not path.is_file():
            continue
        if not styles:
            found[part] = load_network(f"dcgan_{part}", path, c, "config.task.model")
            continue
        config, found[part] = stylegan2.load(path, part, c)
        if stylegan2.shapes(config, part) != stylegan2.shapes(c, part):
            raise _another_shape(path, c, config, "config.task.model")
    if not found:
        raise CheckpointError(f"{folder} holds no {' and no '.join(PARTS)} in the layout that these players have.")
    return found


def load_network(layout: str, path: Path | str, config: Any, section: str) -> dict[str, Any]:
    """The variables of one network in a layout of `public_files`, which must be of the shape that `config` describes.

    Args:
        section: where the config stands, for messages.

    Raises:
        CheckpointError: see `public_files.load`; or a network of another shape, with what differs.
    """
    found, variables = public_files.load(layout, path)
    if public_files.shapes_of(layout, found) != public_files.shapes_of(layout, config):
        raise _another_shape(path, config, found, section)
    return variables


def _another_shape(path: Path | str, wanted: Any, found: Any, section: str) -> CheckpointError:
    known = {name: getattr(wanted, name) for name in UNTOLD if hasattr(wanted, name)}
    changed = ", ".join(differences(wanted, replace(found, **known), section))
    return CheckpointError(f"{path} holds a network of another shape: {changed} (as far as the file tells).")


def placed(found: Mapping[str, Any], shardings: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Components, or some collections of them, where a run wants them; None: where they are."""
    if shardings is None:
        return found
    return {
        name: {part: jax.device_put(values, shardings[name][part]) for part, values in collections.items()}
        for name, collections in found.items()
    }


def save(players: Players, folder: Path | str, variables: Mapping[str, Any], overwrite: bool = False) -> None:
    """Writes both players; see `load`. Raises CheckpointError or ConfigError: no such layout, or a folder that refuses."""
    c = players.config
    if isinstance(c, StyleGAN2Config):
        stylegan2.save(folder, c, variables[GENERATOR], variables[DISCRIMINATOR], overwrite)
    elif isinstance(c, DCGANConfig):
        for part in PARTS:
            public_files.save(f"dcgan_{part}", c, variables[part], Path(folder) / part, overwrite)
    else:
        raise ConfigError(f"there is no public layout of {type(c).__name__} to export to.")


def in_float32(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of an export without the dtype. Raises ConfigError: another one."""
    if settings.get("dtype") not in (None, "float32"):
        raise ConfigError("GANs are written in float32; leave dtype out.")
    return {name: value for name, value in settings.items() if name != "dtype"}
