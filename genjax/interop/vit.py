"""ViT in the layout of transformers: `ViTForImageClassification` (under `vit.`, with a classifier) and a bare `ViTModel`.

A convolution's kernel (features, channels, height, width) is ours (height, width, channels, features); the class token and the
positions have leading axes of 1. Heads in the file that our config does not have are left where they are.
"""

from collections.abc import Mapping
from typing import Any

import jax

from genjax.interop.family import Family
from genjax.interop.names import Row, Table
from genjax.interop.rows import convolution, differences, from_heads, linear, norm, shapes_of, to_heads
from genjax.interop.settings import ACTIVATIONS, Settings, misfits, their_activation, zero_if
from genjax.interop.transforms import Merge
from genjax.models.vit import ViT, ViTConfig

EXPRESSIBLE = {"activation": tuple(dict.fromkeys(ACTIVATIONS.values()))}
# Two models that differ in one of these may have the same tensors, and compute other numbers with them.
_MEANING = ("num_heads", "norm_epsilon", "activation", "grid")


def from_json(values: Mapping[str, Any], where: str) -> ViTConfig:
    """Our config from the content of a config.json. `attention_probs_dropout_prob` has no counterpart.

    Raises:
        CheckpointError: names every setting that changes the numbers and that genjax does not have.
    """
    s = Settings(values, where)
    embed_dim, num_heads = s.integer("hidden_size", 768), s.integer("num_attention_heads", 12)
    s.require("qkv_bias", True)
    s.require("pooler_act", "tanh")
    s.require("pooler_output_size", embed_dim)
    s.require("quantization_config")
    if embed_dim % num_heads:
        s.problem(f"hidden_size {embed_dim} does not divide over num_attention_heads {num_heads}")
    height, width = _pair(s, "image_size", 224)
    patch = _pair(s, "patch_size", 16)
    if patch[0] != patch[1]:
        s.problem(f"patch_size is {list(patch)}; supported: squares")
    if min(height, width) < patch[0]:
        s.problem(f"image_size {height}x{width} is smaller than a patch of {patch[0]}")
    named = values.get("architectures") or ["ViTModel"]
    if named not in (["ViTModel"], ["ViTForImageClassification"]):
        s.problem(f"architectures is {named!r}; supported: ViTForImageClassification, ViTModel")
    classifies = named == ["ViTForImageClassification"]
    config = dict(
        image_size=height if height == width else (height, width),
        patch_size=patch[0],
        channels=s.integer("num_channels", 3),
        num_classes=(len(s.section("id2label")) or s.integer("num_labels", 2)) if classifies else 0,
        num_layers=s.integer("num_hidden_layers", 12),
        num_heads=num_heads,
        embed_dim=embed_dim,
        mlp_dim=zero_if(s.integer("intermediate_size", 3072), 4 * embed_dim),
        activation=s.activation("hidden_act", "gelu"),
        norm_epsilon=s.number("layer_norm_eps", 1e-12),
        dropout=s.number("hidden_dropout_prob", 0.0),
        init_std=s.number("initializer_range", 0.02),
    )
    s.check()
    return ViTConfig(pooler=not classifies, **config)


def to_json(config: ViTConfig) -> dict[str, Any]:
    size = config.image_size
    values = {
        "architectures": ["ViTForImageClassification" if config.num_classes else "ViTModel"],
        "image_size": size if isinstance(size, int) else list(size),
        "patch_size": config.patch_size,
        "num_channels": config.channels,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "hidden_size": config.embed_dim,
        "intermediate_size": config.hidden_width,
        "hidden_act": their_activation(config.activation),
        "layer_norm_eps": config.norm_epsilon,
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": config.init_std,
        "qkv_bias": True,
        "pooler_act": "tanh",
        "pooler_output_size": config.embed_dim,
    }
    if config.num_classes:
        labels = [f"LABEL_{i}" for i in range(config.num_classes)]
        values["id2label"] = {str(i): label for i, label in enumerate(labels)}
        values["label2id"] = {label: i for i, label in enumerate(labels)}
    return values


def unexpressible(config: ViTConfig) -> list[str]:
    phrases = misfits(config, EXPRESSIBLE)
    if config.num_classes and config.pooler:
        phrases.append("num_classes and pooler (no class of transformers has both; leave one out)")
    return phrases


def table(config: ViTConfig) -> Table:
    prefix = "vit." if config.num_classes else ""
    width, layers, heads = config.embed_dim, config.num_layers, (config.num_heads, config.head_width)
    embeddings, block, ours = f"{prefix}embeddings", f"{prefix}encoder.layer.{{layer}}", "blocks_{layer}"
    positions = 1 + config.grid[0] * config.grid[1]
    patch, conv = f"{embeddings}.patch_embeddings.projection", "patch_embed/projection"
    rows = [
        Row(f"{embeddings}.cls_token", ("class_token",), Merge(0, (1, 1, width))),
        Row(f"{embeddings}.position_embeddings", ("position_embed",), Merge(0, (1, positions))),
        *convolution(patch, conv),
    ]
    for part in ("query", "key", "value"):
        rows += to_heads(f"{block}.attention.attention.{part}", f"{ours}/attention/{part}", heads, layers)
    rows += from_heads(f"{block}.attention.output.dense", f"{ours}/attention/out", heads, layers)
    rows += norm(f"{block}.layernorm_before", f"{ours}/attention_norm", layers)
    rows += norm(f"{block}.layernorm_after", f"{ours}/mlp_norm", layers)
    rows += linear(f"{block}.intermediate.dense", f"{ours}/mlp/up", layers)
    rows += linear(f"{block}.output.dense", f"{ours}/mlp/down", layers)
    rows += norm(f"{prefix}layernorm", "final_norm")
    ignored = [rf"{prefix}embeddings\.mask_token"]
    if config.num_classes:
        rows += linear("classifier", "head")
    else:
        ignored.append(r"classifier\..*")
    if config.pooler:
        rows += linear("pooler.dense", "pooler")
    else:
        ignored.append(rf"{prefix}pooler\..*")
    rename = (r"^(?!vit\.|classifier\.)", "vit.") if prefix else (r"^vit\.", "")
    return Table(tuple(rows), ignored=tuple(ignored), renames=(rename,))


def shapes(config: ViTConfig) -> dict[str, tuple[int, ...]]:
    height, width = config.grid[0] * config.patch_size, config.grid[1] * config.patch_size
    return shapes_of(ViT(config), jax.ShapeDtypeStruct((1, height, width, config.channels), "float32"))


def disagreements(found: ViTConfig, wanted: ViTConfig) -> list[str]:
    return differences(found, wanted, _MEANING)


def _pair(s: Settings, key: str, default: int) -> tuple[int, int]:
    """A size that may be one number or [height, width]."""
    value = s.values.get(key)
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(n, int) and n > 0 for n in value):
        return value[0], value[1]
    size = s.integer(key, default)
    return size, size


FAMILY = Family("vit", "ViTModel", from_json, to_json, unexpressible, table, shapes, disagreements, ViTConfig)
