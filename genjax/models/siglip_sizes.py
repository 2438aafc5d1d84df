"""Published sizes of SigLIP, as configurations (Zhai et al., 2023). Parameter counts are those of both towers, scale and bias."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from genjax.models.siglip import SigLIPConfig, SigLIPImageConfig, SigLIPTextConfig


def _size(layers: int, heads: int, width: int, mlp_dim: int, image_size: int, patch_size: int, length: int = 64) -> SigLIPConfig:
    tower = dict(num_layers=layers, num_heads=heads, embed_dim=width, mlp_dim=mlp_dim)
    return SigLIPConfig(
        SigLIPTextConfig(**tower, projection_dim=width, context_length=length),
        SigLIPImageConfig(**tower, image_size=image_size, patch_size=patch_size),
    )


_B16 = SigLIPConfig()

SIGLIP_SIZES: Mapping[str, SigLIPConfig] = MappingProxyType(
    {
        # 203,155,970 · 203,202,050 · 652,150,786.
        "siglip_b16": _B16,
        "siglip_b16_256": replace(_B16, image=replace(_B16.image, image_size=256)),
        "siglip_l16_256": _size(24, 16, 1024, 0, 256, 16),
        # Alabdulmohsin et al., 2023, shape-optimized. 877,360,306 · 877,960,498.
        "siglip_so400m": _size(27, 16, 1152, 4304, 224, 14, length=16),
        "siglip_so400m_384": _size(27, 16, 1152, 4304, 384, 14),
    }
)
