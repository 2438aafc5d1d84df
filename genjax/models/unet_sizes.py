"""Published sizes of the U-Net, as configurations, and small ones. Parameter counts are those of the networks."""

import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from genjax.models.unet_config import UNetConfig

_DDPM = UNetConfig(dropout=0.1, sine_first=True, frequency_shift=1, asymmetric=True)
_ADM = UNetConfig(
    out_channels=6,
    head_width=64,
    norm_epsilon=1e-5,
    scale_shift=True,
    resample="block",
    num_classes=1000,
    initialization="zero",
)
_DDPMPP = UNetConfig(
    widths=(256, 256, 256),
    stem_width=128,
    blocks=4,
    attention_levels=(1,),
    up_attention="last",
    least_group_width=4,
    skip_scale=math.sqrt(0.5),
    resample="block",
    project_resampled=True,
    sine_first=True,
    frequency_shift=1,
    early_classes=True,
    condition_features=9,
    dropout=0.13,
)
_STABLE = UNetConfig(
    in_channels=4,
    out_channels=4,
    widths=(320, 640, 1280, 1280),
    attention_levels=(),
    heads=8,
    cross_attention_levels=(0, 1, 2),
    context_width=768,
    norm_epsilon=1e-5,
    initialization="zero",
)

UNET_SIZES: Mapping[str, UNetConfig] = MappingProxyType(
    {
        # Ho et al., 2020, appendix B: CIFAR-10; LSUN and CelebA-HQ at 256x256. 35,746,307 · 113,673,219.
        "ddpm_cifar10": _DDPM,
        "ddpm_lsun256": replace(_DDPM, widths=(128, 128, 256, 256, 512, 512), attention_levels=(4,), dropout=0.0),
        # Dhariwal and Nichol, 2021: ImageNet, class-conditional, learned variances.
        # 295,904,454 · 421,529,606 · 553,838,086.
        "adm_imagenet64": replace(_ADM, widths=(192, 384, 576, 768), blocks=3, attention_levels=(1, 2, 3), dropout=0.1),
        "adm_imagenet128": replace(_ADM, widths=(256, 256, 512, 768, 1024), attention_levels=(2, 3, 4), head_width=0, heads=4),
        "adm_imagenet256": replace(_ADM, widths=(256, 256, 512, 512, 1024, 1024), attention_levels=(3, 4, 5)),
        # Karras et al., 2022, CIFAR-10, unconditional, with 9 numbers that say how a picture was augmented. 55,733,891.
        "ddpmpp_cifar10": _DDPMPP,
        # Rombach et al., 2022, as Stable Diffusion 1 and 2. 859,520,964 · 865,910,724.
        "stable_diffusion_1": _STABLE,
        "stable_diffusion_2": replace(_STABLE, heads=1, head_width=64, context_width=1024, linear_projection=True),
        # Small ones for images of 32x32, on a laptop or on one accelerator.
        "tiny": replace(_DDPM, widths=(32, 64, 64), blocks=1, groups=8, dropout=0.0),
        "small": replace(_DDPM, widths=(64, 128, 128), dropout=0.1),
    }
)
