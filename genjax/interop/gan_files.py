"""What the files of GANs are called in their public code. None of them has a config, so the names tell what they are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from genjax.interop import safetensors_io

Kind = Literal["stylegan2", "dcgan", "image_to_image", "esrgan"]

SUFFIXES = (".safetensors", ".pth")
# pytorch-CycleGAN-and-pix2pix: the names of each network, of which the first is written. What is downloaded of CycleGAN is one
# generator, under pix2pix's name. D_A judges what G_A makes.
PIX2PIX: Mapping[str, Sequence[str]] = MappingProxyType({"generator": ("latest_net_G",), "discriminator": ("latest_net_D",)})
CYCLEGAN: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "generator": ("latest_net_G_A", "latest_net_G"),
        "generator_back": ("latest_net_G_B",),
        "discriminator_target": ("latest_net_D_A",),
        "discriminator_source": ("latest_net_D_B",),
    }
)


def find(folder: Path | str, names: Sequence[str]) -> Path | None:
    """The first of a network's files that there is."""
    paths = (Path(folder) / f"{name}{suffix}" for name in names for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def kind_of(path: Path | str) -> Kind | None:
    """Which public code a folder, or a file of ESRGAN, is of; None: of none of these.

    Raises:
        CheckpointError: a safetensors file that is not complete.
    """
    path = Path(path)
    if path.is_file():
        return "esrgan" if path.suffix == ".pth" or (path.suffix == ".safetensors" and _is_esrgan(path)) else None
    if any((path / name).is_file() for name in ("config.json", "model_index.json", "open_clip_config.json")):
        return None
    if find(path, (*PIX2PIX["generator"], *CYCLEGAN["generator"])):
        return "image_to_image"
    if (path / "generator.safetensors").is_file():
        return "stylegan2"
    if (path / "generator" / "model.safetensors").is_file():
        return "dcgan"
    return "esrgan" if (path / "model.safetensors").is_file() and _is_esrgan(path) else None


def _is_esrgan(path: Path) -> bool:
    return {"conv_first.weight", "model.1.sub.0.RDB1.conv1.0.weight"} & set(safetensors_io.open_folder(path)) != set()
