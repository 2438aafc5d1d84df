"""The U-Net in the layout of diffusers' `UNet2DModel`.

A convolution's kernel (features, channels, height, width) is ours (height, width, channels, features). Their blocks of the way up
count from the coarsest level, ours bear the number of the level.
"""

from collections.abc import Mapping
from typing import Any

import jax

from genjax.interop.family import Family
from genjax.interop.names import Row, Table
from genjax.interop.rows import convolution, differences, from_heads, linear, norm, shapes_of, to_heads
from genjax.interop.settings import Settings, misfits, zero_if
from genjax.models.unet import UNet, UNetConfig

_DOWN = {"DownBlock2D": (False, "conv"), "AttnDownBlock2D": (True, ""), "ResnetDownsampleBlock2D": (False, "block")}
_UP = {"UpBlock2D": (False, "conv"), "AttnUpBlock2D": (True, ""), "ResnetUpsampleBlock2D": (False, "block")}
_RESAMPLE = {"conv": "conv", "resnet": "block"}
EXPRESSIBLE = {"dimensions": (2,), "self_conditioning": (False,)}
# Two models that differ in one of these may have the same tensors, and compute other numbers with them.
_MEANING = (
    *("head_width", "groups", "norm_epsilon", "scale_shift", "attention_levels", "asymmetric", "sine_first", "frequency_shift"),
)


def from_json(values: Mapping[str, Any], where: str) -> UNetConfig:
    """Our config from the content of a config.json.

    Raises:
        CheckpointError: names every setting that changes the numbers and that genjax does not have.
    """
    s = Settings(values, where)
    for key, allowed in (
        *(("center_input_sample", False), ("time_embedding_type", "positional"), ("mid_block_type", "UNetMidBlock2D")),
        *(("mid_block_scale_factor", 1), ("act_fn", "silu"), ("class_embed_type", None)),
    ):
        s.require(key, allowed)
    widths = tuple(values.get("block_out_channels") or (224, 448, 672, 896))
    down = _blocks(s, "down_block_types", _DOWN, ("DownBlock2D", *["AttnDownBlock2D"] * 3))
    up = _blocks(s, "up_block_types", _UP, (*["AttnUpBlock2D"] * 3, "UpBlock2D"))[::-1]
    halving, doubling = (_RESAMPLE.get(s.values.get(f"{way}sample_type") or "conv", "?") for way in ("down", "up"))
    ways = {way or by for blocks, by in ((down[:-1], halving), (up[1:], doubling)) for _, way in blocks}
    if len(ways) > 1 or "?" in ways:
        s.problem(f"down and up are resampled by {sorted(ways)}; supported: all by a convolution, or all by a residual block")
    if [attends for attends, _ in down] != [attends for attends, _ in up]:
        s.problem("attention on the way up is at other levels than on the way down")
    if len(widths) != len(down) or len(widths) != len(up):
        s.problem(f"block_out_channels has {len(widths)} levels, block types {len(down)} and {len(up)}")
    scaling = s.values.get("resnet_time_scale_shift") or "default"
    if scaling not in ("default", "scale_shift"):
        s.problem(f"resnet_time_scale_shift is {scaling!r}; supported: default or scale_shift")
    groups = s.integer("norm_num_groups", 32)
    # Where time scales and shifts, their middle attention has a norm only if this is said.
    s.require("attn_norm_num_groups", groups)
    if scaling == "scale_shift" and not s.values.get("attn_norm_num_groups") and s.boolean("add_attention", True):
        s.problem(f"attn_norm_num_groups is not set, and the middle attention so has no norm; supported: {groups}")
    config = dict(
        in_channels=s.integer("in_channels", 3),
        out_channels=s.integer("out_channels", 3),
        widths=widths,
        blocks=s.integer("layers_per_block", 2),
        attention_levels=tuple(level for level, (attends, _) in enumerate(down) if attends),
        middle_attention=s.boolean("add_attention", True),
        head_width=0
        if "attention_head_dim" in values and values["attention_head_dim"] is None
        else s.integer("attention_head_dim", 8),
        groups=groups,
        norm_epsilon=s.number("norm_eps", 1e-5),
        scale_shift=scaling == "scale_shift",
        resample="block" if ways == {"block"} else "conv",
        asymmetric=s.number("downsample_padding", 1) == 0,
        time_width=zero_if(s.values.get("time_embedding_dim") or 4 * widths[0], 4 * widths[0]),
        sine_first=not s.boolean("flip_sin_to_cos", True),
        frequency_shift=int(s.number("freq_shift", 0)),
        num_classes=s.integer("num_class_embeds", 1) if s.values.get("num_class_embeds") else 0,
        dropout=s.number("dropout", 0.0),
    )
    s.check()
    return UNetConfig(**config)


def to_json(config: UNetConfig) -> dict[str, Any]:
    levels = range(len(config.widths))
    plain = {"conv": ("DownBlock2D", "UpBlock2D"), "block": ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")}[config.resample]
    names = [("AttnDownBlock2D", "AttnUpBlock2D") if level in config.attention_levels else plain for level in levels]
    sampling = "resnet" if config.resample == "block" else "conv"
    return {
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "block_out_channels": list(config.widths),
        "layers_per_block": config.blocks,
        "down_block_types": [down for down, _ in names],
        "up_block_types": [up for _, up in reversed(names)],
        "downsample_type": sampling,
        "upsample_type": sampling,
        "add_attention": config.middle_attention,
        "attention_head_dim": config.head_width or None,
        "norm_num_groups": config.groups,
        "attn_norm_num_groups": config.groups,
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
    rows = [
        *convolution("conv_in", "conv_in"),
        *linear("time_embedding.linear_1", "time_1"),
        *linear("time_embedding.linear_2", "time_2"),
        *norm("conv_norm_out", "norm_out"),
        *convolution("conv_out", "conv_out"),
    ]
    if config.class_rows:
        rows.append(Row("class_embedding.weight", ("classes",)))
    width = config.widths[0]
    last = len(config.widths) - 1
    skips = [width]

    def residual(theirs: str, ours: str, before: int, after: int) -> None:
        for number in (1, 2):
            rows.extend(norm(f"{theirs}.norm{number}", f"{ours}/norm_{number}"))
            rows.extend(convolution(f"{theirs}.conv{number}", f"{ours}/conv_{number}"))
        rows.extend(linear(f"{theirs}.time_emb_proj", f"{ours}/time"))
        if before != after:
            rows.extend(convolution(f"{theirs}.conv_shortcut", f"{ours}/shortcut"))

    def attention(theirs: str, ours: str, channels: int) -> None:
        heads = (channels // config.head_width, config.head_width) if config.head_width else (1, channels)
        rows.extend(norm(f"{theirs}.group_norm", f"{ours}/norm"))
        for part, name in (("q", "query"), ("k", "key"), ("v", "value")):
            rows.extend(to_heads(f"{theirs}.to_{part}", f"{ours}/attention/{name}", heads))
        rows.extend(from_heads(f"{theirs}.to_out.0", f"{ours}/attention/out", heads))

    def resample(theirs: str, ours: str, channels: int) -> None:
        if config.resample == "block":
            residual(theirs, ours, channels, channels)
        else:
            rows.extend(convolution(f"{theirs}.conv", ours))

    for level, after in enumerate(config.widths):
        for number in range(config.blocks):
            residual(f"down_blocks.{level}.resnets.{number}", f"down_{level}_{number}", width, after)
            if level in config.attention_levels:
                attention(f"down_blocks.{level}.attentions.{number}", f"down_{level}_{number}_attention", after)
            width = after
            skips.append(width)
        if level < last:
            resample(f"down_blocks.{level}.downsamplers.0", f"down_{level}_halve", width)
            skips.append(width)
    for number in (0, 1):
        residual(f"mid_block.resnets.{number}", f"middle_{number}", width, width)
    if config.middle_attention:
        attention("mid_block.attentions.0", "middle_0_attention", width)
    for level in range(last, -1, -1):
        theirs, after = f"up_blocks.{last - level}", config.widths[level]
        for number in range(config.blocks + 1):
            residual(f"{theirs}.resnets.{number}", f"up_{level}_{number}", width + skips.pop(), after)
            if level in config.attention_levels:
                attention(f"{theirs}.attentions.{number}", f"up_{level}_{number}_attention", after)
            width = after
        if level:
            resample(f"{theirs}.upsamplers.0", f"up_{level}_double", width)
    return Table(tuple(rows))


def shapes(config: UNetConfig) -> dict[str, tuple[int, ...]]:
    sample = jax.ShapeDtypeStruct((1, *[config.factor] * config.dimensions, config.in_channels), "float32")
    number = jax.ShapeDtypeStruct((1,), "int32")
    return shapes_of(UNet(config), sample, number, *([number] if config.class_rows else []))


def disagreements(found: UNetConfig, wanted: UNetConfig) -> list[str]:
    return differences(found, wanted, _MEANING)


def _blocks(s: Settings, key: str, known: Mapping[str, tuple[bool, str]], default: tuple[str, ...]) -> list[tuple[bool, str]]:
    """(whether it attends, how it resamples where its name says so) of each."""
    names = s.values.get(key) or default
    if unknown := sorted(set(names) - set(known)):
        s.problem(f"{key} has {', '.join(unknown)}; supported: {', '.join(known)}")
    return [known.get(name, (False, "")) for name in names]


FAMILY = Family(
    "UNet2DModel", "UNet2DModel", from_json, to_json, unexpressible, table, shapes, disagreements, UNetConfig, "diffusers"
)
