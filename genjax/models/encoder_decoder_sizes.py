"""Published sizes of encoder-decoders, as configurations. Parameter counts are those of the published checkpoints."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from genjax.models.encoder_decoder import EncoderDecoderConfig

_T5 = EncoderDecoderConfig()
_T5_1_1 = replace(_T5, activation="gelu_tanh", gated=True, tie_embeddings=False, scale_logits=False)
_ORIGINAL = replace(
    _T5,
    vocab_size=37000,
    position="sinusoidal",
    norm="layernorm",
    norm_position="post",
    use_bias=True,
    scale_attention=True,
    scale_embeddings=True,
    scale_logits=False,
)

ENCODER_DECODER_SIZES: Mapping[str, EncoderDecoderConfig] = MappingProxyType(
    {
        # Vaswani et al., 2017, table 3, with its shared vocabulary of 37,000: 65 and 213 million as the paper counts.
        "transformer_base": _ORIGINAL,
        "transformer_big": replace(_ORIGINAL, num_heads=16, embed_dim=1024, dropout=0.3),
        # Raffel et al., 2020. 60,506,624 · 222,903,552 · 737,668,096 · 2,851,598,336 · 11,307,321,344.
        "t5_small": _T5,
        "t5_base": replace(_T5, num_layers=12, num_heads=12, embed_dim=768),
        "t5_large": replace(_T5, num_layers=24, num_heads=16, embed_dim=1024),
        "t5_3b": replace(_T5, num_layers=24, num_heads=32, embed_dim=1024, head_dim=128, mlp_dim=16384, scan_layers=True),
        "t5_11b": replace(_T5, num_layers=24, num_heads=128, embed_dim=1024, head_dim=128, mlp_dim=65536, scan_layers=True),
        # Version 1.1 (Shazeer, 2020; also mT5's and Flan-T5's shape). 76,961,152 · 247,577,856 · 783,150,080 · 2,849,757,184 ·
        # 11,135,332,352.
        "t5_1_1_small": replace(_T5_1_1, num_layers=8, num_heads=6, head_dim=64, mlp_dim=1024),
        "t5_1_1_base": replace(_T5_1_1, num_layers=12, num_heads=12, embed_dim=768, mlp_dim=2048),
        "t5_1_1_large": replace(_T5_1_1, num_layers=24, num_heads=16, embed_dim=1024, mlp_dim=2816),
        "t5_1_1_xl": replace(_T5_1_1, num_layers=24, num_heads=32, embed_dim=2048, mlp_dim=5120, scan_layers=True),
        "t5_1_1_xxl": replace(_T5_1_1, num_layers=24, num_heads=64, embed_dim=4096, mlp_dim=10240, scan_layers=True),
    }
)
