"""Published sizes of StyleGAN2, as configurations: the base configurations of StyleGAN2-ADA's public code.

Parameter counts are those of the generator, with its mapping, and of the discriminator. What they were trained with beside, in
the order of the table: weights of R1 10, 1, 0.5, 2, 0.01; batches of 32, 64, 64, 32, 64; learning rates 0.002, 0.0025, 0.0025,
0.002, 0.0025. CIFAR-10's has no path-length penalty and mixes no styles. All computed the four highest resolutions in float16:
set dtype.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from genjax.models.style_config import StyleGAN2Config

_F = StyleGAN2Config(conv_clamp=256.0)

STYLE_SIZES: Mapping[str, StyleGAN2Config] = MappingProxyType(
    {
        # Configuration F of StyleGAN2. 30,370,060 · 29,012,513.
        "stylegan2": _F,
        # FFHQ and LSUN at 256x256: half the channels. 24,767,458 · 24,001,089.
        "paper256": replace(_F, image_size=256, channel_base=16384, mbstd_group_size=8),
        # 512x512. 30,276,583 · 28,982,849.
        "paper512": replace(_F, image_size=512, mbstd_group_size=8),
        # As configuration F, trained otherwise.
        "paper1024": _F,
        # CIFAR-10, as tuned for it: a shallow mapping, a discriminator without residual blocks. 19,947,539 · 20,720,641.
        "cifar": replace(_F, image_size=32, mapping_layers=2, discriminator="orig", mbstd_group_size=32),
        # A small one for images of 32x32, on a laptop.
        "tiny": StyleGAN2Config(image_size=32, latent=64, style_width=64, mapping_layers=2, channel_base=1024, channel_max=64),
    }
)
