"""Whisper in the layout of transformers, `WhisperForConditionalGeneration` (or a bare `WhisperModel`).

A convolution's kernel (features out, features in, 3) is ours (3, features in, features out). Keys have no bias. The output head
is the table of tokens, which old files also hold as `proj_out.weight`.
"""

from collections.abc import Mapping
from typing import Any

import jax

from genjax.interop.family import Family
from genjax.interop.names import Row, Table
from genjax.interop.rows import differences, from_heads, linear, norm, shapes_of, to_heads
from genjax.interop.settings import ACTIVATIONS, Settings, misfits, their_activation, zero_if
from genjax.interop.transforms import Transpose
from genjax.models.whisper import Whisper, WhisperConfig

EXPRESSIBLE = {"activation": tuple(dict.fromkeys(ACTIVATIONS.values()))}
# Two models that differ in one of these may have the same tensors, and compute other numbers with them.
_MEANING = ("num_heads", "activation", "start_id")


def from_json(values: Mapping[str, Any], where: str) -> WhisperConfig:
    """Our config from the content of a config.json. Dropout within attention and MLP, and of whole layers, has no counterpart.

    Raises:
        CheckpointError: names every setting that changes the numbers and that genjax does not have.
    """
    s = Settings(values, where)
    s.require("is_encoder_decoder", True)
    s.require("scale_embedding", False)
    s.require("tie_word_embeddings", True)
    s.require("quantization_config")
    embed_dim, heads = s.integer("d_model", 384), s.integer("encoder_attention_heads", 6)
    mlp_dim, layers = s.integer("encoder_ffn_dim", 1536), s.integer("encoder_layers", 4)
    s.require("decoder_attention_heads", heads)
    s.require("decoder_ffn_dim", mlp_dim)
    if embed_dim % heads:
        s.problem(f"d_model {embed_dim} does not divide over encoder_attention_heads {heads}")
    start = values.get("decoder_start_token_id")
    config = dict(
        vocab_size=s.integer("vocab_size", 51865),
        num_mels=s.integer("num_mel_bins", 80),
        source_length=s.integer("max_source_positions", 1500),
        target_length=s.integer("max_target_positions", 448),
        num_layers=layers,
        num_decoder_layers=zero_if(s.integer("decoder_layers", 4), layers),
        num_heads=heads,
        embed_dim=embed_dim,
        mlp_dim=zero_if(mlp_dim, 4 * embed_dim),
        activation=s.activation("activation_function", "gelu"),
        start_id=50257 if start is None else start,
        dropout=s.number("dropout", 0.0),
        init_std=s.number("init_std", 0.02),
    )
    s.check()
    return WhisperConfig(**config)


def to_json(config: WhisperConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "num_mel_bins": config.num_mels,
        "max_source_positions": config.source_length,
        "max_target_positions": config.target_length,
        "encoder_layers": config.num_layers,
        "num_hidden_layers": config.num_layers,
        "decoder_layers": config.decoder_layers,
        "encoder_attention_heads": config.num_heads,
        "decoder_attention_heads": config.num_heads,
        "d_model": config.embed_dim,
        "encoder_ffn_dim": config.hidden_width,
        "decoder_ffn_dim": config.hidden_width,
        "activation_function": their_activation(config.activation),
        "decoder_start_token_id": config.start_id,
        "dropout": config.dropout,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "init_std": config.init_std,
        "is_encoder_decoder": True,
        "scale_embedding": False,
        "tie_word_embeddings": True,
        # Their defaults are ids of the published vocabulary, which another has no rows for.
        "pad_token_id": None,
        "begin_suppress_tokens": None,
    }


def unexpressible(config: WhisperConfig) -> list[str]:
    return misfits(config, EXPRESSIBLE)


def table(config: WhisperConfig) -> Table:
    heads = (config.num_heads, config.head_width)
    rows = [
        Row("model.encoder.embed_positions.weight", ("source_positions/embedding",)),
        Row("model.decoder.embed_tokens.weight", ("token_embed/embedding",)),
        Row("model.decoder.embed_positions.weight", ("position_embed/embedding",)),
    ]
    for number in (0, 1):
        theirs, ours = f"model.encoder.conv{number + 1}", f"convolutions_{number}/projection"
        rows += [Row(f"{theirs}.weight", (f"{ours}/kernel",), Transpose((2, 1, 0))), Row(f"{theirs}.bias", (f"{ours}/bias",))]
    for stack, layers in (("encoder", config.num_layers), ("decoder", config.decoder_layers)):
        block, ours = f"model.{stack}.layers.{{layer}}", f"{stack}/blocks_{{layer}}"
        attentions = [("self_attn", "attention", "attention_norm")]
        if stack == "decoder":
            attentions.append(("encoder_attn", "cross_attention", "cross_norm"))
        for theirs, name, norm_name in attentions:
            for part, kernel in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value")):
                both = to_heads(f"{block}.{theirs}.{part}", f"{ours}/{name}/{kernel}", heads, layers)
                rows += both[:1] if kernel == "key" else both
            rows += from_heads(f"{block}.{theirs}.out_proj", f"{ours}/{name}/out", heads, layers)
            rows += norm(f"{block}.{theirs}_layer_norm", f"{ours}/{norm_name}", layers)
        rows += linear(f"{block}.fc1", f"{ours}/mlp/up", layers)
        rows += linear(f"{block}.fc2", f"{ours}/mlp/down", layers)
        rows += norm(f"{block}.final_layer_norm", f"{ours}/mlp_norm", layers)
        rows += norm(f"model.{stack}.layer_norm", f"{stack}/norm")
    return Table(
        tuple(rows),
        copies=(("proj_out.weight", "model.decoder.embed_tokens.weight", "tie_word_embeddings"),),
        renames=((r"^(?!model\.|proj_out\.)", "model."),),
    )


def shapes(config: WhisperConfig) -> dict[str, tuple[int, ...]]:
    features = jax.ShapeDtypeStruct((1, 2, config.num_mels), "float32")
    return shapes_of(Whisper(config), features, jax.ShapeDtypeStruct((1, 1), "int32"))


def disagreements(found: WhisperConfig, wanted: WhisperConfig) -> list[str]:
    return differences(found, wanted, _MEANING)


FAMILY = Family(
    "whisper", "WhisperForConditionalGeneration", from_json, to_json, unexpressible, table, shapes, disagreements, WhisperConfig
)
