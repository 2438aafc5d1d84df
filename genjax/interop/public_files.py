"""Networks from files of their public torch code that carry no config, and back into such files: convolutional GANs, VGG, VQGAN
and OpenAI's discrete VAE.

A file is a `.pth` of torch.save, whose pickle is read and not run, or safetensors with the same names. It carries no config: what
the shapes of its tensors tell is inferred, the rest has the published value unless the caller says otherwise.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import meta
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Sharding

from genjax.config import choose
from genjax.errors import CheckpointError
from genjax.interop import autoencoder, folders, lazy, names, openai_dvae, safetensors_io, torch_file
from genjax.interop import gan_tables as tables
from genjax.interop.gan_tables import Shapes
from genjax.interop.lazy import LazyArray
from genjax.interop.names import Table
from genjax.interop.place import place
from genjax.interop.rows import variable_shapes
from genjax.models.autoencoder import Autoencoder
from genjax.models.cyclegan import CycleGANGenerator
from genjax.models.dcgan import DCGANDiscriminator, DCGANGenerator
from genjax.models.esrgan import RRDBNet
from genjax.models.openai_dvae import DVAE
from genjax.models.patchgan import PatchGAN
from genjax.models.pix2pix import Pix2PixGenerator
from genjax.models.vgg import VGG

# Where Real-ESRGAN and BasicSR lay the weights in their files; the moving average, which they sample with, comes first.
_WITHIN = ("params_ema", "params", "state_dict")


@dataclass(frozen=True)
class Layout:
    """One network in one set of names.

    Attributes:
        what: for messages.
        network: config -> module.
        inputs: config -> the shape of an input.
        table: config -> names.
        infer: shapes of their tensors -> config.
        written_as: a name of the table -> the name in files that are written.
    """

    what: str
    network: Callable[[Any], nn.Module]
    inputs: Callable[[Any], tuple[int, ...]]
    table: Callable[[Any], Table]
    infer: Callable[[Shapes], Any]
    written_as: Callable[[str], str] = str


LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "dcgan_generator": Layout(
            *("generator of DCGAN", DCGANGenerator, lambda c: (2, c.latent)),
            *(tables.dcgan_generator, tables.dcgan_generator_config),
        ),
        "dcgan_discriminator": Layout(
            *("discriminator of DCGAN", DCGANDiscriminator, lambda c: (1, c.image_size, c.image_size, c.channels)),
            *(tables.dcgan_discriminator, tables.dcgan_discriminator_config),
        ),
        "patchgan": Layout(
            *("PatchGAN", PatchGAN, lambda c: (1, 16 << c.layers, 16 << c.layers, c.channels)),
            *(tables.patch_discriminator, tables.patch_discriminator_config),
        ),
        "pix2pix": Layout(
            *("generator of pix2pix", Pix2PixGenerator, lambda c: (1, 2**c.levels, 2**c.levels, c.in_channels)),
            *(tables.pix2pix, tables.pix2pix_config),
        ),
        "cyclegan": Layout(
            *("generator of CycleGAN", CycleGANGenerator, lambda c: (1, 8 << c.levels, 8 << c.levels, c.in_channels)),
            *(tables.cyclegan, tables.cyclegan_config),
        ),
        "esrgan": Layout("RRDBNet", RRDBNet, lambda c: (1, 4, 4, c.channels), tables.esrgan, tables.esrgan_config),
        "esrgan_2018": Layout(
            *("RRDBNet", RRDBNet, lambda c: (1, 4, 4, c.channels), tables.esrgan, tables.esrgan_config, tables.esrgan_2018_name),
        ),
        "vgg": Layout("VGG", VGG, lambda c: (1, 32, 32, 3), tables.vgg_features, tables.vgg_config),
        "vqgan": Layout(
            *("autoencoder of taming-transformers", Autoencoder, lambda c: (1, c.factor, c.factor, c.channels)),
            *(autoencoder.taming_table, autoencoder.taming_config),
        ),
        "openai_dvae": Layout(
            *("discrete VAE of OpenAI", DVAE, lambda c: (1, c.factor, c.factor, c.channels)),
            *(openai_dvae.table, openai_dvae.infer),
        ),
    }
)


def load(layout: str, path: Path | str, sharding: Sharding | None = None, **settings: Any) -> tuple[Any, dict[str, Any]]:
    """The config and the float32 variables of a file: `LAYOUTS[layout].network(config).apply(variables, ...)`.

    Args:
        layout: a key of `LAYOUTS`. "esrgan" and "esrgan_2018" read each other's names, and those before them.
        path: a `.pth`, `.ckpt` or `.safetensors` file, or a folder with `model.safetensors`; of OpenAI's discrete VAE also one
            with `encoder.safetensors` and `decoder.safetensors`.
        sharding: where every variable goes; None: the default device.
        settings: fields of the config that the tensors cannot tell or that are to be others than inferred: pix2pix's dropout,
            VGG's layers, dtype.

    Raises:
        CheckpointError: no such file, not a file of tensors, or its tensors do not fit (each is listed).
        ConfigError: an unknown layout or setting.
    """
    kind, path = choose("layout", layout, LAYOUTS), Path(path)
    tensors = _open(path)
    config = _config(kind, tensors, path, settings)
    arrays = names.to_ours(_table(kind, config), tensors, shapes_of(layout, config), str(path))
    placed = {name: place(array, sharding, jnp.float32) for name, array in arrays.items()}
    return config, unflatten_dict(placed, sep="/")


def read_config(layout: str, path: Path | str, **settings: Any) -> Any:
    """The config of a file, whose variables are not read. Arguments and errors as for `load`."""
    return _config(choose("layout", layout, LAYOUTS), _open(Path(path)), Path(path), settings)


def is_pix2pix(path: Path | str) -> bool:
    """Whether a file's generator is the U-Net of pix2pix, not the ResNet of CycleGAN. Errors as for `is_vgg`."""
    return any(key.removeprefix("module.").startswith("model.model.") for key in _open(Path(path)))


def is_vgg(path: Path | str) -> bool:
    """Whether a file holds the features of a VGG. Raises CheckpointError: no such file, or not one of tensors."""
    return any(key.startswith("features.") for key in _open(Path(path)))


def first_stage_in(path: Path | str) -> str | None:
    """Which layout of autoencoders a file or folder has, "vqgan" or "openai_dvae"; None: neither, or nothing that can be read."""
    path = Path(path)
    files = (path / "model.safetensors", path / "encoder.safetensors") if path.is_dir() else (path,)
    if not any(file.is_file() for file in files) or (path.is_dir() and (path / "config.json").exists()):
        return None
    keys = {key.removeprefix("first_stage_model.") for key in _open(path)}
    if "encoder.down.0.block.0.conv1.weight" in keys:
        return "vqgan"
    return "openai_dvae" if "encoder.blocks.input.w" in keys else None


def save(layout: str, config: Any, variables: Mapping[str, Any], folder: Path | str, overwrite: bool = False) -> None:
    """Writes `model.safetensors`, whose names are the public code's, into a folder; see `save_several`."""
    save_several(folder, {"model": (layout, config, variables)}, overwrite)


def save_several(folder: Path | str, networks: Mapping[str, tuple[str, Any, Mapping[str, Any]]], overwrite: bool = False) -> None:
    """Writes a file `NAME.safetensors` for each network: name -> layout, config and variables.

    Batch norms' counters of batches are not written, for there are none here; torch sets them when it loads.

    Raises:
        CheckpointError: the folder holds files and `overwrite` is False, variables do not fit the config (each is listed), or a
            network has classes, for which the public code has no names.
    """
    tensors = {name: _tensors(*network) for name, network in networks.items()}
    stale = tuple(pattern for name in tensors for pattern in safetensors_io.weight_files(name))
    with folders.staged(folder, overwrite, stale) as staging:
        for name, values in tensors.items():
            safetensors_io.write_files(staging, values, stem=name)


@functools.cache
def shapes_of(layout: str, config: Any) -> Mapping[str, tuple[int, ...]]:
    """Path -> shape of every variable of a network; nothing is computed."""
    kind = choose("layout", layout, LAYOUTS)
    return variable_shapes(kind.network(config), jax.ShapeDtypeStruct(kind.inputs(config), "float32"))


def _config(kind: Layout, tensors: Mapping[str, LazyArray], path: Path, settings: Mapping[str, Any]) -> Any:
    config = kind.infer(_shapes(kind, tensors, path))
    fields = {field.name: field for field in dataclasses.fields(config)}
    for name in settings:
        choose(f"setting of a {kind.what}:", name, fields)
    return dataclasses.replace(config, **settings)


def _tensors(layout: str, config: Any, variables: Mapping[str, Any]) -> dict[str, LazyArray]:
    """Under the public names."""
    kind = choose("layout", layout, LAYOUTS)
    if getattr(config, "num_classes", 0):
        raise CheckpointError(
            f"the public {kind.what} knows no classes, and this one has {config.num_classes}; there are no names."
        )
    flat = flatten_dict(meta.unbox(dict(variables)), sep="/")
    arrays = {path: lazy.of_array(array) for path, array in flat.items()}
    tensors = names.to_theirs(_table(kind, config), arrays, shapes_of(layout, config))
    return {kind.written_as(key): value for key, value in tensors.items()}


def _table(kind: Layout, config: Any) -> Table:
    table = kind.table(config)
    return dataclasses.replace(table, renames=(*tables.COMMON_RENAMES, *table.renames))


def _open(path: Path) -> dict[str, LazyArray]:
    halves = {half: path / f"{half}.safetensors" for half in ("encoder", "decoder")}
    if all(file.is_file() for file in halves.values()):  # of OpenAI's discrete VAE
        found = {half: safetensors_io.open_folder(file) for half, file in halves.items()}
        return {f"{half}.{key}": tensor for half, tensors in found.items() for key, tensor in tensors.items()}
    if path.suffix == ".safetensors" or path.is_dir():
        return safetensors_io.open_folder(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error
    return {key: lazy.of_array(array) for key, array in torch_file.read_tensors(content, str(path), _WITHIN).items()}


def _shapes(kind: Layout, tensors: Mapping[str, LazyArray], path: Path) -> Shapes:
    shapes = {}
    renames = (*tables.COMMON_RENAMES, *(tables.ESRGAN_RENAMES if kind.table is tables.esrgan else ()))
    for key, tensor in tensors.items():
        for pattern, replacement in renames:
            key = re.sub(pattern, replacement, key)
        shapes[key] = tensor.shape
    return Shapes(shapes, kind.what, str(path))
