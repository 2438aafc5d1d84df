"""Llama-type models in the layout of transformers.

Projections are torch Linear layers (out, in) and are transposed. Rotary pairs are halves of a head (feature i with i + width / 2)
on both sides: unlike Meta's original files nothing is permuted. Transformers 4 writes `rope_theta` and `rope_scaling`,
transformers 5 writes `rope_parameters`; both are read, and both are written.
"""

from collections.abc import Mapping
from typing import Any

from genjax.interop import gpt
from genjax.interop.family import Family
from genjax.interop.names import Row, Table
from genjax.interop.settings import ACTIVATIONS, Settings, misfits, their_activation, zero_if
from genjax.interop.transforms import Chain, Split, Transpose
from genjax.layers.position import RopeScaling
from genjax.models.gpt import GPTConfig

EXPRESSIBLE = {
    "position": ("rotary",),
    "norm": ("rmsnorm",),
    "norm_position": ("pre",),
    "final_norm": (True,),
    "activation": tuple(dict.fromkeys(ACTIVATIONS.values())),
    "gated": (True,),
    "use_bias": (False,),
    "sliding_window": (0,),
}


def from_json(values: Mapping[str, Any], where: str) -> GPTConfig:
    """Our config from the content of a config.json. `attention_dropout` has no counterpart: dropout is 0.

    Raises:
        CheckpointError: names every setting that changes the numbers and that genjax does not have.
    """
    s = Settings(values, where)
    s.require("attention_bias", False)
    s.require("mlp_bias", False)
    s.require("quantization_config")
    embed_dim, num_heads = s.integer("hidden_size", 4096), s.integer("num_attention_heads", 32)
    num_kv_heads = s.integer("num_key_value_heads", num_heads)
    if num_heads % num_kv_heads:
        s.problem(f"num_attention_heads {num_heads} does not divide over num_key_value_heads {num_kv_heads}")
    head_dim = s.integer("head_dim", max(1, embed_dim // num_heads))
    if head_dim % 2:
        s.problem(f"head_dim is {head_dim}, but rotary positions need an even one")
    mlp_dim, context_length = s.integer("intermediate_size", 11008), s.integer("max_position_embeddings", 2048)
    theta, scaling = _rope(s, context_length)
    config = dict(
        vocab_size=s.integer("vocab_size", 32000),
        context_length=context_length,
        num_layers=s.integer("num_hidden_layers", 32),
        num_heads=num_heads,
        num_kv_heads=zero_if(num_kv_heads, num_heads),
        head_dim=zero_if(head_dim, embed_dim // num_heads),
        embed_dim=embed_dim,
        mlp_dim=zero_if(mlp_dim, 4 * embed_dim),
        rope_theta=theta,
        rope_scaling=scaling,
        norm_epsilon=s.number("rms_norm_eps", 1e-6),
        activation=s.activation("hidden_act", "silu"),
        tie_embeddings=s.boolean("tie_word_embeddings", False),
        init_std=s.number("initializer_range", 0.02),
    )
    s.check()
    return GPTConfig(
        position="rotary",
        norm="rmsnorm",
        norm_position="pre",
        final_norm=True,
        gated=True,
        use_bias=False,
        **config,
    )


def to_json(config: GPTConfig) -> dict[str, Any]:
    rope: dict[str, Any] = {"rope_type": "default"}
    if config.rope_scaling is not None:
        rope = {
            "rope_type": "llama3",
            "factor": config.rope_scaling.factor,
            "low_freq_factor": config.rope_scaling.low_freq_factor,
            "high_freq_factor": config.rope_scaling.high_freq_factor,
            "original_max_position_embeddings": config.rope_scaling.original_context_length,
        }
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "hidden_size": config.embed_dim,
        "intermediate_size": config.hidden_width,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "hidden_act": their_activation(config.activation),
        "rms_norm_eps": config.norm_epsilon,
        "initializer_range": config.init_std,
        "tie_word_embeddings": config.tie_embeddings,
        "attention_bias": False,
        "mlp_bias": False,
        "rope_theta": config.rope_theta,
        "rope_scaling": rope if config.rope_scaling is not None else None,
        "rope_parameters": {**rope, "rope_theta": config.rope_theta},
    }


def unexpressible(config: GPTConfig) -> list[str]:
    phrases = misfits(config, EXPRESSIBLE)
    if config.embed_dim % config.num_heads:
        phrases.append(f"embed_dim {config.embed_dim} does not divide over num_heads {config.num_heads}, which transformers asks")
    return phrases


def table(config: GPTConfig) -> Table:
    layers = config.num_layers
    block, attention, mlp = "model.layers.{layer}", "blocks_{layer}/attention", "blocks_{layer}/mlp"
    rows = [Row("model.embed_tokens.weight", ("token_embed/embedding",)), Row("model.norm.weight", ("final_norm/scale",))]
    for theirs, ours in (("input_layernorm", "attention_norm"), ("post_attention_layernorm", "mlp_norm")):
        rows.append(Row(f"{block}.{theirs}.weight", (f"blocks_{{layer}}/{ours}/scale",), layers=layers))
    to_heads = Chain((Transpose(), Split(1, (-1, config.head_width))))
    for theirs, ours in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value")):
        rows.append(Row(f"{block}.self_attn.{theirs}.weight", (f"{attention}/{ours}/kernel",), to_heads, layers))
    from_heads = Chain((Transpose(), Split(0, (-1, config.head_width))))
    rows.append(Row(f"{block}.self_attn.o_proj.weight", (f"{attention}/out/kernel",), from_heads, layers))
    for part in ("gate", "up", "down"):
        rows.append(Row(f"{block}.mlp.{part}_proj.weight", (f"{mlp}/{part}/kernel",), Transpose(), layers))
    if not config.tie_embeddings:
        rows.append(Row("lm_head.weight", ("head/kernel",), Transpose()))
    tied = (("lm_head.weight", "model.embed_tokens.weight", "tie_word_embeddings"),)
    return Table(
        tuple(rows),
        ignored=(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq", r"model\.rotary_emb\.inv_freq"),
        copies=tied if config.tie_embeddings else (),
        renames=((r"^(?!model\.|lm_head\.)", "model."),),
    )


def _rope(s: Settings, context_length: int) -> tuple[float, RopeScaling | None]:
    """(theta, scaling) in the order of precedence of transformers: a value in the section wins over one beside it."""
    name = "rope_scaling" if s.values.get("rope_scaling") else "rope_parameters"
    rope = Settings(s.section(name), name)
    theta = rope.number("rope_theta", s.number("rope_theta", 10000.0))
    kind = rope.values.get("rope_type") or rope.values.get("type") or "default"
    scaling = None
    if kind == "llama3":
        length = rope.integer("original_max_position_embeddings", context_length)
        scaling = RopeScaling(
            factor=_needed(rope, "factor"),
            low_freq_factor=_needed(rope, "low_freq_factor"),
            high_freq_factor=_needed(rope, "high_freq_factor"),
            original_context_length=s.integer("original_max_position_embeddings", length),
        )
        if scaling.high_freq_factor <= scaling.low_freq_factor:
            rope.problem("high_freq_factor must be above low_freq_factor")
    elif kind != "default":
        rope.problem(f"rope_type is {kind!r}; supported: 'default' or 'llama3'")
    for section in (s, rope):
        section.require("partial_rotary_factor", 1.0)
    for problem in rope.problems:
        s.problem(f"{name}.{problem}")
    return theta, scaling


def _needed(rope: Settings, key: str) -> float:
    if key not in rope.values:
        rope.problem(f"{key} is not set, which llama3 needs")
        return 1.0
    return rope.number(key, 1.0)


FAMILY = Family("llama", "LlamaForCausalLM", from_json, to_json, unexpressible, table, gpt.shapes, gpt.disagreements, GPTConfig)
