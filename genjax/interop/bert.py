"""BERT in the layout of transformers: `BertModel`, `BertForMaskedLM`, `BertForPreTraining`, `BertForNextSentencePrediction`.

A bare `BertModel` (sentence encoders are such) has no prefix, the others keep it under `bert.`. Published files mostly hold more
heads than their config names: those that our config does not have are left where they are, so that one folder serves an encoder,
a masked language model and both. Old files call a norm's weight and bias gamma and beta.
"""

from collections.abc import Mapping
from typing import Any

import jax

from genjax.interop.family import Family
from genjax.interop.names import Row, Table
from genjax.interop.rows import differences, from_heads, linear, norm, shapes_of, to_heads
from genjax.interop.settings import ACTIVATIONS, Settings, misfits, their_activation, zero_if
from genjax.models.bert import Bert, BertConfig

# Class -> which heads it has: (masked_lm, pooler, next_sentence).
ARCHITECTURES = {
    "BertModel": (False, True, False),
    "BertForMaskedLM": (True, False, False),
    "BertForPreTraining": (True, True, True),
    "BertForNextSentencePrediction": (False, True, True),
}
EXPRESSIBLE = {"activation": tuple(dict.fromkeys(ACTIVATIONS.values()))}
# Two models that differ in one of these may have the same tensors, and compute other numbers with them.
_MEANING = ("num_heads", "norm_epsilon", "activation")


def from_json(values: Mapping[str, Any], where: str) -> BertConfig:
    """Our config from the content of a config.json; its `architectures` say which heads the folder is for.

    `attention_probs_dropout_prob` has no counterpart.

    Raises:
        CheckpointError: names every setting that changes the numbers and that genjax does not have.
    """
    s = Settings(values, where)
    s.require("position_embedding_type", "absolute")
    s.require("is_decoder", False)
    s.require("add_cross_attention", False)
    s.require("tie_word_embeddings", True)
    s.require("quantization_config")
    embed_dim, num_heads = s.integer("hidden_size", 768), s.integer("num_attention_heads", 12)
    if embed_dim % num_heads:
        s.problem(f"hidden_size {embed_dim} does not divide over num_attention_heads {num_heads}")
    named = values.get("architectures") or ["BertModel"]
    if not isinstance(named, list) or named[0] not in ARCHITECTURES:
        s.problem(f"architectures is {named!r}; supported: {', '.join(ARCHITECTURES)}")
        named = ["BertModel"]
    masked_lm, pooler, next_sentence = ARCHITECTURES[named[0]]
    config = dict(
        vocab_size=s.integer("vocab_size", 30522),
        context_length=s.integer("max_position_embeddings", 512),
        token_types=s.integer("type_vocab_size", 2),
        num_layers=s.integer("num_hidden_layers", 12),
        num_heads=num_heads,
        embed_dim=embed_dim,
        mlp_dim=zero_if(s.integer("intermediate_size", 3072), 4 * embed_dim),
        activation=s.activation("hidden_act", "gelu"),
        norm_epsilon=s.number("layer_norm_eps", 1e-12),
        dropout=s.number("hidden_dropout_prob", 0.1),
        init_std=s.number("initializer_range", 0.02),
    )
    s.check()
    return BertConfig(masked_lm=masked_lm, pooler=pooler, next_sentence=next_sentence, **config)


def to_json(config: BertConfig) -> dict[str, Any]:
    return {
        "architectures": [_architecture(config)],
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "type_vocab_size": config.token_types,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "hidden_size": config.embed_dim,
        "intermediate_size": config.hidden_width,
        "hidden_act": their_activation(config.activation),
        "layer_norm_eps": config.norm_epsilon,
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": config.init_std,
        "position_embedding_type": "absolute",
        "tie_word_embeddings": True,
    }


def unexpressible(config: BertConfig) -> list[str]:
    phrases = misfits(config, EXPRESSIBLE)
    if config.masked_lm and config.pooler and not config.next_sentence:
        phrases.append("masked_lm and pooler without next_sentence (no class of transformers has just these; leave one out)")
    return phrases


def table(config: BertConfig) -> Table:
    prefix = "bert." if config.masked_lm or config.next_sentence else ""
    layers, heads = config.num_layers, (config.num_heads, config.head_width)
    block, ours = f"{prefix}encoder.layer.{{layer}}", "blocks_{layer}"

    rows = []
    for theirs, name in (("word", "token_embed"), ("position", "position_embed"), ("token_type", "token_type_embed")):
        rows.append(Row(f"{prefix}embeddings.{theirs}_embeddings.weight", (f"{name}/embedding",)))
    rows += norm(f"{prefix}embeddings.LayerNorm", "embed_norm")
    for part in ("query", "key", "value"):
        rows += to_heads(f"{block}.attention.self.{part}", f"{ours}/attention/{part}", heads, layers)
    rows += from_heads(f"{block}.attention.output.dense", f"{ours}/attention/out", heads, layers)
    rows += norm(f"{block}.attention.output.LayerNorm", f"{ours}/attention_norm", layers)
    rows += linear(f"{block}.intermediate.dense", f"{ours}/mlp/up", layers)
    rows += linear(f"{block}.output.dense", f"{ours}/mlp/down", layers)
    rows += norm(f"{block}.output.LayerNorm", f"{ours}/mlp_norm", layers)

    ignored = [rf"{prefix}embeddings\.position_ids"]
    copies: tuple[tuple[str, str, str], ...] = ()
    if config.masked_lm:
        head = "cls.predictions"
        rows += linear(f"{head}.transform.dense", "transform")
        rows += norm(f"{head}.transform.LayerNorm", "transform_norm")
        rows.append(Row(f"{head}.bias", ("token_bias",)))
        tied = f"{prefix}embeddings.word_embeddings.weight"
        setting = "tie_word_embeddings"
        copies = ((f"{head}.decoder.weight", tied, setting), (f"{head}.decoder.bias", f"{head}.bias", setting))
    else:
        ignored.append(r"cls\.predictions\..*")
    if config.pooler:
        rows += linear(f"{prefix}pooler.dense", "pooler")
    else:
        ignored.append(rf"{prefix}pooler\..*")
    if config.next_sentence:
        rows += linear("cls.seq_relationship", "next_sentence")
    else:
        ignored.append(r"cls\.seq_relationship\..*")
    return Table(
        tuple(rows),
        ignored=tuple(ignored),
        copies=copies,
        renames=(
            (r"LayerNorm\.gamma$", "LayerNorm.weight"),
            (r"LayerNorm\.beta$", "LayerNorm.bias"),
            (r"^(?!bert\.|cls\.)", "bert.") if prefix else (r"^bert\.", ""),
        ),
    )


def shapes(config: BertConfig) -> dict[str, tuple[int, ...]]:
    return shapes_of(Bert(config), jax.ShapeDtypeStruct((1, 1), "int32"))


def disagreements(found: BertConfig, wanted: BertConfig) -> list[str]:
    return differences(found, wanted, _MEANING)


def _architecture(config: BertConfig) -> str:
    """The class with these heads; an encoder without its pooler is a `BertModel` too, which then makes a new one."""
    heads = config.masked_lm, config.pooler, config.next_sentence
    return next((name for name, own in ARCHITECTURES.items() if own == heads), "BertModel")


FAMILY = Family("bert", "BertModel", from_json, to_json, unexpressible, table, shapes, disagreements, BertConfig)
