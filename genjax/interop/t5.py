"""T5 in the layout of transformers, versions 1.0 and 1.1.

The relative bias stands in block 0 of each stack; old files have one for cross-attention too, which nothing reads. Version 1.1
has its own output head. transformers 5 writes `tie_word_embeddings` true for it all the same and marks it by
`scale_decoder_outputs` false.
"""

from collections.abc import Mapping
from typing import Any

import jax

from genjax.interop.family import Family
from genjax.interop.names import Row, Table
from genjax.interop.rows import differences, shapes_of
from genjax.interop.settings import ACTIVATIONS, Settings, misfits, their_activation, zero_if
from genjax.interop.transforms import Chain, Split, Transpose
from genjax.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig

EXPRESSIBLE = {
    "position": ("relative",),
    "norm": ("rmsnorm",),
    "norm_position": ("pre",),
    "activation": tuple(dict.fromkeys(ACTIVATIONS.values())),
    "use_bias": (False,),
    "scale_attention": (False,),
    "scale_embeddings": (False,),
}
# Two models that differ in one of these may have the same tensors, and compute other numbers with them.
_MEANING = (*EXPRESSIBLE, "num_heads", "relative_distance", "norm_epsilon", "gated", "tie_embeddings", "scale_logits", "start_id")


def from_json(values: Mapping[str, Any], where: str) -> EncoderDecoderConfig:
    """Our config from the content of a config.json.

    Raises:
        CheckpointError: names every setting that changes the numbers and that genjax does not have.
    """
    s = Settings(values, where)
    s.require("is_encoder_decoder", True)
    s.require("quantization_config")
    embed_dim, heads, layers = s.integer("d_model", 512), s.integer("num_heads", 8), s.integer("num_layers", 6)
    activation, gated = _projection(s)
    tied = s.boolean("tie_word_embeddings", True) and s.boolean("scale_decoder_outputs", True)
    start = values.get("decoder_start_token_id")
    config = dict(
        vocab_size=s.integer("vocab_size", 32128),
        num_layers=layers,
        num_decoder_layers=zero_if(s.integer("num_decoder_layers", layers), layers),
        num_heads=heads,
        embed_dim=embed_dim,
        head_dim=zero_if(s.integer("d_kv", 64), embed_dim // heads if embed_dim % heads == 0 else 0),
        mlp_dim=zero_if(s.integer("d_ff", 2048), 4 * embed_dim),
        relative_buckets=s.integer("relative_attention_num_buckets", 32),
        relative_distance=s.integer("relative_attention_max_distance", 128),
        norm_epsilon=s.number("layer_norm_epsilon", 1e-6),
        start_id=values.get("pad_token_id") or 0 if start is None else start,
        dropout=s.number("dropout_rate", 0.1),
        init_factor=s.number("initializer_factor", 1.0),
    )
    s.check()
    return EncoderDecoderConfig(activation=activation, gated=gated, tie_embeddings=tied, scale_logits=tied, **config)


def to_json(config: EncoderDecoderConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "d_model": config.embed_dim,
        "d_kv": config.head_width,
        "d_ff": config.hidden_width,
        "num_layers": config.num_layers,
        "num_decoder_layers": config.decoder_layers,
        "num_heads": config.num_heads,
        "relative_attention_num_buckets": config.relative_buckets,
        "relative_attention_max_distance": config.relative_distance,
        "feed_forward_proj": _their_projection(config),
        "layer_norm_epsilon": config.norm_epsilon,
        "dropout_rate": config.dropout,
        "initializer_factor": config.init_factor,
        "is_encoder_decoder": True,
        "tie_word_embeddings": config.tie_embeddings,
        "scale_decoder_outputs": config.scale_logits,
        "decoder_start_token_id": config.start_id,
    }


def unexpressible(config: EncoderDecoderConfig) -> list[str]:
    phrases = misfits(config, EXPRESSIBLE)
    if config.scale_logits != config.tie_embeddings:
        phrases.append(f"scale_logits is {config.scale_logits} (needs {config.tie_embeddings}, as tie_embeddings)")
    return phrases


def table(config: EncoderDecoderConfig) -> Table:
    to_heads = Chain((Transpose(), Split(1, (config.num_heads, config.head_width))))
    from_heads = Chain((Transpose(), Split(0, (config.num_heads, config.head_width))))
    rows = [Row("shared.weight", ("token_embed/embedding",))]
    if not config.tie_embeddings:
        rows.append(Row("lm_head.weight", ("head/kernel",), Transpose()))
    for stack, layers in (("encoder", config.num_layers), ("decoder", config.decoder_layers)):
        block, ours = f"{stack}.block.{{layer}}.layer", f"{stack}/blocks_{{layer}}"
        attentions = [("0.SelfAttention", "attention")]
        if stack == "decoder":
            attentions.append(("1.EncDecAttention", "cross_attention"))
        for theirs, name in attentions:
            for part, kernel in (("q", "query"), ("k", "key"), ("v", "value")):
                rows.append(Row(f"{block}.{theirs}.{part}.weight", (f"{ours}/{name}/{kernel}/kernel",), to_heads, layers))
            rows.append(Row(f"{block}.{theirs}.o.weight", (f"{ours}/{name}/out/kernel",), from_heads, layers))
        last = len(attentions)
        parts = (("wi_0", "gate"), ("wi_1", "up"), ("wo", "down")) if config.gated else (("wi", "up"), ("wo", "down"))
        for theirs, name in parts:
            key = f"{block}.{last}.DenseReluDense.{theirs}.weight"
            rows.append(Row(key, (f"{ours}/mlp/{name}/kernel",), Transpose(), layers))
        norms = ["attention_norm", "cross_norm", "mlp_norm"] if stack == "decoder" else ["attention_norm", "mlp_norm"]
        for number, name in enumerate(norms):
            rows.append(Row(f"{block}.{number}.layer_norm.weight", (f"{ours}/{name}/scale",), layers=layers))
        bias = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        rows.append(Row(bias, (f"{stack}/relative_bias/embedding",)))
        rows.append(Row(f"{stack}.final_layer_norm.weight", (f"{stack}/norm/scale",)))
    tied = "shared.weight", "tie_word_embeddings"
    copies = tuple((f"{stack}.embed_tokens.weight", *tied) for stack in ("encoder", "decoder"))
    if config.tie_embeddings:
        copies += (("lm_head.weight", *tied),)
    return Table(
        tuple(rows),
        ignored=(r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",),
        copies=copies,
    )


def shapes(config: EncoderDecoderConfig) -> dict[str, tuple[int, ...]]:
    tokens = jax.ShapeDtypeStruct((1, 1), "int32")
    return shapes_of(EncoderDecoder(config), tokens, tokens)


def disagreements(found: EncoderDecoderConfig, wanted: EncoderDecoderConfig) -> list[str]:
    return differences(found, wanted, _MEANING)


def _projection(s: Settings) -> tuple[str, bool]:
    """(activation, gated) of `feed_forward_proj`: "relu", "gated-silu"; "gated-gelu" means the tanh approximation."""
    name = s.values.get("feed_forward_proj") or "relu"
    plain = str(name).removeprefix("gated-")
    if plain not in ACTIVATIONS:
        s.problem(f"feed_forward_proj is {name!r}; supported: {', '.join(ACTIVATIONS)}, each also after 'gated-'")
    if name == "gated-gelu":
        return "gelu_tanh", True
    return ACTIVATIONS.get(plain, "relu"), plain != name


def _their_projection(config: EncoderDecoderConfig) -> str:
    if not config.gated:
        return their_activation(config.activation)
    if config.activation == "gelu":
        return "gated-gelu_python"  # "gated-gelu" is taken
    return "gated-gelu" if config.activation == "gelu_tanh" else f"gated-{their_activation(config.activation)}"


FAMILY = Family(
    "t5", "T5ForConditionalGeneration", from_json, to_json, unexpressible, table, shapes, disagreements, EncoderDecoderConfig
)
