"""Autoencoders that others have published: folders of diffusers, and files of the public code that carry no config."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from genjax.errors import CheckpointError, ConfigError
from genjax.interop import autoencoder as names
from genjax.interop import folders, huggingface, public_files
from genjax.models.autoencoder_config import AutoencoderConfig
from genjax.models.openai_dvae import DVAEConfig
from genjax.tasks.autoencoder_networks import COMPONENT, NetworkConfig
from genjax.tasks.contract import Variables
from genjax.tasks.gan_weights import in_float32, placed

UNTOLD_SIZE = 256  # of images, where a file does not say


def read(folder: Path, dtype: str) -> tuple[NetworkConfig, int]:
    """The config of what was published, and the height and width of images that are shown to it.

    Raises:
        CheckpointError: none of the layouts that `load` reads.
    """
    layout = public_files.first_stage_in(folder)
    if layout:
        return replace(public_files.read_config(layout, folder), dtype=dtype), UNTOLD_SIZE
    _, config = huggingface.read_config(folder)
    size = folders.read_json(folder / huggingface.CONFIG).get("sample_size") or UNTOLD_SIZE
    return replace(config, dtype=dtype), max(size) if isinstance(size, list | tuple) else size


def load(config: NetworkConfig, folder: str, shardings: Variables | None) -> Variables:
    """The variables of a folder of diffusers, or of a file of taming-transformers, latent diffusion or OpenAI's discrete VAE.

    Raises:
        CheckpointError: none of these, or an autoencoder of another shape than the config says.
    """
    if isinstance(config, AutoencoderConfig) and Path(folder, huggingface.CONFIG).is_file():
        place = None if shardings is None else shardings[COMPONENT]["params"]
        return {COMPONENT: {"params": huggingface.load(folder, place, config=config)}}
    layout = "openai_dvae" if isinstance(config, DVAEConfig) else "vqgan"
    settings = {} if isinstance(config, DVAEConfig) else {"groups": config.groups}
    found, variables = public_files.load(layout, folder, **settings)
    if replace(found, dtype=config.dtype) != config:
        raise CheckpointError(f"{folder} holds {found}; config.task.model describes {config}.")
    return placed({COMPONENT: variables}, shardings)


def save(config: NetworkConfig, folder: str, variables: Variables, image_size: int, **settings: Any) -> None:
    """Writes a folder that diffusers reads; of OpenAI's discrete VAE, a file in the names of its code.

    Raises:
        ConfigError: an autoencoder of two levels, which nobody has published.
    """
    if isinstance(config, DVAEConfig):
        public_files.save("openai_dvae", config, variables[COMPONENT], folder, **in_float32(settings))
        return
    if not isinstance(config, AutoencoderConfig):
        raise ConfigError("there is no published layout of autoencoders of two levels to export to.")
    config, found = names.with_learned_codebook(config, variables[COMPONENT])
    huggingface.save(folder, found["params"], config, values={"sample_size": image_size}, **settings)
