"""Objectives: networks, algorithm and loss behind the Task contract.

The table below is all that the loops know of families: a task's name and the module whose `build(section, info)` makes it.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import jax

from genjax import data
from genjax.config import choose
from genjax.data.tokenizers.fim import find_sentinels
from genjax.errors import CheckpointError, ConfigError
from genjax.interop import gan_files, huggingface, open_clip, pipelines, public_files
from genjax.parallel import rules as axis_rules
from genjax.tasks.contract import Task

TASKS = {
    "language_model": "genjax.tasks.language_model",
    "code_model": "genjax.tasks.code_model",
    "seq2seq": "genjax.tasks.seq2seq",
    "speech": "genjax.tasks.speech",
    "masked_lm": "genjax.tasks.masked_lm",
    "visual_language": "genjax.tasks.visual_language",
    "classification": "genjax.tasks.classification",
    "contrastive": "genjax.tasks.contrastive",
    "diffusion": "genjax.tasks.diffusion",
    "gan": "genjax.tasks.gan",
    "image_to_image": "genjax.tasks.image_to_image",
    "super_resolution": "genjax.tasks.super_resolution",
    "autoencoder": "genjax.tasks.autoencoder",
    "dalle": "genjax.tasks.dalle",
}


def build(section: Mapping[str, Any], info: Any, adopted: Mapping[str, Task] | None = None) -> Task:
    """The task that `config.task` describes.

    Args:
        section: `config.task`; its `name` chooses the module.
        info: what the data room knows of its rows (`data.DataInfo`).
        adopted: the tasks of the runs that `adopted_runs` names, whose networks this one takes over.

    Raises:
        ConfigError: unknown name, or whatever the task's own section cannot be.
    """
    module = _module(section)
    return module.build(section, info, adopted or {}) if hasattr(module, "ADOPTS") else module.build(section, info)


def adopted_runs(section: Mapping[str, Any]) -> dict[str, str]:
    """Of a task that takes over networks of other runs: which keys of `config.task` name such runs, and what they say.

    A module of such a task lists these keys as `ADOPTS`, and its `build` takes their tasks as a third argument.
    """
    return {name: section[name] for name in getattr(_module(section), "ADOPTS", ()) if section.get(name)}


def _module(section: Mapping[str, Any]) -> ModuleType:
    if "name" not in section:
        raise ConfigError(f"config.task.name is missing; choose one of {', '.join(sorted(TASKS))}.")
    return importlib.import_module(choose("config.task.name", section["name"], TASKS))


OPEN_CLIP = "open_clip"  # a folder in that layout, which has no `model_type`
GAN_FILES = "GAN"  # files that are told by their names, and have no config
FIRST_STAGE = "first stage"  # files that are told by their tensors, and have none

# Weights folders: the `model_type` of their config.json, and the module whose `from_weights(folder, tokenizer, dtype)` makes
# the task. A model whose tokenizer can ask for the middle of a text is a code model.
WEIGHTS = {
    "gpt2": "genjax.tasks.language_model",
    "llama": "genjax.tasks.language_model",
    "t5": "genjax.tasks.seq2seq",
    "whisper": "genjax.tasks.speech",
    "bert": "genjax.tasks.masked_lm",
    "distilbert": "genjax.tasks.masked_lm",
    "vit": "genjax.tasks.classification",
    "clip": "genjax.tasks.contrastive",
    "siglip": "genjax.tasks.contrastive",
    OPEN_CLIP: "genjax.tasks.contrastive",
    "UNet2DModel": "genjax.tasks.diffusion_weights",
    "VQModel": "genjax.tasks.autoencoder",
    "AutoencoderKL": "genjax.tasks.autoencoder",
    FIRST_STAGE: "genjax.tasks.autoencoder",
    GAN_FILES: "genjax.tasks.gan_folders",
}


def open_weights(folder: Path | str, *, dtype: str = "float32", mesh: Any = None, rules: Any = None) -> tuple[Task, Any]:
    """The task and the variables of a folder of published weights.

    Args:
        folder: config.json, open_clip_config.json or a diffusers pipeline's model_index.json, safetensors (one file or shards)
            and what prepares the inputs: the tokenizer's files (without them, nothing can be prompted),
            preprocessor_config.json. OpenAI's CLIP may be a file. Of GANs, the files that `interop.gan_files` names.
        dtype: of the computation.
        mesh, rules: where the variables are to lie; None: on the default device.

    Raises:
        CheckpointError: no such folder, a kind of model that is not known, or tensors that do not fit it.
    """
    task = weights_task(folder, dtype=dtype)
    return task, weights_variables(folder, task, mesh=mesh, rules=rules)


def weights_task(folder: Path | str, *, dtype: str = "float32") -> Task:
    """The task of a folder of published weights, before they are read. Arguments and errors as for `open_weights`."""
    path = Path(folder)
    kind = _kind_of(path)
    if kind not in WEIGHTS:
        raise CheckpointError(f"{path} holds a {kind}, and no task samples from it; those of {', '.join(WEIGHTS)} can be opened.")
    tokenizer = data.load_tokenizer(path) if path.is_dir() and data.has_tokenizer(path) else None
    writes = WEIGHTS[kind] == TASKS["language_model"]
    infills = writes and tokenizer is not None and find_sentinels(tokenizer) is not None
    return importlib.import_module(TASKS["code_model"] if infills else WEIGHTS[kind]).from_weights(path, tokenizer, dtype)


def _kind_of(path: Path) -> str:
    if public_files.first_stage_in(path):
        return FIRST_STAGE
    if gan_files.kind_of(path):
        return GAN_FILES
    return OPEN_CLIP if open_clip.is_open_clip(path) else huggingface.read_config(pipelines.network_folder(path))[0]


def weights_variables(folder: Path | str, task: Task, *, mesh: Any = None, rules: Any = None) -> Any:
    """The variables of a folder, whose task is `task`. Arguments and errors as for `open_weights`."""
    if mesh is None:
        return task.pretrained(str(folder), None)
    boxed = jax.eval_shape(lambda: task.init(jax.random.key(0)))
    return task.pretrained(str(folder), axis_rules.tree_shardings(boxed, mesh, rules or axis_rules.DEFAULT_RULES))
