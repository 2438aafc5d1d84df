"""Networks of pix2pix and CycleGAN in the files of their public code (pytorch-CycleGAN-and-pix2pix); both ways."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genjax.errors import CheckpointError
from genjax.interop import gan_files, public_files
from genjax.tasks.gan_players import MOVING
from genjax.tasks.gan_weights import load_network

if TYPE_CHECKING:
    from genjax.tasks.image_to_image import ImageToImage

GENERATORS = {"unet": "pix2pix", "resnet": "cyclegan"}  # config.task.network -> layout


def load(task: "ImageToImage", folder: Path | str) -> dict[str, Any]:
    """The variables of the networks that a folder holds: `latest_net_G` and `latest_net_D` of pix2pix; `latest_net_G_A`, `_G_B`,
    `_D_A` and `_D_B` of CycleGAN, where a generator alone may be called `latest_net_G`. Each is a .safetensors or a .pth file.

    Raises:
        CheckpointError: none is there, or a network of another shape.
    """
    found, names = {}, _names(task)
    for component, (section, layout, config) in _networks(task).items():
        if path := gan_files.find(folder, names[component]):
            found[component] = load_network(layout, path, config, f"config.task.{section}")
    if not found:
        files = ", ".join(files[0] for files in names.values())
        raise CheckpointError(f"{folder} holds none of {files}, as .safetensors or .pth.")
    return found


def save(task: "ImageToImage", folder: Path | str, variables: Mapping[str, Any], overwrite: bool = False) -> None:
    """Writes all networks as .safetensors; see `load`. Raises CheckpointError: a folder that refuses."""
    networks, kept = {}, ("params", *MOVING)
    for component, (_, layout, config) in _networks(task).items():
        own = {name: values for name, values in variables[component].items() if name in kept}
        networks[_names(task)[component][0]] = (layout, config, own)
    public_files.save_several(folder, networks, overwrite)


def _names(task: "ImageToImage") -> Mapping[str, Sequence[str]]:
    return gan_files.PIX2PIX if task.config.method == "pix2pix" else gan_files.CYCLEGAN


def _networks(task: "ImageToImage") -> dict[str, tuple[str, str, Any]]:
    """Component -> section of config.task, layout and config."""
    makers = {way[0]: ("generator", GENERATORS[task.config.network], task.translator.config) for way in task.ways}
    return makers | {way[1]: ("discriminator", "patchgan", task.judge.config) for way in task.ways}
