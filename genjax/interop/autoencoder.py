"""Convolutional autoencoders in the layouts of diffusers (`VQModel`, `AutoencoderKL`) and of taming-transformers and latent
diffusion, whose code both are of.

A convolution's kernel (features, channels, height, width) is ours (height, width, channels, features). diffusers counts blocks of
the decoder from the coarsest level; ours, and those of taming-transformers, bear the number of the level.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax

from genjax.interop.family import Family
from genjax.interop.gan_tables import Shapes
from genjax.interop.names import Row, Table
from genjax.interop.rows import convolution, differences, norm, shapes_of
from genjax.interop.settings import Settings, misfits
from genjax.interop.transforms import Chain, Merge, Split, Transpose
from genjax.interop.unet import attending_levels, attention_rows, block_types, residual_rows
from genjax.models.autoencoder import Autoencoder
from genjax.models.autoencoder_config import AutoencoderConfig, decoder_layout, encoder_layout
from genjax.models.unet_config import Step
from genjax.quantization.gaussian import GaussianConfig
from genjax.quantization.quantized import CODEBOOK
from genjax.quantization.vector import VectorConfig

_DOWN = {"DownEncoderBlock2D": False, "AttnDownEncoderBlock2D": True}
_UP = {"UpDecoderBlock2D": False, "AttnUpDecoderBlock2D": True}
EXPRESSIBLE = {"heads": (1,), "norm_epsilon": (1e-6,)}
_PLAIN_CODEBOOK = {"learning": ("loss",), "cosine": (False,)}
# Two models that differ in one of these may have the same tensors, and compute other numbers with them.
_MEANING = ("groups", "heads", "norm_epsilon", "attention_levels")


def vector_from_json(values: Mapping[str, Any], where: str) -> AutoencoderConfig:
    """Our config from the content of a VQModel's config.json.

    Raises:
        CheckpointError: names every setting that changes the numbers and that genjax does not have.
    """
    s = Settings(values, where)
    s.require("norm_type", "group")
    latent = s.integer("latent_channels", 3)
    width = s.integer("vq_embed_dim", latent)
    bottleneck = VectorConfig(s.integer("num_vq_embeddings", 256), width, "loss")
    return _from_json(s, bottleneck, latent, blocks=1)


def gaussian_from_json(values: Mapping[str, Any], where: str) -> AutoencoderConfig:
    """The same of an AutoencoderKL's."""
    s = Settings(values, where)
    s.require("latents_mean")
    s.require("latents_std")
    latent = s.integer("latent_channels", 4)
    projects = {name: s.boolean(f"use_{key}quant_conv", True) for name, key in (("project_in", ""), ("project_out", "post_"))}
    return _from_json(s, GaussianConfig(latent), latent, blocks=1, shift=s.number("shift_factor", 0.0), **projects)


def _from_json(s: Settings, bottleneck, latent: int, blocks: int, shift: float = 0.0, **projects: bool) -> AutoencoderConfig:
    s.require("act_fn", "silu")
    channels = s.integer("in_channels", 3)
    widths = tuple(s.values.get("block_out_channels") or (64,))
    down = block_types(s, "down_block_types", _DOWN, ("DownEncoderBlock2D",))
    up = block_types(s, "up_block_types", _UP, ("UpDecoderBlock2D",))[::-1]
    levels = attending_levels(s, widths, down, up)
    out = s.integer("out_channels", 3)
    s.check()
    return AutoencoderConfig(
        bottleneck=bottleneck,
        channels=channels,
        out_channels=0 if out == channels else out,
        widths=widths,
        blocks=s.integer("layers_per_block", blocks),
        attention_levels=levels,
        middle_attention=s.boolean("mid_block_add_attention", True),
        latent_channels=latent,
        groups=s.integer("norm_num_groups", 32),
        latent_scale=s.number("scaling_factor", 0.18215),
        latent_shift=shift,
        **projects,
    )


def to_json(config: AutoencoderConfig) -> dict[str, Any]:
    c, bottleneck = config, config.bottleneck
    levels = range(len(c.widths))
    attends = [level in c.attention_levels for level in levels]
    values = {
        "in_channels": c.channels,
        "out_channels": c.out_channels or c.channels,
        "down_block_types": ["AttnDownEncoderBlock2D" if a else "DownEncoderBlock2D" for a in attends],
        "up_block_types": ["AttnUpDecoderBlock2D" if a else "UpDecoderBlock2D" for a in reversed(attends)],
        "block_out_channels": list(c.widths),
        "layers_per_block": c.blocks,
        "act_fn": "silu",
        "latent_channels": c.latent_channels,
        "norm_num_groups": c.groups,
        "mid_block_add_attention": c.middle_attention,
        "scaling_factor": c.latent_scale,
    }
    if isinstance(bottleneck, VectorConfig):
        return values | {"num_vq_embeddings": bottleneck.codes, "vq_embed_dim": bottleneck.width, "norm_type": "group"}
    shift = {"shift_factor": c.latent_shift} if c.latent_shift else {}
    return values | {"use_quant_conv": c.project_in, "use_post_quant_conv": c.project_out} | shift


def vector_misfits(config: AutoencoderConfig) -> list[str]:
    if not isinstance(config.bottleneck, VectorConfig):
        return [f"its bottleneck is a {type(config.bottleneck).__name__} (needs VectorConfig)"]
    needed = EXPRESSIBLE | {"project_in": (True,), "project_out": (True,), "latent_shift": (0.0,)}
    return misfits(config, needed) + [f"bottleneck.{phrase}" for phrase in misfits(config.bottleneck, _PLAIN_CODEBOOK)]


def gaussian_misfits(config: AutoencoderConfig) -> list[str]:
    if not isinstance(config.bottleneck, GaussianConfig):
        return [f"its bottleneck is a {type(config.bottleneck).__name__} (needs GaussianConfig)"]
    return misfits(config, EXPRESSIBLE | {"latent_channels": (config.bottleneck.width,)})


def with_learned_codebook(
    config: AutoencoderConfig, variables: Mapping[str, Any]
) -> tuple[AutoencoderConfig, dict[str, Mapping[str, Any]]]:
    """An autoencoder whose codebook moves by itself as one whose codebook is a parameter, as files have it: the same numbers."""
    params, bottleneck = variables["params"], config.bottleneck
    if not isinstance(bottleneck, VectorConfig) or bottleneck.learning == "loss":
        return config, {"params": params}
    learned = dataclasses.replace(bottleneck, learning="loss", restart=0.0)
    table = variables[CODEBOOK]["bottleneck"]["embedding"]
    return dataclasses.replace(config, bottleneck=learned), {"params": {**params, "bottleneck": {"embedding": table}}}


@dataclass(frozen=True)
class _Style:
    """How a layout names the blocks: (part, step, number of levels) to a name, and what stands within."""

    block: Callable[[str, Step, int], str]
    attention: Callable[[str, Step, int], str]
    attention_rows: Callable[[str, str, int], list[Row]]
    shortcut: str
    norm_out: str


def _table(config: AutoencoderConfig, style: _Style) -> list[Row]:
    rows, last = [], len(config.widths) - 1
    for part, layout in (("encoder", encoder_layout), ("decoder", decoder_layout)):
        rows += convolution(f"{part}.conv_in", f"{part}/conv_in") + convolution(f"{part}.conv_out", f"{part}/conv_out")
        rows += norm(f"{part}.{style.norm_out}", f"{part}/norm_out")
        for step in layout(config):
            theirs, ours = style.block(part, step, last), f"{part}/{step.name}"
            rows += convolution(theirs, ours) if step.resample else residual_rows(theirs, ours, step.projects, style.shortcut)
            if step.attends:
                rows += style.attention_rows(style.attention(part, step, last), f"{ours}_attention", step.after)
    for present, theirs, ours in (
        (config.project_in, "quant_conv", "project_in"),
        (config.project_out, "post_quant_conv", "project_out"),
    ):
        rows += convolution(theirs, ours) if present else []
    if isinstance(config.bottleneck, VectorConfig):
        rows.append(Row("quantize.embedding.weight", ("bottleneck/embedding",)))
    return rows


def _block(part: str, step: Step, last: int) -> str:
    if step.way == "middle":
        return f"{part}.mid_block.resnets.{step.number}"
    block = f"{part}.{step.way}_blocks.{step.level if step.way == 'down' else last - step.level}"
    return f"{block}.{step.way}samplers.0.conv" if step.resample else f"{block}.resnets.{step.number}"


def _attention(theirs: str, ours: str, width: int) -> list[Row]:
    return norm(f"{theirs}.group_norm", f"{ours}/norm") + attention_rows(theirs, f"{ours}/attention", (1, width))


_DIFFUSERS = _Style(
    _block,
    lambda part, step, last: _block(part, step, last).replace("resnets", "attentions"),
    _attention,
    "conv_shortcut",
    "conv_norm_out",
)
# Names of attention before diffusers 0.15.
_RENAMES = tuple(
    (rf"attentions\.(\d+)\.{old}\.", rf"attentions.\1.{new}.")
    for old, new in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0"))
)


def table(config: AutoencoderConfig) -> Table:
    """The names of diffusers."""
    return Table(tuple(_table(config, _DIFFUSERS)), renames=_RENAMES)


def _taming_block(part: str, step: Step, last: int) -> str:
    if step.way == "middle":
        return f"{part}.mid.block_{step.number + 1}"
    block = f"{part}.{step.way}.{step.level}"
    return f"{block}.{step.way}sample.conv" if step.resample else f"{block}.block.{step.number}"


def _taming_attention(theirs: str, ours: str, width: int) -> list[Row]:
    """Its projections are convolutions of size 1."""
    flat = Chain((Transpose((2, 3, 1, 0)), Merge(0, (1, 1, width))))
    rows = norm(f"{theirs}.norm", f"{ours}/norm")
    for key, name in (("q", "query"), ("k", "key"), ("v", "value")):
        rows.append(Row(f"{theirs}.{key}.weight", (f"{ours}/attention/{name}/kernel",), Chain((flat, Split(1, (1, width))))))
        rows.append(Row(f"{theirs}.{key}.bias", (f"{ours}/attention/{name}/bias",), Split(0, (1, width))))
    rows.append(Row(f"{theirs}.proj_out.weight", (f"{ours}/attention/out/kernel",), Chain((flat, Split(0, (1, width))))))
    return [*rows, Row(f"{theirs}.proj_out.bias", (f"{ours}/attention/out/bias",))]


_TAMING = _Style(
    _taming_block,
    lambda part, step, last: (
        f"{part}.mid.attn_1" if step.way == "middle" else f"{part}.{step.way}.{step.level}.attn.{step.number}"
    ),
    _taming_attention,
    "nin_shortcut",
    "norm_out",
)


def taming_table(config: AutoencoderConfig) -> Table:
    """The names of taming-transformers and latent diffusion, also within a whole model; paths begin with the collection."""
    prefixes = ((r"^(?!first_stage_model\.)(?=model\.|cond_stage_model\.|model_ema\.)", "other."), (r"^first_stage_model\.", ""))
    ignored = (r"loss\..*", r"other\..*", r"(alphas|betas|sqrt|log|posterior|model_ema).*")
    rows = (dataclasses.replace(row, ours=tuple(f"params/{path}" for path in row.ours)) for row in _table(config, _TAMING))
    return Table(tuple(rows), ignored=ignored, renames=prefixes)


def taming_config(shapes: Shapes) -> AutoencoderConfig:
    """The config that the shapes of such tensors tell. The groups of norms are 32, as published, or the most that divide."""
    shapes = Shapes({key.removeprefix("first_stage_model."): shape for key, shape in shapes.items()}, shapes.what, shapes.where)
    levels = _count(shapes, r"encoder\.down\.(\d+)\.block\.0\.conv1\.weight")
    blocks = _count(shapes, r"encoder\.down\.0\.block\.(\d+)\.conv1\.weight")
    shapes.axes("encoder.down.0.block.0.conv1.weight", 4)
    channels, out = shapes["encoder.conv_in.weight"][1], shapes["decoder.conv_out.weight"][0]
    latent = shapes["decoder.conv_in.weight"][1]
    projects = {"project_in": "quant_conv.weight" in shapes, "project_out": "post_quant_conv.weight" in shapes}
    if shapes["encoder.conv_out.weight"][0] == 2 * latent:
        width = shapes["post_quant_conv.weight"][1] if projects["project_out"] else latent
        bottleneck: Any = GaussianConfig(width)
    else:
        bottleneck = VectorConfig(*shapes["quantize.embedding.weight"], "loss")
    widths = tuple(shapes[f"encoder.down.{level}.block.0.conv1.weight"][0] for level in range(levels))
    return AutoencoderConfig(
        bottleneck=bottleneck,
        channels=channels,
        out_channels=0 if out == channels else out,
        widths=widths,
        groups=math.gcd(32, *widths),
        blocks=blocks,
        attention_levels=tuple(level for level in range(levels) if f"encoder.down.{level}.attn.0.q.weight" in shapes),
        middle_attention="encoder.mid.attn_1.q.weight" in shapes,
        latent_channels=latent,
        **projects,
    )


def _count(shapes: Mapping[str, Any], pattern: str) -> int:
    return len({match[1] for key in shapes if (match := re.fullmatch(pattern, key))})


@functools.lru_cache(8)
def shapes(config: AutoencoderConfig) -> dict[str, tuple[int, ...]]:
    image = jax.ShapeDtypeStruct((1, config.factor, config.factor, config.channels), "float32")
    return shapes_of(Autoencoder(config), image)


def disagreements(found: AutoencoderConfig, wanted: AutoencoderConfig) -> list[str]:
    return differences(found, wanted, _MEANING)


FAMILIES = tuple(
    Family(name, name, read, to_json, unfit, table, shapes, disagreements, AutoencoderConfig, "diffusers")
    for name, read, unfit in (
        ("VQModel", vector_from_json, vector_misfits),
        ("AutoencoderKL", gaussian_from_json, gaussian_misfits),
    )
)
