"""Published sizes of GPT, as configurations.

Parameter counts are those of the published checkpoints, with tied tables counted once.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from genjax.layers.position import RopeScaling
from genjax.models.gpt import GPTConfig

_GPT2 = GPTConfig()
_LLAMA = GPTConfig(
    vocab_size=32000,
    context_length=4096,
    position="rotary",
    norm="rmsnorm",
    activation="silu",
    gated=True,
    use_bias=False,
    tie_embeddings=False,
)

GPT_SIZES: Mapping[str, GPTConfig] = MappingProxyType(
    {
        # Radford et al., 2018: post-norm, no norm after the last block. 116,534,784.
        "gpt1_117m": replace(_GPT2, vocab_size=40478, context_length=512, norm_position="post", final_norm=False),
        # Radford et al., 2019. 124,439,808 · 354,823,168 · 774,030,080 · 1,557,611,200.
        "gpt2_124m": _GPT2,
        "gpt2_355m": replace(_GPT2, num_layers=24, num_heads=16, embed_dim=1024),
        "gpt2_774m": replace(_GPT2, num_layers=36, num_heads=20, embed_dim=1280),
        "gpt2_1558m": replace(_GPT2, num_layers=48, num_heads=25, embed_dim=1600),
        # Brown et al., 2020, table 2.1; every layer dense, where the paper alternates dense and banded sparse attention.
        "gpt3_175b": replace(_GPT2, context_length=2048, num_layers=96, num_heads=96, embed_dim=12288, scan_layers=True),
        # Chen et al., 2021 (Codex): the paper names non-embedding parameters and no shapes; these are the shapes of Brown et al.,
        # 2020, table 2.1, and of Kaplan et al., 2020, that have as many.
        **{
            f"codex_{name}": replace(_GPT2, context_length=2048, num_layers=layers, num_heads=heads, embed_dim=width)
            for name, layers, heads, width in (
                ("12m", 4, 8, 512),
                ("25m", 8, 8, 512),
                ("42m", 6, 12, 768),
                ("85m", 12, 12, 768),
                ("300m", 24, 16, 1024),
                ("679m", 24, 16, 1536),
                ("2500m", 32, 32, 2560),
                ("12b", 40, 40, 5120),
            )
        },
        # Llama-3.2-1B. 1,235,814,400.
        "llama_1b": replace(
            _LLAMA,
            vocab_size=128256,
            context_length=131072,
            num_layers=16,
            num_heads=32,
            num_kv_heads=8,
            head_dim=64,
            embed_dim=2048,
            mlp_dim=8192,
            rope_theta=500000.0,
            rope_scaling=RopeScaling(factor=32.0),
            tie_embeddings=True,
        ),
        # Touvron et al., 2023 (Llama 2). 6,738,415,616 · 68,976,648,192.
        "llama_7b": replace(_LLAMA, num_layers=32, num_heads=32, embed_dim=4096, mlp_dim=11008, scan_layers=True),
        "llama_70b": replace(
            _LLAMA, num_layers=80, num_heads=64, num_kv_heads=8, embed_dim=8192, mlp_dim=28672, scan_layers=True
        ),
    }
)
