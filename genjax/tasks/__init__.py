"""Objectives: networks, algorithm and loss behind the Task contract.

The table below is all that the loops know of families: a task's name and the module whose `build(section, info)` makes it.
"""

import importlib
from collections.abc import Mapping
from typing import Any

from genjax.config import choose
from genjax.errors import ConfigError
from genjax.tasks.contract import Task

TASKS = {"language_model": "genjax.tasks.language_model"}


def build(section: Mapping[str, Any], info: Any) -> Task:
    """The task that `config.task` describes.

    Args:
        section: `config.task`; its `name` chooses the module.
        info: what the data room knows of its rows (`data.DataInfo`).

    Raises:
        ConfigError: unknown name, or whatever the task's own section cannot be.
    """
    if "name" not in section:
        raise ConfigError(f"config.task.name is missing; choose one of {', '.join(sorted(TASKS))}.")
    return importlib.import_module(choose("config.task.name", section["name"], TASKS)).build(section, info)
