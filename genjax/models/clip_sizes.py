"""Published sizes of CLIP, as configurations.

Parameter counts are those of the published checkpoints, both towers, projections and the scale. OpenAI's have quick GELU; LAION's
(H, bigG) have GELU.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from genjax.models.clip import CLIPConfig, CLIPImageConfig, CLIPTextConfig
from genjax.models.clip_resnet import CLIPResNetConfig

_TEXT, _IMAGE = CLIPTextConfig(), CLIPImageConfig()
_LARGE = CLIPConfig(
    replace(_TEXT, num_heads=12, embed_dim=768, projection_dim=768),
    replace(_IMAGE, num_layers=24, num_heads=16, embed_dim=1024, projection_dim=768, patch_size=14),
)

CLIP_SIZES: Mapping[str, CLIPConfig] = MappingProxyType(
    {
        # Radford et al., 2021. 102,007,137 · 151,277,313 · 149,620,737 · 427,616,513 · 427,944,193.
        "clip_rn50": CLIPConfig(replace(_TEXT, projection_dim=1024), resnet=CLIPResNetConfig()),
        "clip_b32": CLIPConfig(),
        "clip_b16": CLIPConfig(image=replace(_IMAGE, patch_size=16)),
        "clip_l14": _LARGE,
        "clip_l14_336": replace(_LARGE, image=replace(_LARGE.image, image_size=336)),
        # Schuhmann et al., 2022, and LAION's release of bigG. 986,109,441 · 2,539,567,105.
        "clip_h14": CLIPConfig(
            replace(_TEXT, num_layers=24, num_heads=16, embed_dim=1024, projection_dim=1024, activation="gelu"),
            replace(_IMAGE, num_layers=32, num_heads=16, embed_dim=1280, projection_dim=1024, patch_size=14, activation="gelu"),
        ),
        "clip_bigg14": CLIPConfig(
            replace(_TEXT, num_layers=32, num_heads=20, embed_dim=1280, projection_dim=1280, activation="gelu"),
            CLIPImageConfig(
                num_layers=48,
                num_heads=16,
                embed_dim=1664,
                mlp_dim=8192,
                projection_dim=1280,
                patch_size=14,
                activation="gelu",
            ),
        ),
    }
)
