"""Published sizes of DiT, as configurations (Peebles and Xie, 2023, table 1), for ImageNet's classes in latents of 32x32x4.

In millions of parameters, for patches of 2: S 33, B 130, L 458, XL 675.
"""

from collections.abc import Mapping
from types import MappingProxyType

from genjax.models.dit import DiTConfig

_WIDTHS = {
    "s": dict(num_layers=12, num_heads=6, embed_dim=384),
    "b": dict(num_layers=12, num_heads=12, embed_dim=768),
    "l": dict(num_layers=24, num_heads=16, embed_dim=1024),
    "xl": dict(num_layers=28, num_heads=16, embed_dim=1152),
}

DIT_SIZES: Mapping[str, DiTConfig] = MappingProxyType(
    {f"dit_{name}{patch}": DiTConfig(patch_size=patch, **width) for name, width in _WIDTHS.items() for patch in (2, 4, 8)}
)
