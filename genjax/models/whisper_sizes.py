"""Published sizes of Whisper, as configurations. Parameter counts are those of the published checkpoints."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from genjax.models.whisper import WhisperConfig

_TINY = WhisperConfig()
_LARGE = replace(_TINY, num_layers=32, num_heads=20, embed_dim=1280, scan_layers=True)

WHISPER_SIZES: Mapping[str, WhisperConfig] = MappingProxyType(
    {
        # Radford et al., 2022, table 1, and the versions of large since then.
        # 37,760,640 · 72,593,920 · 241,734,912 · 763,857,920 · 1,543,304,960 · 1,543,490,560 · 808,878,080.
        "whisper_tiny": _TINY,
        "whisper_base": replace(_TINY, num_layers=6, num_heads=8, embed_dim=512),
        "whisper_small": replace(_TINY, num_layers=12, num_heads=12, embed_dim=768),
        "whisper_medium": replace(_TINY, num_layers=24, num_heads=16, embed_dim=1024),
        "whisper_large": _LARGE,
        "whisper_large_v3": replace(_LARGE, vocab_size=51866, num_mels=128),
        "whisper_large_v3_turbo": replace(_LARGE, vocab_size=51866, num_mels=128, num_decoder_layers=4),
    }
)
