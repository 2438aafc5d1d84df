"""What the layouts of contrastive models in transformers share: a tower's settings and blocks."""

from collections.abc import Mapping, Sequence
from typing import Any

from genjax.interop.names import Row
from genjax.interop.rows import differences, from_heads, linear, norm, to_heads
from genjax.interop.settings import Settings, their_activation, zero_if
from genjax.models.tower import TowerConfig

# Two towers that differ in one of these may have the same tensors, and compute other numbers with them.
MEANING = ("num_heads", "activation", "norm_epsilon")


def read_tower(s: Settings, width: int, heads: int, activation: str, epsilon: float) -> dict[str, Any]:
    """The fields of `TowerConfig` from a section of config.json; the arguments are the family's defaults, in its words."""
    s.require("quantization_config")
    embed_dim, num_heads = s.integer("hidden_size", width), s.integer("num_attention_heads", heads)
    if embed_dim % num_heads:
        s.problem(f"hidden_size {embed_dim} does not divide over num_attention_heads {num_heads}")
    return dict(
        num_layers=s.integer("num_hidden_layers", 12),
        num_heads=num_heads,
        embed_dim=embed_dim,
        mlp_dim=zero_if(s.integer("intermediate_size", 4 * width), 4 * embed_dim),
        activation=s.activation("hidden_act", activation),
        norm_epsilon=s.number("layer_norm_eps", epsilon),
    )


def read_sizes(s: Settings, patch_size: int) -> dict[str, Any]:
    """The sizes of images and patches; the argument is the family's default. Pairs of equal numbers are squares."""
    values = dict(s.values)
    for key in ("image_size", "patch_size"):
        if isinstance(pair := values.get(key), Sequence) and len(pair) == 2 and pair[0] == pair[1]:
            values[key] = pair[0]
    squares = Settings(values, s.where, s.problems)
    sizes = dict(
        image_size=squares.integer("image_size", 224),
        patch_size=squares.integer("patch_size", patch_size),
        channels=s.integer("num_channels", 3),
    )
    if sizes["patch_size"] > sizes["image_size"]:
        s.problem(f"patch_size {sizes['patch_size']} is larger than image_size {sizes['image_size']}")
    return sizes


def tower_json(config: TowerConfig) -> dict[str, Any]:
    """The keys of config.json that `read_tower` reads."""
    return {
        "hidden_size": config.embed_dim,
        "intermediate_size": config.hidden_width,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "hidden_act": their_activation(config.activation),
        "layer_norm_eps": config.norm_epsilon,
    }


def blocks(theirs: str, ours: str, config: TowerConfig) -> list[Row]:
    """`{theirs}encoder.layers.0...` and `{ours}blocks_0/...`."""
    layers, heads = config.num_layers, (config.num_heads, config.embed_dim // config.num_heads)
    layer, block = f"{theirs}encoder.layers.{{layer}}", f"{ours}blocks_{{layer}}"
    rows = from_heads(f"{layer}.self_attn.out_proj", f"{block}/attention/out", heads, layers)
    for their, our in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value")):
        rows += to_heads(f"{layer}.self_attn.{their}", f"{block}/attention/{our}", heads, layers)
    for their, our in (("fc1", "up"), ("fc2", "down")):
        rows += linear(f"{layer}.mlp.{their}", f"{block}/mlp/{our}", layers)
    for their, our in (("layer_norm1", "attention_norm"), ("layer_norm2", "mlp_norm")):
        rows += norm(f"{layer}.{their}", f"{block}/{our}", layers)
    return rows


def disagreements(found: Any, wanted: Any, parts: Mapping[str, Sequence[str]]) -> list[str]:
    """A phrase for each setting of each tower in which a checkpoint and the model that is to run it differ, shapes apart."""
    return [
        f"{part}.{phrase}"
        for part, names in parts.items()
        for phrase in differences(getattr(found, part), getattr(wanted, part), names)
    ]
