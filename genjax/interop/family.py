"""What interop knows of a model family: its config in both directions and its table of names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from genjax.interop.names import Table


@dataclass(frozen=True)
class Family:
    """One value of config.json's `model_type` (transformers) or `_class_name` (diffusers).

    Attributes:
        name: the value.
        architecture: the class that reads what we write; `to_json` may name another in "architectures".
        from_json: (content of config.json, file name for messages) -> our config; CheckpointError names what is unsupported.
        to_json: our config -> the keys of config.json that describe the network. They win over what `save` writes there itself
            (the ids of specials).
        misfits: our config -> phrases that say why this family cannot express it; empty when it can.
        table: our config -> the names of its tensors.
        shapes: our config -> {path: shape} of its parameters.
        disagreements: (a checkpoint's config, the config to run it) -> phrases for settings that change what its tensors mean.
        config_type: the dataclass of our config. It may hold others (two towers); `vocab_size` and `scan_layers`, wherever
            they stand in it, are the fields that loading may choose.
        library: whose folders these are.
    """

    name: str
    architecture: str
    from_json: Callable[[Mapping[str, Any], str], Any]
    to_json: Callable[[Any], dict[str, Any]]
    misfits: Callable[[Any], list[str]]
    table: Callable[[Any], Table]
    shapes: Callable[[Any], dict[str, tuple[int, ...]]]
    disagreements: Callable[[Any, Any], list[str]]
    config_type: type
    library: Literal["transformers", "diffusers"] = "transformers"

    @property
    def stem(self) -> str:
        """How the files of its weights begin."""
        return "diffusion_pytorch_model" if self.library == "diffusers" else "model"
