"""Published sizes of the U-Net have the published parameter counts."""

import functools

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel

from genjax.interop import unet
from genjax.models.unet_sizes import UNET_SIZES

# As published, rounded; and exact: of the checkpoints, or counted below, or in tests/parity/test_ddpmpp.py.
PUBLISHED = {
    "ddpm_cifar10": (35.7e6, 35_746_307),
    "ddpm_lsun256": (114e6, 113_673_219),
    "adm_imagenet64": (296e6, 295_904_454),
    "adm_imagenet128": (422e6, 421_529_606),
    "adm_imagenet256": (554e6, 553_838_086),
    "ddpmpp_cifar10": (55.7e6, 55_733_891),
    "stable_diffusion_1": (860e6, 859_520_964),
    "stable_diffusion_2": (866e6, 865_910_724),
}


@functools.cache
def counted(config):
    return sum(int(np.prod(shape)) for shape in unet.shapes(config).values())


@pytest.mark.parametrize("size", UNET_SIZES)
def test_parameters_are_counted_as_published(size):
    count = counted(UNET_SIZES[size])
    if size in PUBLISHED:
        rounded, exact = PUBLISHED[size]
        assert count == exact == pytest.approx(rounded, rel=5e-3)
    else:
        assert count < 20e6


@pytest.mark.parametrize("size", ["ddpm_cifar10", "ddpm_lsun256", "adm_imagenet64", "tiny", "small"])
def test_diffusers_counts_as_many(size):
    config = UNET_SIZES[size]
    with torch.device("meta"):
        theirs = UNet2DModel(**unet.to_json(config))
    assert sum(parameter.numel() for parameter in theirs.parameters()) == counted(config)
