"""Published sizes of the residual and plain players: fields of `SNGANConfig`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

SNGAN_SIZES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # Miyato et al., 2018, table 4; CIFAR-10 FID 21.7.
        "resnet_32": {"network": "resnet"},
        # The same paper, table 3: CIFAR-10 FID 25.5.
        "cnn_32": {"network": "cnn", "widths": (512, 256, 128, 64), "critic_widths": (64, 128, 256, 512)},
        # Gulrajani et al., 2017, appendix F.
        "wgan_gp_32": {
            "network": "resnet",
            "widths": (128, 128, 128, 128),
            "critic_widths": (128, 128, 128, 128),
            "critic_norm": "layer",
            "pooling": "mean",
        },
    }
)
