"""DiT in the layout of diffusers' `DiTTransformer2DModel`.

Each of their blocks has an embedding of time and class of its own, and their last layer reads the first block's. Ours is one, as
in the paper's code: a folder whose blocks differ in it is refused, and one that we write repeats it.
"""

from collections.abc import Mapping
from typing import Any

import jax

from genjax.interop.family import Family
from genjax.interop.names import Row, Table
from genjax.interop.rows import convolution, differences, from_heads, linear, shapes_of, to_heads
from genjax.interop.settings import Settings, misfits
from genjax.interop.transforms import Chain, Split, Transpose
from genjax.models.dit import DiT, DiTConfig

_ACTIVATIONS = {"gelu-approximate": "gelu_tanh", "gelu": "gelu"}
# frequency_shift: diffusers computes with 1 what the paper's authors trained, in the checkpoints that are published, with 0.
EXPRESSIBLE = {
    "null_class": (True,),
    "frequency_shift": (1,),
    "activation": tuple(_ACTIVATIONS.values()),
    "norm_epsilon": (1e-6,),
}
# Two models that differ in one of these may have the same tensors, and compute other numbers with them.
_MEANING = ("num_heads", "sample_size", "activation", "norm_epsilon", "mlp_norm_epsilon")


def from_json(values: Mapping[str, Any], where: str) -> DiTConfig:
    """Our config from the content of a config.json. Its `frequency_shift` is 1, by which we compute what diffusers computes; the
    checkpoints of Peebles and Xie were trained with 0, which may be set in its place.

    Raises:
        CheckpointError: names every setting that changes the numbers and that genjax does not have.
    """
    s = Settings(values, where)
    for key, allowed in (("attention_bias", True), ("norm_type", "ada_norm_zero"), ("norm_elementwise_affine", False)):
        s.require(key, allowed)
    activation = s.values.get("activation_fn") or "gelu-approximate"
    if activation not in _ACTIVATIONS:
        s.problem(f"activation_fn is {activation!r}; supported: {', '.join(_ACTIVATIONS)}")
    in_channels, num_heads = s.integer("in_channels", 4), s.integer("num_attention_heads", 16)
    sample_size, patch_size = s.integer("sample_size", 32), s.integer("patch_size", 2)
    embed_dim = num_heads * s.integer("attention_head_dim", 72)
    if sample_size % patch_size:
        s.problem(f"sample_size {sample_size} does not divide into patches of {patch_size}")
    if embed_dim % 4:
        s.problem(f"num_attention_heads times attention_head_dim is {embed_dim}; supported: multiples of 4")
    config = dict(
        sample_size=sample_size,
        patch_size=patch_size,
        in_channels=in_channels,
        out_channels=s.integer("out_channels", in_channels),
        num_layers=s.integer("num_layers", 28),
        num_heads=num_heads,
        embed_dim=embed_dim,
        num_classes=s.integer("num_embeds_ada_norm", 1000),
        frequency_shift=1,
        activation=_ACTIVATIONS.get(activation),
        mlp_norm_epsilon=s.number("norm_eps", 1e-5),
        dropout=s.number("dropout", 0.0),
    )
    s.check()
    return DiTConfig(**config)


def to_json(config: DiTConfig) -> dict[str, Any]:
    return {
        "sample_size": config.sample_size,
        "patch_size": config.patch_size,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "num_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "attention_head_dim": config.embed_dim // config.num_heads,
        "attention_bias": True,
        "num_embeds_ada_norm": config.num_classes,
        "activation_fn": next(theirs for theirs, ours in _ACTIVATIONS.items() if ours == config.activation),
        "norm_type": "ada_norm_zero",
        "norm_elementwise_affine": False,
        "norm_eps": config.mlp_norm_epsilon,
        "dropout": config.dropout,
    }


def unexpressible(config: DiTConfig) -> list[str]:
    phrases = misfits(config, EXPRESSIBLE)
    if not config.num_classes:
        phrases.append("num_classes is 0 (needs 1 or more)")
    if config.hidden_width != 4 * config.embed_dim:
        phrases.append(f"mlp_dim is {config.mlp_dim} (needs 4 times embed_dim)")
    return phrases


def table(config: DiTConfig) -> Table:
    width, layers, heads = config.embed_dim, config.num_layers, (config.num_heads, config.embed_dim // config.num_heads)
    block, ours, told = "transformer_blocks.{layer}", "blocks_{layer}", "conditions"
    rows = convolution("pos_embed.proj", "patch_embed/projection")
    for number in (1, 2):
        rows += linear(f"{block}.norm1.emb.timestep_embedder.linear_{number}", f"{told}/time_{number}", layers)
    classes = f"{block}.norm1.emb.class_embedder.embedding_table.weight"
    rows.append(Row(classes, (f"{told}/classes/embedding",), layers=layers))
    rows += _apart(f"{block}.norm1.linear", f"{ours}/modulation", (6, width), layers)
    for part, name in (("q", "query"), ("k", "key"), ("v", "value")):
        rows += to_heads(f"{block}.attn1.to_{part}", f"{ours}/attention/{name}", heads, layers)
    rows += from_heads(f"{block}.attn1.to_out.0", f"{ours}/attention/out", heads, layers)
    rows += linear(f"{block}.ff.net.0.proj", f"{ours}/mlp/up", layers)
    rows += linear(f"{block}.ff.net.2", f"{ours}/mlp/down", layers)
    rows += _apart("proj_out_1", "final/modulation", (2, width))
    rows += _apart("proj_out_2", "final/head", (config.patch_size, config.patch_size, config.out_channels))
    return Table(tuple(rows), ignored=(r"pos_embed\.pos_embed",))


def _apart(theirs: str, ours: str, sizes: tuple[int, ...], layers: int = 0) -> list[Row]:
    """A Linear whose outputs are our several axes."""
    return [
        Row(f"{theirs}.weight", (f"{ours}/kernel",), Chain((Transpose(), Split(1, sizes))), layers),
        Row(f"{theirs}.bias", (f"{ours}/bias",), Split(0, sizes), layers),
    ]


def shapes(config: DiTConfig) -> dict[str, tuple[int, ...]]:
    sample = jax.ShapeDtypeStruct((1, config.patch_size, config.patch_size, config.in_channels), "float32")
    number = jax.ShapeDtypeStruct((1,), "int32")
    return shapes_of(DiT(config), sample, number, number if config.class_rows else None)


def disagreements(found: DiTConfig, wanted: DiTConfig) -> list[str]:
    return differences(found, wanted, _MEANING)


FAMILY = Family(
    *("DiTTransformer2DModel", "DiTTransformer2DModel"),
    *(from_json, to_json, unexpressible, table, shapes, disagreements, DiTConfig, "diffusers"),
)
