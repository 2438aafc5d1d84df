"""DistilBERT in the layout of transformers: `DistilBertForMaskedLM` (encoder under `distilbert.`), a bare `DistilBertModel`."""

from collections.abc import Mapping
from typing import Any

import jax

from genjax.interop.family import Family
from genjax.interop.names import Row, Table
from genjax.interop.rows import differences, from_heads, linear, norm, shapes_of, to_heads
from genjax.interop.settings import ACTIVATIONS, Settings, misfits, their_activation, zero_if
from genjax.models.distilbert import DistilBert, DistilBertConfig

ARCHITECTURES = {"DistilBertForMaskedLM": True, "DistilBertModel": False}  # class -> whether it has the head for masked words
EXPRESSIBLE = {"activation": tuple(dict.fromkeys(ACTIVATIONS.values()))}


def from_json(values: Mapping[str, Any], where: str) -> DistilBertConfig:
    """Our config from the content of a config.json. `attention_dropout` has no counterpart.

    Raises:
        CheckpointError: names every setting that changes the numbers and that genjax does not have.
    """
    s = Settings(values, where)
    s.require("tie_word_embeddings", True)
    s.require("quantization_config")
    embed_dim, num_heads = s.integer("dim", 768), s.integer("n_heads", 12)
    if embed_dim % num_heads:
        s.problem(f"dim {embed_dim} does not divide over n_heads {num_heads}")
    named = (values.get("architectures") or ["DistilBertModel"])[0]
    if named not in ARCHITECTURES:
        s.problem(f"architectures is {named!r}; supported: {', '.join(ARCHITECTURES)}")
    config = dict(
        vocab_size=s.integer("vocab_size", 30522),
        context_length=s.integer("max_position_embeddings", 512),
        num_layers=s.integer("n_layers", 6),
        num_heads=num_heads,
        embed_dim=embed_dim,
        mlp_dim=zero_if(s.integer("hidden_dim", 3072), 4 * embed_dim),
        activation=s.activation("activation", "gelu"),
        dropout=s.number("dropout", 0.1),
        init_std=s.number("initializer_range", 0.02),
    )
    s.check()
    return DistilBertConfig(masked_lm=ARCHITECTURES[named], **config)


def to_json(config: DistilBertConfig) -> dict[str, Any]:
    return {
        "architectures": ["DistilBertForMaskedLM" if config.masked_lm else "DistilBertModel"],
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "n_layers": config.num_layers,
        "n_heads": config.num_heads,
        "dim": config.embed_dim,
        "hidden_dim": config.hidden_width,
        "activation": their_activation(config.activation),
        "dropout": config.dropout,
        "attention_dropout": 0.0,
        "initializer_range": config.init_std,
        "tie_word_embeddings": True,
    }


def table(config: DistilBertConfig) -> Table:
    prefix = "distilbert." if config.masked_lm else ""
    layers, heads = config.num_layers, (config.num_heads, config.head_width)
    words, block, ours = f"{prefix}embeddings", f"{prefix}transformer.layer.{{layer}}", "blocks_{layer}"
    rows = [
        Row(f"{words}.word_embeddings.weight", ("token_embed/embedding",)),
        Row(f"{words}.position_embeddings.weight", ("position_embed/embedding",)),
        *norm(f"{words}.LayerNorm", "embed_norm"),
    ]
    for theirs, part in (("q_lin", "query"), ("k_lin", "key"), ("v_lin", "value")):
        rows += to_heads(f"{block}.attention.{theirs}", f"{ours}/attention/{part}", heads, layers)
    rows += from_heads(f"{block}.attention.out_lin", f"{ours}/attention/out", heads, layers)
    rows += norm(f"{block}.sa_layer_norm", f"{ours}/attention_norm", layers)
    rows += linear(f"{block}.ffn.lin1", f"{ours}/mlp/up", layers)
    rows += linear(f"{block}.ffn.lin2", f"{ours}/mlp/down", layers)
    rows += norm(f"{block}.output_layer_norm", f"{ours}/mlp_norm", layers)
    if not config.masked_lm:
        return Table(tuple(rows), ignored=(r"vocab_.*",), renames=((r"^distilbert\.", ""),))
    rows += linear("vocab_transform", "transform")
    rows += norm("vocab_layer_norm", "transform_norm")
    rows.append(Row("vocab_projector.bias", ("token_bias",)))
    tied = ("vocab_projector.weight", f"{words}.word_embeddings.weight", "tie_word_embeddings")
    return Table(tuple(rows), copies=(tied,), renames=((r"^(?!distilbert\.|vocab_)", "distilbert."),))


def shapes(config: DistilBertConfig) -> dict[str, tuple[int, ...]]:
    return shapes_of(DistilBert(config), jax.ShapeDtypeStruct((1, 1), "int32"))


FAMILY = Family(
    "distilbert",
    "DistilBertModel",
    from_json,
    to_json,
    lambda config: misfits(config, EXPRESSIBLE),
    table,
    shapes,
    lambda found, wanted: differences(found, wanted, ("num_heads", "activation")),
    DistilBertConfig,
)
