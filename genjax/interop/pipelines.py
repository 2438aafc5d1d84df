"""Folders of diffusers' pipelines: model_index.json, and a folder for each network and the scheduler."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genjax.interop import folders, schedulers

INDEX = "model_index.json"
UNET = "unet"


def network_folder(folder: Path | str, part: str = UNET) -> Path:
    """Where a network lies: within a pipeline's folder, or the folder itself."""
    path = Path(folder)
    return path / part if (path / INDEX).is_file() else path


def scheduler_json(folder: Path | str) -> tuple[Mapping[str, Any], str]:
    """A pipeline's scheduler_config.json, or that beside a network, with its path; empty where there is none."""
    path = Path(folder)
    for file in (path / "scheduler" / schedulers.FILE, path / schedulers.FILE):
        if file.is_file():
            return folders.read_json(file), str(file)
    return {}, str(path / schedulers.FILE)
