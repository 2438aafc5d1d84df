"""SigLIP in the layout of transformers, where query, key and value of the pooling attention are one tensor."""

from collections.abc import Mapping
from typing import Any

import jax

from genjax.interop import lazy, towers
from genjax.interop.family import Family
from genjax.interop.names import Row, Table
from genjax.interop.rows import from_heads, linear, norm, shapes_of
from genjax.interop.settings import Settings
from genjax.interop.transforms import Arrays, Chain, Fused, Merge, Split, Transpose
from genjax.models.siglip import SigLIP, SigLIPConfig, SigLIPImageConfig, SigLIPTextConfig


class One:
    """A tensor with one entry, (1,), is our number, ()."""

    def to_ours(self, arrays: Arrays) -> Arrays:
        return tuple(lazy.take(a, 0) for a in arrays)

    def to_theirs(self, arrays: Arrays) -> Arrays:
        return tuple(lazy.stack([a]) for a in arrays)


def from_json(values: Mapping[str, Any], where: str) -> SigLIPConfig:
    """Raises CheckpointError: names every setting that changes the numbers and that genjax does not have."""
    s = Settings(values, where)
    text, image = Settings(s.section("text_config"), where), Settings(s.section("vision_config"), where)
    image.require("vision_use_head", True)
    image_fields = dict(**towers.read_tower(image, 768, 12, "gelu_pytorch_tanh", 1e-6), **towers.read_sizes(image, 16))
    text_fields = dict(
        **towers.read_tower(text, 768, 12, "gelu_pytorch_tanh", 1e-6),
        vocab_size=text.integer("vocab_size", 32000),
        context_length=text.integer("max_position_embeddings", 64),
    )
    text_fields["projection_dim"] = text.integer("projection_size", text_fields["embed_dim"])
    if text_fields["projection_dim"] != image_fields["embed_dim"]:
        s.problem(
            f"text_config.projection_size is {text_fields['projection_dim']} and vision_config.hidden_size "
            f"{image_fields['embed_dim']}, expected the same number"
        )
    for name, section in (("text_config", text), ("vision_config", image)):
        for problem in section.problems:
            s.problem(f"{name}.{problem}")
    s.check()
    return SigLIPConfig(SigLIPTextConfig(**text_fields), SigLIPImageConfig(**image_fields))


def to_json(config: SigLIPConfig) -> dict[str, Any]:
    text, image = config.text, config.image
    return {
        "text_config": {
            "model_type": "siglip_text_model",
            **towers.tower_json(text),
            "vocab_size": text.vocab_size,
            "max_position_embeddings": text.context_length,
            "projection_size": text.projection_dim,
        },
        "vision_config": {
            "model_type": "siglip_vision_model",
            **towers.tower_json(image),
            "image_size": image.image_size,
            "patch_size": image.patch_size,
            "num_channels": image.channels,
        },
    }


def table(config: SigLIPConfig) -> Table:
    text, image = config.text, config.image
    width, heads = image.embed_dim, (image.num_heads, image.embed_dim // image.num_heads)
    three = tuple(f"image/pool_attention/{part}" for part in ("query", "key", "value"))
    pool = "vision_model.head.attention"
    rows = [
        Row("text_model.embeddings.token_embedding.weight", ("text/token_embed/embedding",)),
        Row("text_model.embeddings.position_embedding.weight", ("text/position_embed/embedding",)),
        *towers.blocks("text_model.", "text/", text),
        *norm("text_model.final_layer_norm", "text/final_norm"),
        *linear("text_model.head", "text/projection"),
        Row("vision_model.embeddings.patch_embedding.weight", ("image/patch_embed/projection/kernel",), Transpose((2, 3, 1, 0))),
        Row("vision_model.embeddings.patch_embedding.bias", ("image/patch_embed/projection/bias",)),
        Row("vision_model.embeddings.position_embedding.weight", ("image/position_embed",)),
        *towers.blocks("vision_model.", "image/", image),
        *norm("vision_model.post_layernorm", "image/final_norm"),
        Row("vision_model.head.probe", ("image/probe",), Merge(0, (1, 1, width))),
        Row(
            f"{pool}.in_proj_weight",
            tuple(f"{part}/kernel" for part in three),
            Chain((Fused(0, (width,) * 3), Transpose(), Split(1, heads))),
        ),
        Row(f"{pool}.in_proj_bias", tuple(f"{part}/bias" for part in three), Chain((Fused(0, (width,) * 3), Split(0, heads)))),
        *from_heads(f"{pool}.out_proj", "image/pool_attention/out", heads),
        *norm("vision_model.head.layernorm", "image/pool_norm"),
        *linear("vision_model.head.mlp.fc1", "image/pool_mlp/up"),
        *linear("vision_model.head.mlp.fc2", "image/pool_mlp/down"),
        Row("logit_scale", ("log_scale",), One()),
        Row("logit_bias", ("logit_bias",), One()),
    ]
    return Table(tuple(rows), ignored=(r"(text_model|vision_model)\.embeddings\.position_ids",))


def shapes(config: SigLIPConfig) -> dict[str, tuple[int, ...]]:
    size = config.image.image_size
    images = jax.ShapeDtypeStruct((1, size, size, config.image.channels), "float32")
    return shapes_of(SigLIP(config), images, jax.ShapeDtypeStruct((1, 1), "int32"))


def disagreements(found: SigLIPConfig, wanted: SigLIPConfig) -> list[str]:
    return towers.disagreements(found, wanted, {"text": towers.MEANING, "image": towers.MEANING})


def unexpressible(config: SigLIPConfig) -> list[str]:
    return []


FAMILY = Family("siglip", "SiglipModel", from_json, to_json, unexpressible, table, shapes, disagreements, SigLIPConfig)
