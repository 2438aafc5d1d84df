"""The U-Net that attends a context, in the layout of diffusers' `UNet2DConditionModel`: Stable Diffusion 1 and 2.

Its tensors have the names of `UNet2DModel`'s, and its transformers' beside them. What it calls `attention_head_dim` is the number
of heads.
"""

from collections.abc import Mapping
from typing import Any

from genjax.interop.family import Family
from genjax.interop.settings import Settings, misfits
from genjax.interop.unet import (
    COMMON,
    attending_levels,
    block_types,
    disagreements,
    read_common,
    shapes,
    table,
    write_common,
)
from genjax.models.unet_config import UNetConfig

_DOWN, _UP = ({f"CrossAttn{way}Block2D": True, f"{way}Block2D": False} for way in ("Down", "Up"))
_REQUIRED = {
    "mid_block_type": ("UNetMidBlock2DCrossAttn",),
    "attention_type": ("default",),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "resnet_out_scale_factor": (1.0,),
    **dict.fromkeys(
        ("only_cross_attention", "mid_block_only_cross_attention", "dual_cross_attention", "resnet_skip_time_act")
        + ("class_embeddings_concat",),
        (False,),
    ),
    **dict.fromkeys(
        ("addition_embed_type", "encoder_hid_dim", "encoder_hid_dim_type", "time_embedding_act_fn", "timestep_post_act")
        + ("time_cond_proj_dim", "cross_attention_norm", "num_attention_heads", "reverse_transformer_layers_per_block"),
        (),
    ),
}
EXPRESSIBLE = COMMON | {"attention_levels": ((),), "middle_attention": (True,), "resample": ("conv",)}


def from_json(values: Mapping[str, Any], where: str) -> UNetConfig:
    """Our config from the content of a config.json. `upcast_attention` has no counterpart: weights are always in float32.

    Raises:
        CheckpointError: names every setting that changes the numbers and that genjax does not have.
    """
    s = Settings(values, where)
    for key, allowed in _REQUIRED.items():
        s.require(key, *allowed)
    common = read_common(s, 4, (320, 640, 1280, 1280))
    widths = common["widths"]
    down = block_types(s, "down_block_types", _DOWN, (*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"))
    up = block_types(s, "up_block_types", _UP, ("UpBlock2D", *["CrossAttnUpBlock2D"] * 3))[::-1]
    config = dict(
        attention_levels=(),
        cross_attention_levels=attending_levels(s, widths, down, up),
        context_width=s.integer("cross_attention_dim", 1280),
        transformer_layers=s.integer("transformer_layers_per_block", 1),
        linear_projection=s.boolean("use_linear_projection", False),
        **_heads(s, widths),
    )
    s.check()
    return UNetConfig(**common, **config)


def _heads(s: Settings, widths: tuple[int, ...]) -> dict[str, int]:
    """Their number, or their width where they are more numerous at wider levels."""
    heads = s.values.get("attention_head_dim")
    if not isinstance(heads, list | tuple):
        return {"heads": s.integer("attention_head_dim", 8)}
    sizes = {width // number for width, number in zip(widths, heads, strict=False)}
    if len(heads) != len(widths) or len(sizes) > 1:
        s.problem(f"attention_head_dim is {list(heads)} for widths {list(widths)}; supported: one number, or heads of one width")
    return {"head_width": sizes.pop()}


def to_json(config: UNetConfig) -> dict[str, Any]:
    names = ["CrossAttn" * (level in config.cross_attention_levels) for level in range(len(config.widths))]
    return write_common(config) | {
        "down_block_types": [f"{name}DownBlock2D" for name in names],
        "up_block_types": [f"{name}UpBlock2D" for name in reversed(names)],
        "mid_block_type": "UNetMidBlock2DCrossAttn",
        "cross_attention_dim": config.context_width,
        "transformer_layers_per_block": config.transformer_layers,
        "use_linear_projection": config.linear_projection,
        "attention_head_dim": [config.heads_of(width) for width in config.widths] if config.head_width else config.heads,
    }


def unexpressible(config: UNetConfig) -> list[str]:
    phrases = misfits(config, EXPRESSIBLE)
    return phrases if config.context_width else [*phrases, "context_width is 0 (needs the width of a context)"]


FAMILY = Family(
    *("UNet2DConditionModel", "UNet2DConditionModel"),
    *(from_json, to_json, unexpressible, table, shapes, disagreements, UNetConfig, "diffusers"),
)
