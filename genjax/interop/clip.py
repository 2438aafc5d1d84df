"""CLIP in the layout of transformers: both towers, or one of them with or without its projection.

A `clip_text_model` is a CLIPTextModel or, where "architectures" says so, a CLIPTextModelWithProjection; the same with images.
Published files have the prefix `text_model.` everywhere; transformers 5 writes a bare tower without it. Old files hold buffers,
`position_ids`.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax

from genjax.interop import towers
from genjax.interop.family import Family
from genjax.interop.names import Row, Table
from genjax.interop.rows import differences, norm, shapes_of
from genjax.interop.settings import Settings
from genjax.interop.transforms import Transpose
from genjax.models.clip import CLIP, CLIPConfig, CLIPImage, CLIPImageConfig, CLIPText, CLIPTextConfig

LEGACY_EOS = 2  # configs of before July 2023: transformers then pools at the largest id, and so do we
IGNORED = (r"(text_model|vision_model)\.embeddings\.position_ids",)


def text_from_json(values: Mapping[str, Any], where: str) -> CLIPTextConfig:
    """Raises CheckpointError: names every setting that changes the numbers and that genjax does not have."""
    s = Settings(values, where)
    config = _text(s, s.integer("projection_dim", 512) if _projects(values) else 0)
    s.check()
    return CLIPTextConfig(**config)


def image_from_json(values: Mapping[str, Any], where: str) -> CLIPImageConfig:
    """Raises CheckpointError: names every setting that changes the numbers and that genjax does not have."""
    s = Settings(values, where)
    config = _image(s, s.integer("projection_dim", 512) if _projects(values) else 0)
    s.check()
    return CLIPImageConfig(**config)


def from_json(values: Mapping[str, Any], where: str) -> CLIPConfig:
    """Raises CheckpointError: names every setting that changes the numbers and that genjax does not have."""
    s = Settings(values, where)
    width = s.integer("projection_dim", 512)
    sections = []
    for name in ("text_config", "vision_config"):
        # Old files have the section twice; the one of this name then wins.
        twice = f"{name}_dict"
        section = Settings(s.section(twice if s.values.get(twice) is not None else name), where)
        sections.append((_text if name == "text_config" else _image)(section, width))
        for problem in section.problems:
            s.problem(f"{name}.{problem}")
    scale = s.number("logit_scale_init_value", 2.6592)
    if scale > math.log(100) + 1e-6:
        s.problem(f"logit_scale_init_value is {scale}, expected at most {math.log(100):.4f}")
    s.check()
    return CLIPConfig(CLIPTextConfig(**sections[0]), CLIPImageConfig(**sections[1]), initial_scale=min(math.exp(scale), 100.0))


def to_json(config: CLIPConfig) -> dict[str, Any]:
    return {
        "text_config": {"model_type": "clip_text_model", **_text_json(config.text)},
        "vision_config": {"model_type": "clip_vision_model", **_image_json(config.image)},
        "projection_dim": config.text.projection_dim,
        "logit_scale_init_value": math.log(config.initial_scale),
    }


def text_to_json(config: CLIPTextConfig) -> dict[str, Any]:
    return {"architectures": [_architecture("CLIPTextModel", config.projection_dim)], **_text_json(config)}


def image_to_json(config: CLIPImageConfig) -> dict[str, Any]:
    return {"architectures": [_architecture("CLIPVisionModel", config.projection_dim)], **_image_json(config)}


def unexpressible(config: CLIPConfig) -> list[str]:
    return [] if config.resnet is None else ["resnet is set (needs None: transformers has CLIP with vision transformers only)"]


def text_rows(config: CLIPTextConfig, ours: str = "") -> list[Row]:
    rows = [
        Row("text_model.embeddings.token_embedding.weight", (f"{ours}token_embed/embedding",)),
        Row("text_model.embeddings.position_embedding.weight", (f"{ours}position_embed/embedding",)),
        *towers.blocks("text_model.", ours, config),
        *norm("text_model.final_layer_norm", f"{ours}final_norm"),
    ]
    if config.projection_dim:
        rows.append(Row("text_projection.weight", (f"{ours}projection/kernel",), Transpose()))
    return rows


def image_rows(config: CLIPImageConfig, ours: str = "") -> list[Row]:
    rows = [
        Row("vision_model.embeddings.class_embedding", (f"{ours}class_embed",)),
        Row("vision_model.embeddings.patch_embedding.weight", (f"{ours}patch_embed/projection/kernel",), Transpose((2, 3, 1, 0))),
        Row("vision_model.embeddings.position_embedding.weight", (f"{ours}position_embed",)),
        *norm("vision_model.pre_layrnorm", f"{ours}pre_norm"),
        *towers.blocks("vision_model.", ours, config),
        *norm("vision_model.post_layernorm", f"{ours}final_norm"),
    ]
    if config.projection_dim:
        rows.append(Row("visual_projection.weight", (f"{ours}projection/kernel",), Transpose()))
    return rows


def table(config: CLIPConfig) -> Table:
    rows = [*text_rows(config.text, "text/"), *image_rows(config.image, "image/"), Row("logit_scale", ("log_scale",))]
    return Table(tuple(rows), ignored=IGNORED)


def text_table(config: CLIPTextConfig) -> Table:
    prefix = ((r"^(?!text_model\.|text_projection\.)", "text_model."),)
    return Table(tuple(text_rows(config)), ignored=IGNORED, renames=prefix)


def image_table(config: CLIPImageConfig) -> Table:
    prefix = ((r"^(?!vision_model\.|visual_projection\.)", "vision_model."),)
    return Table(tuple(image_rows(config)), ignored=IGNORED, renames=prefix)


def shapes(config: CLIPConfig) -> dict[str, tuple[int, ...]]:
    seen = config.image if config.resnet is None else config.resnet
    return shapes_of(CLIP(config), _images(seen.image_size, seen.channels), _TOKENS)


def text_shapes(config: CLIPTextConfig) -> dict[str, tuple[int, ...]]:
    return shapes_of(CLIPText(config), _TOKENS)


def image_shapes(config: CLIPImageConfig) -> dict[str, tuple[int, ...]]:
    return shapes_of(CLIPImage(config), _images(config.image_size, config.channels))


def _text(s: Settings, projection_dim: int) -> dict[str, Any]:
    eos = s.integer("eos_token_id", 49407)
    return dict(
        **towers.read_tower(s, 512, 8, "quick_gelu", 1e-5),
        vocab_size=s.integer("vocab_size", 49408),
        context_length=s.integer("max_position_embeddings", 77),
        eos_id=None if eos == LEGACY_EOS else eos,
        projection_dim=projection_dim,
    )


def _image(s: Settings, projection_dim: int) -> dict[str, Any]:
    tower = towers.read_tower(s, 768, 12, "quick_gelu", 1e-5)
    return dict(**tower, **towers.read_sizes(s, 32), projection_dim=projection_dim)


def _text_json(config: CLIPTextConfig) -> dict[str, Any]:
    return {
        **towers.tower_json(config),
        **_projection_json(config),
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "eos_token_id": LEGACY_EOS if config.eos_id is None else config.eos_id,
    }


def _image_json(config: CLIPImageConfig) -> dict[str, Any]:
    return {
        **towers.tower_json(config),
        **_projection_json(config),
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "num_channels": config.channels,
    }


def _projection_json(config: CLIPTextConfig | CLIPImageConfig) -> dict[str, Any]:
    return {"projection_dim": config.projection_dim} if config.projection_dim else {}


def _projects(values: Mapping[str, Any]) -> bool:
    return any("WithProjection" in name for name in values.get("architectures") or ())


def _architecture(name: str, projection_dim: int) -> str:
    return f"{name}WithProjection" if projection_dim else name


def _images(size: int, channels: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, size, size, channels), "float32")


_TOKENS = jax.ShapeDtypeStruct((1, 1), "int32")
_MEANING = {"text": (*towers.MEANING, "eos_id"), "image": towers.MEANING}
FAMILY = Family(
    "clip",
    "CLIPModel",
    from_json,
    to_json,
    unexpressible,
    table,
    shapes,
    lambda found, wanted: towers.disagreements(found, wanted, _MEANING),
    CLIPConfig,
)
TEXT_FAMILY = Family(
    "clip_text_model",
    "CLIPTextModel",
    text_from_json,
    text_to_json,
    lambda config: [],
    text_table,
    text_shapes,
    lambda found, wanted: differences(found, wanted, _MEANING["text"]),
    CLIPTextConfig,
)
IMAGE_FAMILY = Family(
    "clip_vision_model",
    "CLIPVisionModel",
    image_from_json,
    image_to_json,
    lambda config: [],
    image_table,
    image_shapes,
    lambda found, wanted: differences(found, wanted, _MEANING["image"]),
    CLIPImageConfig,
)
FAMILIES = (FAMILY, TEXT_FAMILY, IMAGE_FAMILY)
