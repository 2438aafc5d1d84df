"""Published sizes of the U-Net have the published parameter counts, those of diffusers' network of the same shape."""

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel, UNet2DModel

from genjax.errors import CheckpointError
from genjax.interop import huggingface, unet
from genjax.models.unet_sizes import UNET_SIZES

# As published, rounded; and exact, counted by diffusers where it has the network (DDPM++: tests/parity/test_ddpmpp.py).
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


@pytest.mark.parametrize("size", UNET_SIZES)
def test_parameters_are_counted_as_published(size):
    config = UNET_SIZES[size]
    count = sum(int(np.prod(shape)) for shape in unet.shapes(config).values())
    if size in PUBLISHED:
        rounded, exact = PUBLISHED[size]
        assert count == exact == pytest.approx(rounded, rel=5e-3)
    else:
        assert count < 20e6
    try:
        family = huggingface.family_of(config)
    except CheckpointError:
        assert size == "ddpmpp_cifar10" or size == "adm_imagenet128"
        return
    with torch.device("meta"):
        theirs = {"UNet2DModel": UNet2DModel, "UNet2DConditionModel": UNet2DConditionModel}[family.name](**family.to_json(config))
    assert sum(parameter.numel() for parameter in theirs.parameters()) == count
