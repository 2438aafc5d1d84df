"""GPT-2 in the layout of transformers.

Its projections are `Conv1D` with kernels (in, out), as ours are: nothing is transposed. Query, key and value are one tensor,
`c_attn`, side by side along its outputs. Old files carry the causal masks `attn.bias` and `attn.masked_bias`, and lack the
`transformer.` prefix; the head is tied to the token embedding and mostly not saved.
"""

from collections.abc import Mapping
from typing import Any

from genjax.interop import gpt
from genjax.interop.family import Family
from genjax.interop.names import Row, Table
from genjax.interop.settings import ACTIVATIONS, Settings, misfits, their_activation, zero_if
from genjax.interop.transforms import Chain, Fused, Split, Transpose
from genjax.models.gpt import GPTConfig

EXPRESSIBLE = {
    "position": ("learned",),
    "norm": ("layernorm",),
    "norm_position": ("pre",),
    "final_norm": (True,),
    "activation": tuple(dict.fromkeys(ACTIVATIONS.values())),
    "gated": (False,),
    "use_bias": (True,),
    "sliding_window": (0,),
}


def from_json(values: Mapping[str, Any], where: str) -> GPTConfig:
    """Our config from the content of a config.json.

    Our one dropout rate is theirs of embeddings and residuals where these two agree, else 0; attention weights have none.

    Raises:
        CheckpointError: names every setting that changes the numbers and that genjax does not have.
    """
    s = Settings(values, where)
    s.require("scale_attn_weights", True)
    s.require("scale_attn_by_inverse_layer_idx", False)
    s.require("add_cross_attention", False)
    s.require("quantization_config")
    embed_dim, num_heads = s.integer("n_embd", 768), s.integer("n_head", 12)
    if embed_dim % num_heads:
        s.problem(f"n_embd {embed_dim} does not divide over n_head {num_heads}")
    rates = {s.number(key, 0.1) for key in ("resid_pdrop", "embd_pdrop")}
    config = dict(
        vocab_size=s.integer("vocab_size", 50257),
        context_length=s.integer("n_positions", 1024),
        num_layers=s.integer("n_layer", 12),
        num_heads=num_heads,
        embed_dim=embed_dim,
        mlp_dim=zero_if(s.integer("n_inner", 4 * embed_dim), 4 * embed_dim),
        norm_epsilon=s.number("layer_norm_epsilon", 1e-5),
        activation=s.activation("activation_function", "gelu_new"),
        tie_embeddings=s.boolean("tie_word_embeddings", True),
        dropout=rates.pop() if len(rates) == 1 else 0.0,
        init_std=s.number("initializer_range", 0.02),
    )
    s.check()
    return GPTConfig(
        num_kv_heads=0,
        head_dim=0,
        position="learned",
        norm="layernorm",
        norm_position="pre",
        final_norm=True,
        gated=False,
        use_bias=True,
        **config,
    )


def to_json(config: GPTConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "n_positions": config.context_length,
        "n_embd": config.embed_dim,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "n_inner": config.mlp_dim or None,
        "activation_function": their_activation(config.activation),
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": 0.0,
        "layer_norm_epsilon": config.norm_epsilon,
        "initializer_range": config.init_std,
        "tie_word_embeddings": config.tie_embeddings,
    }


def unexpressible(config: GPTConfig) -> list[str]:
    phrases = misfits(config, EXPRESSIBLE)
    if config.kv_heads != config.num_heads:
        phrases.append(f"num_kv_heads is {config.num_kv_heads} (needs {config.num_heads}, one for each query head)")
    if config.head_width * config.num_heads != config.embed_dim:
        phrases.append(f"head_dim is {config.head_width} (needs embed_dim {config.embed_dim} / num_heads {config.num_heads})")
    return phrases


def table(config: GPTConfig) -> Table:
    layers, width = config.num_layers, config.embed_dim
    heads = (config.num_heads, config.head_width)
    parts = ("query", "key", "value")
    block, attention, mlp = "transformer.h.{layer}", "blocks_{layer}/attention", "blocks_{layer}/mlp"
    rows = [
        Row("transformer.wte.weight", ("token_embed/embedding",)),
        Row("transformer.wpe.weight", ("position_embed/embedding",)),
        Row(
            f"{block}.attn.c_attn.weight",
            tuple(f"{attention}/{part}/kernel" for part in parts),
            Chain((Fused(1, (width,) * 3), Split(1, heads))),
            layers,
        ),
        Row(
            f"{block}.attn.c_attn.bias",
            tuple(f"{attention}/{part}/bias" for part in parts),
            Chain((Fused(0, (width,) * 3), Split(0, heads))),
            layers,
        ),
        Row(f"{block}.attn.c_proj.weight", (f"{attention}/out/kernel",), Split(0, heads), layers),
        Row(f"{block}.attn.c_proj.bias", (f"{attention}/out/bias",), layers=layers),
        Row("transformer.ln_f.weight", ("final_norm/scale",)),
        Row("transformer.ln_f.bias", ("final_norm/bias",)),
    ]
    for theirs, ours in (("ln_1", "attention_norm"), ("ln_2", "mlp_norm")):
        rows.append(Row(f"{block}.{theirs}.weight", (f"blocks_{{layer}}/{ours}/scale",), layers=layers))
        rows.append(Row(f"{block}.{theirs}.bias", (f"blocks_{{layer}}/{ours}/bias",), layers=layers))
    for theirs, ours in (("c_fc", "up"), ("c_proj", "down")):
        rows.append(Row(f"{block}.mlp.{theirs}.weight", (f"{mlp}/{ours}/kernel",), layers=layers))
        rows.append(Row(f"{block}.mlp.{theirs}.bias", (f"{mlp}/{ours}/bias",), layers=layers))
    if not config.tie_embeddings:
        rows.append(Row("lm_head.weight", ("head/kernel",), Transpose()))
    tied = (("lm_head.weight", "transformer.wte.weight", "tie_word_embeddings"),)
    return Table(
        tuple(rows),
        ignored=(r"transformer\.h\.\d+\.attn\.(bias|masked_bias)",),
        copies=tied if config.tie_embeddings else (),
        renames=((r"^(?!transformer\.|lm_head\.)", "transformer."),),
    )


FAMILY = Family("gpt2", "GPT2LMHeadModel", from_json, to_json, unexpressible, table, gpt.shapes, gpt.disagreements, GPTConfig)
