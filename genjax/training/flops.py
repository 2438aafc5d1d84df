"""Peak speeds of accelerators and model FLOP utilization (MFU)."""

from typing import Any


def peak_flops(device_kind: str, dtype: str = "bfloat16") -> float | None:
    """Dense peak FLOP/s of one `jax.Device.device_kind`; None when unknown (CPU)."""


def hbm_bytes(device_kind: str) -> float | None:
    """Memory of one device in bytes; None when unknown."""


def mfu(flops_per_step: float, seconds: float, devices: Any, dtype: str = "bfloat16") -> float | None:
    """Fraction of the devices' peak that `flops_per_step` in `seconds` makes; None when a peak is unknown."""
