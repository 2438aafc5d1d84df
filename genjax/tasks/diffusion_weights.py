"""Diffusion models in the layout of diffusers, with the scheduler that says how they are sampled; both ways."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from genjax.data.images import ImagesInfo
from genjax.diffusion.process import Process
from genjax.errors import CheckpointError
from genjax.interop import folders, huggingface, pipelines, schedulers
from genjax.tasks.diffusion import Diffusion, DiffusionConfig
from genjax.tasks.diffusion_requests import SamplingConfig
from genjax.tasks.labels import Labels
from genjax.tasks.media import medium_of


def from_weights(folder: Path, tokenizer: Any, dtype: str = "float32") -> Diffusion:
    """The task for a folder of diffusers: a pipeline with a UNet2DModel, or the network's own with scheduler_config.json beside.

    Raises:
        CheckpointError: settings that genjax does not have, or a network of another shape than the process asks for.
    """
    path = pipelines.network_folder(folder)
    _, network = huggingface.read_config(path)
    height, width = _sample_size(folders.read_json(path / "config.json"))
    process, sampling = schedulers.from_json(*pipelines.scheduler_json(folder))
    channels = network.out_channels // (1 + process.learned_variance)
    if network.in_channels != channels:
        raise CheckpointError(
            f"{path} maps {network.in_channels} channels to {network.out_channels}, but its scheduler's variance is "
            f"'{process.variance}'; the two do not go together."
        )
    info = ImagesInfo(1, height, width, channels, tuple(map(str, range(network.num_classes))))
    config = DiffusionConfig({}, process=process, label_dropout=0.0, sampling=SamplingConfig(**sampling))
    labels = Labels(info.attributes, network.null_class)
    return Diffusion(replace(network, dtype=dtype), Process(process), medium_of(info), labels, config, info)


def _sample_size(values: Mapping[str, Any]) -> tuple[int, int]:
    size = values.get("sample_size") or 32
    return tuple(size) if isinstance(size, list) else (size, size)
