"""Tasks that sample from GANs in the files of their public code, whose tensors alone tell the config."""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from genjax.data.image_pairs import ImagePairsInfo
from genjax.data.images import ImagesInfo
from genjax.errors import CheckpointError
from genjax.interop import gan_files, public_files, safetensors_io, stylegan2
from genjax.models import patchgan
from genjax.models.patchgan import PatchGANConfig
from genjax.tasks import gan, image_to_image, super_resolution
from genjax.tasks.contract import Task
from genjax.tasks.gan_players import DISCRIMINATOR, GENERATOR

PUBLISHED_SIDE = 256  # pixels of the images that a ResNet of CycleGAN, which takes any, was made for


def from_weights(folder: Path, tokenizer: Any, dtype: str = "float32") -> Task:
    """The task for a folder, or a file of ESRGAN; see `gan_files.kind_of`.

    Raises:
        CheckpointError: tensors that do not tell what they are of.
    """
    kinds = {"stylegan2": _stylegan2, "dcgan": _dcgan, "image_to_image": _image_to_image, "esrgan": _esrgan}
    return kinds[gan_files.kind_of(folder)](Path(folder), dtype)


def _stylegan2(folder: Path, dtype: str) -> Task:
    config = None
    for part in (DISCRIMINATOR, GENERATOR):  # what both tell is the generator's
        if (path := folder / f"{part}.safetensors").is_file():
            config = stylegan2.infer_config(safetensors_io.open_folder(path), part, str(path), config)
    return _gan("stylegan2", config, dtype)


def _dcgan(folder: Path, dtype: str) -> Task:
    config = public_files.read_config("dcgan_generator", folder / GENERATOR)
    if (path := folder / DISCRIMINATOR).is_dir():
        judge = public_files.read_config("dcgan_discriminator", path)
        told = {"discriminator_width": judge.discriminator_width, "discriminator_norm": judge.discriminator_norm}
        config = replace(config, **told)
    return _gan("dcgan", config, dtype)


def _gan(network: str, config: Any, dtype: str) -> Task:
    size, classes = config.image_size, tuple(map(str, range(config.num_classes)))
    section = {"network": network, "conditional": bool(classes)}
    section["model"] = _section(config, dtype, "image_size", "channels", "num_classes")
    return gan.build(section, ImagesInfo(1, size, size, config.channels, classes))


def _image_to_image(folder: Path, dtype: str) -> Task:
    both = gan_files.find(folder, gan_files.CYCLEGAN["generator"][:1]) is not None
    names = gan_files.CYCLEGAN if both else gan_files.PIX2PIX
    path = gan_files.find(folder, names["generator"])
    network = "unet" if public_files.is_pix2pix(path) else "resnet"
    config = public_files.read_config("pix2pix" if network == "unet" else "cyclegan", path)
    if config.in_channels != config.out_channels:
        raise CheckpointError(
            f"{path} makes images of {config.out_channels} channels of those of {config.in_channels}; both must have the same."
        )
    file = gan_files.find(folder, names["discriminator_target" if both else "discriminator"])
    judge = public_files.read_config("patchgan", file) if file else PatchGANConfig()
    side = 2**config.levels if network == "unet" else PUBLISHED_SIDE
    while not patchgan.sides(judge, side)[-1]:
        side *= 2
    section = {
        "method": "cyclegan" if both else "pix2pix",
        "network": network,
        "generator": _section(config, dtype, "in_channels", "out_channels"),
        "discriminator": _section(judge, dtype, "channels"),
    }
    return image_to_image.build(section, ImagePairsInfo(1, side, side, config.in_channels, not both, ("source", "target")))


def _esrgan(path: Path, dtype: str) -> Task:
    config = public_files.read_config("esrgan", path)
    section = {"network": "rrdb", "generator": _section(config, dtype, "channels")}
    side = 32 * config.scale
    return super_resolution.build(section, ImagesInfo(1, side, side, config.channels, ()))


def _section(config: Any, dtype: str, *follow: str) -> Mapping[str, Any]:
    """A network's config as a section, without the fields that follow from the data."""
    values = {field.name: getattr(config, field.name) for field in fields(config) if field.name not in follow}
    return values | {"dtype": dtype}
