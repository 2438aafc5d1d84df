"""The players of a GAN in the layouts of public code: StyleGAN2's, and a plain DCGAN's; both ways."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from genjax.config import differences
from genjax.errors import CheckpointError, ConfigError
from genjax.interop import gans, stylegan2
from genjax.models.dcgan import DCGANConfig
from genjax.models.style_config import StyleGAN2Config
from genjax.tasks.gan_players import DISCRIMINATOR, GENERATOR, Players

PARTS = (GENERATOR, DISCRIMINATOR)


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
        if styles:
            config, variables = stylegan2.load(path, part, c)
            same = stylegan2.shapes(config, part) == stylegan2.shapes(c, part)
        else:
            layout = f"dcgan_{part}"
            config, variables = gans.load(layout, path)
            same = gans.shapes_of(layout, config) == gans.shapes_of(layout, c)
        if not same:
            changed = ", ".join(differences(c, config, "config.task.model"))
            raise CheckpointError(f"{path} is a {part} of another shape: {changed} (as far as the file tells).")
        found[part] = variables
    if not found:
        raise CheckpointError(f"{folder} holds no {' and no '.join(PARTS)} in the layout that these players have.")
    return found


def placed(found: Mapping[str, Any], shardings: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Components where a run wants them; None: where they are."""
    return found if shardings is None else {name: jax.device_put(found[name], shardings[name]) for name in found}


def save(players: Players, folder: Path | str, variables: Mapping[str, Any], overwrite: bool = False) -> None:
    """Writes both players; see `load`. Raises CheckpointError or ConfigError: no such layout, or a folder that refuses."""
    c = players.config
    if isinstance(c, StyleGAN2Config):
        stylegan2.save(folder, c, variables[GENERATOR], variables[DISCRIMINATOR], overwrite)
    elif isinstance(c, DCGANConfig):
        for part in PARTS:
            gans.save(f"dcgan_{part}", c, variables[part], Path(folder) / part, overwrite)
    else:
        raise ConfigError(f"there is no public layout of {type(c).__name__} to export to.")
