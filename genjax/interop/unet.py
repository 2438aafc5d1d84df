"""The U-Net in the layout of diffusers' `UNet2DModel`.

A convolution's kernel (features, channels, height, width) is ours (height, width, channels, features). Their blocks of the way up
count from the coarsest level, ours bear the number of the level.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax

from genjax.interop.family import Family
from genjax.interop.names import Row, Table
from genjax.interop.rows import convolution, differences, from_heads, linear, norm, shapes_of, to_heads
from genjax.interop.settings import Settings, misfits, zero_if
from genjax.interop.transforms import Chain, Fused, Transpose
from genjax.models.unet import UNet
from genjax.models.unet_config import UNetConfig, layout

_DOWN = {"DownBlock2D": (False, "conv"), "AttnDownBlock2D": (True, ""), "ResnetDownsampleBlock2D": (False, "block")}
_UP = {"UpBlock2D": (False, "conv"), "AttnUpBlock2D": (True, ""), "ResnetUpsampleBlock2D": (False, "block")}
_RESAMPLE = {"conv": "conv", "resnet": "block"}
# What no U-Net of diffusers has, and what this one has not.
COMMON = {
    "dimensions": (2,),
    "stem_width": (0,),
    "up_attention": ("all",),
    "least_group_width": (0,),
    "skip_scale": (1.0,),
    "project_resampled": (False,),
    "early_classes": (False,),
    "condition_features": (0,),
    "self_conditioning": (False,),
}
EXPRESSIBLE = COMMON | {"heads": (1,), "context_width": (0,)}
# Two models that differ in one of these may have the same tensors, and compute other numbers with them.
_MEANING = (
    *("head_width", "heads", "groups", "norm_epsilon", "scale_shift", "attention_levels", "asymmetric", "sine_first"),
    "frequency_shift",
)


def from_json(values: Mapping[str, Any], where: str) -> UNetConfig:
    """Our config from the content of a config.json.

    Raises:
        CheckpointError: names every setting that changes the numbers and that genjax does not have.
    """
    s = Settings(values, where)
    s.require("mid_block_type", "UNetMidBlock2D")
    common = read_common(s, 3, (224, 448, 672, 896))
    down = block_types(s, "down_block_types", _DOWN, ("DownBlock2D", *["AttnDownBlock2D"] * 3))
    up = block_types(s, "up_block_types", _UP, (*["AttnUpBlock2D"] * 3, "UpBlock2D"))[::-1]
    halving, doubling = (_RESAMPLE.get(s.values.get(f"{way}sample_type") or "conv", "?") for way in ("down", "up"))
    ways = {way or by for blocks, by in ((down[:-1], halving), (up[1:], doubling)) for _, way in blocks}
    if len(ways) > 1 or "?" in ways:
        s.problem(f"down and up are resampled by {sorted(ways)}; supported: all by a convolution, or all by a residual block")
    levels = attending_levels(s, common["widths"], [attends for attends, _ in down], [attends for attends, _ in up])
    # Where time scales and shifts, their middle attention has a norm only if this is said.
    groups = common["groups"]
    s.require("attn_norm_num_groups", groups)
    if common["scale_shift"] and not s.values.get("attn_norm_num_groups") and s.boolean("add_attention", True):
        s.problem(f"attn_norm_num_groups is not set, and the middle attention so has no norm; supported: {groups}")
    config = dict(
        attention_levels=levels,
        middle_attention=s.boolean("add_attention", True),
        head_width=0
        if "attention_head_dim" in values and values["attention_head_dim"] is None
        else s.integer("attention_head_dim", 8),
        resample="block" if ways == {"block"} else "conv",
    )
    s.check()
    return UNetConfig(**common, **config)


def read_common(s: Settings, channels: int, widths: tuple[int, ...]) -> dict[str, Any]:
    """The fields that `UNet2DModel` and `UNet2DConditionModel` name alike.

    Args:
        channels, widths: defaults of in_channels and out_channels, and of block_out_channels.
    """
    for key, allowed in (
        *(("center_input_sample", False), ("time_embedding_type", "positional"), ("mid_block_scale_factor", 1)),
        *(("act_fn", "silu"), ("class_embed_type", None)),
    ):
        s.require(key, allowed)
    widths = tuple(s.values.get("block_out_channels") or widths)
    scaling = s.values.get("resnet_time_scale_shift") or "default"
    if scaling not in ("default", "scale_shift"):
        s.problem(f"resnet_time_scale_shift is {scaling!r}; supported: default or scale_shift")
    return dict(
        in_channels=s.integer("in_channels", channels),
        out_channels=s.integer("out_channels", channels),
        widths=widths,
        blocks=s.integer("layers_per_block", 2),
        groups=s.integer("norm_num_groups", 32),
        norm_epsilon=s.number("norm_eps", 1e-5),
        scale_shift=scaling == "scale_shift",
        asymmetric=s.number("downsample_padding", 1) == 0,
        time_width=zero_if(s.values.get("time_embedding_dim") or 4 * widths[0], 4 * widths[0]),
        sine_first=not s.boolean("flip_sin_to_cos", True),
        frequency_shift=int(s.number("freq_shift", 0)),
        num_classes=s.integer("num_class_embeds", 1) if s.values.get("num_class_embeds") else 0,
        dropout=s.number("dropout", 0.0),
    )


def attending_levels(s: Settings, widths: tuple[int, ...], down: list[bool], up: list[bool]) -> tuple[int, ...]:
    """The levels whose blocks attend on both ways, each told from the finest level."""
    if down != up:
        s.problem("attention on the way up is at other levels than on the way down")
    if len(widths) != len(down) or len(widths) != len(up):
        s.problem(f"block_out_channels has {len(widths)} levels, block types {len(down)} and {len(up)}")
    return tuple(level for level, attends in enumerate(down) if attends)


def to_json(config: UNetConfig) -> dict[str, Any]:
    levels = range(len(config.widths))
    plain = {"conv": ("DownBlock2D", "UpBlock2D"), "block": ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")}[config.resample]
    names = [("AttnDownBlock2D", "AttnUpBlock2D") if level in config.attention_levels else plain for level in levels]
    sampling = "resnet" if config.resample == "block" else "conv"
    return write_common(config) | {
        "down_block_types": [down for down, _ in names],
        "up_block_types": [up for _, up in reversed(names)],
        "downsample_type": sampling,
        "upsample_type": sampling,
        "add_attention": config.middle_attention,
        "attention_head_dim": config.head_width or None,
        "attn_norm_num_groups": config.groups,
    }


def write_common(config: UNetConfig) -> dict[str, Any]:
    """The keys that `UNet2DModel` and `UNet2DConditionModel` name alike."""
    return {
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "block_out_channels": list(config.widths),
        "layers_per_block": config.blocks,
        "norm_num_groups": config.groups,
        "norm_eps": config.norm_epsilon,
        "resnet_time_scale_shift": "scale_shift" if config.scale_shift else "default",
        "downsample_padding": 0 if config.asymmetric else 1,
        "time_embedding_dim": config.time_width or None,
        "flip_sin_to_cos": not config.sine_first,
        "freq_shift": config.frequency_shift,
        "num_class_embeds": config.class_rows or None,
        "dropout": config.dropout,
    }


def unexpressible(config: UNetConfig) -> list[str]:
    return misfits(config, EXPRESSIBLE)


def table(config: UNetConfig) -> Table:
    """The names of `UNet2DModel`, which are those of `UNet2DConditionModel` too."""
    rows = [
        *convolution("conv_in", "conv_in"),
        *linear("time_embedding.linear_1", "conditions/time_1"),
        *linear("time_embedding.linear_2", "conditions/time_2"),
        *norm("conv_norm_out", "norm_out"),
        *convolution("conv_out", "conv_out"),
    ]
    if config.class_rows:
        rows.append(Row("class_embedding.weight", ("conditions/classes/embedding",)))
    for step in layout(config):
        block = "mid_block"
        if step.way != "middle":
            block = f"{step.way}_blocks.{step.level if step.way == 'down' else len(config.widths) - 1 - step.level}"
        if step.resample and config.resample == "conv":
            rows += convolution(f"{block}.{step.way}samplers.0.conv", step.name)
        else:
            theirs = f"{block}.{step.way}samplers.0" if step.resample else f"{block}.resnets.{step.number}"
            rows += linear(f"{theirs}.time_emb_proj", f"{step.name}/time") + residual_rows(theirs, step.name, step.projects)
        theirs, ours = f"{block}.attentions.{step.number}", f"{step.name}_attention"
        heads = config.heads_of(step.after), step.after // config.heads_of(step.after)
        if step.attends == "self":
            rows += norm(f"{theirs}.group_norm", f"{ours}/norm") + attention_rows(theirs, f"{ours}/attention", heads)
        elif step.attends == "context":
            rows += _transformer(config, theirs, ours, heads)
    return Table(tuple(rows))


def residual_rows(theirs: str, ours: str, projects: bool, shortcut: str = "conv_shortcut") -> list[Row]:
    """A residual block without what time adds to it."""
    rows: list[Row] = []
    for number in (1, 2):
        rows += norm(f"{theirs}.norm{number}", f"{ours}/norm_{number}")
        rows += convolution(f"{theirs}.conv{number}", f"{ours}/conv_{number}")
    return rows + (convolution(f"{theirs}.{shortcut}", f"{ours}/shortcut") if projects else [])


def attention_rows(theirs: str, ours: str, heads: tuple[int, int], input_bias: bool = True) -> list[Row]:
    rows = from_heads(f"{theirs}.to_out.0", f"{ours}/out", heads)
    for part, name in (("q", "query"), ("k", "key"), ("v", "value")):
        kernel, bias = to_heads(f"{theirs}.to_{part}", f"{ours}/{name}", heads)
        rows += [kernel, bias] if input_bias else [kernel]
    return rows


def _transformer(config: UNetConfig, theirs: str, ours: str, heads: tuple[int, int]) -> list[Row]:
    project = linear if config.linear_projection else convolution
    rows = norm(f"{theirs}.norm", f"{ours}/norm")
    rows += project(f"{theirs}.proj_in", f"{ours}/enter") + project(f"{theirs}.proj_out", f"{ours}/leave")
    hidden = 4 * heads[0] * heads[1]
    for layer in range(config.transformer_layers):
        block, own = f"{theirs}.transformer_blocks.{layer}", f"{ours}/blocks_{layer}"
        for number, name in enumerate(("attention", "cross", "mlp"), 1):
            rows += norm(f"{block}.norm{number}", f"{own}/{name}_norm")
        rows += attention_rows(f"{block}.attn1", f"{own}/attention", heads, input_bias=False)
        rows += attention_rows(f"{block}.attn2", f"{own}/cross_attention", heads, input_bias=False)
        rows += linear(f"{block}.ff.net.2", f"{own}/mlp/down")
        both = Fused(0, (hidden, hidden))  # theirs multiplies its first half by the activation of its second
        for part, name, way in (("weight", "kernel", Chain((both, Transpose()))), ("bias", "bias", both)):
            rows.append(Row(f"{block}.ff.net.0.proj.{part}", (f"{own}/mlp/up/{name}", f"{own}/mlp/gate/{name}"), way))
    return rows


@functools.lru_cache(8)  # it takes a second where there are hundreds of blocks, and reading a folder asks several times
def shapes(config: UNetConfig) -> dict[str, tuple[int, ...]]:
    sample = jax.ShapeDtypeStruct((1, *[config.factor] * config.dimensions, config.in_channels), "float32")
    number = jax.ShapeDtypeStruct((1,), "int32")
    context = jax.ShapeDtypeStruct((1, 1, config.context_width), "float32") if config.context_width else None
    return shapes_of(UNet(config), sample, number, number if config.class_rows else None, context=context)


def disagreements(found: UNetConfig, wanted: UNetConfig) -> list[str]:
    return differences(found, wanted, _MEANING)


def block_types(s: Settings, key: str, known: Mapping[str, Any], default: tuple[str, ...]) -> list[Any]:
    """What is known of each block by its name."""
    names = s.values.get(key) or default
    if unknown := sorted(set(names) - set(known)):
        s.problem(f"{key} has {', '.join(unknown)}; supported: {', '.join(known)}")
    return [known.get(name, next(iter(known.values()))) for name in names]


FAMILY = Family(
    "UNet2DModel", "UNet2DModel", from_json, to_json, unexpressible, table, shapes, disagreements, UNetConfig, "diffusers"
)
