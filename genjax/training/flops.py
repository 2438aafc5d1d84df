"""Peak speeds of accelerators, and model FLOP utilization (MFU).

MFU is the rate of the model's analytic floating-point operations over the devices' dense peak (PaLM, arXiv:2204.02311, appendix
B). What counts as the model's operations is the task's to say (`Task.flops_per_step`); recomputation does not count.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import jax

GIB = 2**30


@dataclass(frozen=True)
class Accelerator:
    """Published figures of one chip.

    Attributes:
        bf16: dense bfloat16 FLOP/s, without sparsity.
        f32: FLOP/s of float32 matrix products at JAX's default precision: bf16 passes on TPU, TF32 tensor cores on NVIDIA.
        hbm: bytes of memory.
        bandwidth: bytes a second to that memory.
        cores: TensorCores (or dies) that share these figures.
        device_cores: how many of them a `jax.Device` of this kind is, where it does not say so itself.
    """

    bf16: float
    f32: float
    hbm: float
    bandwidth: float
    cores: int = 1
    device_cores: int = 1


# An entry is of a device kind whose words ("NVIDIA A100-SXM4-40GB": NVIDIA, A100, SXM4, 40GB) include the entry's; the first
# that fits counts. v5p calls itself "TPU v5", v5e "TPU v5 lite" and v6e "TPU v6 lite".
# Sources: docs.cloud.google.com/tpu/docs, pages v2, v3, v4, v5e, v5p, v6e, tpu7x (compute, HBM, bandwidth of a chip); NVIDIA data
# sheets (dense: half of the figure with sparsity) of A100, H100, H200, GH200, HGX B200, GB200, L4, L40S, A10 and of the GeForce
# 30 and 40 architectures; AMD Instinct data sheets of MI250X, MI300X, MI325X.
ACCELERATORS: tuple[tuple[str, Accelerator], ...] = (
    ("TPU7x", Accelerator(2307e12, 2307e12, 192 * GIB, 7.38e12, cores=2)),
    ("TPU v6 lite", Accelerator(918e12, 918e12, 32 * GIB, 1.64e12)),
    ("TPU v5 lite", Accelerator(197e12, 197e12, 16 * GIB, 0.819e12)),
    ("TPU v5", Accelerator(459e12, 459e12, 95 * GIB, 2.765e12, cores=2, device_cores=2)),
    ("TPU v4", Accelerator(275e12, 275e12, 32 * GIB, 1.2e12, cores=2, device_cores=2)),
    ("TPU v3", Accelerator(123e12, 123e12, 32 * GIB, 0.9e12, cores=2)),
    ("TPU v2", Accelerator(45e12, 45e12, 16 * GIB, 0.7e12, cores=2)),
    ("GB200", Accelerator(2500e12, 1250e12, 186 * GIB, 8.0e12)),
    ("B200", Accelerator(2250e12, 1125e12, 180 * GIB, 8.0e12)),
    ("GH200", Accelerator(989.4e12, 494.7e12, 96 * GIB, 4.0e12)),
    ("H200", Accelerator(989.4e12, 494.7e12, 141 * GIB, 4.8e12)),
    ("H100 PCIe", Accelerator(756e12, 378e12, 80 * GIB, 2.0e12)),
    ("H100 NVL", Accelerator(835.5e12, 417.5e12, 94 * GIB, 3.9e12)),
    ("H100", Accelerator(989.4e12, 494.7e12, 80 * GIB, 3.35e12)),
    ("A100 80GB", Accelerator(312e12, 156e12, 80 * GIB, 2.0e12)),
    ("A100", Accelerator(312e12, 156e12, 40 * GIB, 1.555e12)),
    ("L40S", Accelerator(362e12, 183e12, 48 * GIB, 0.864e12)),
    ("L4", Accelerator(121e12, 60e12, 24 * GIB, 0.3e12)),
    ("A10G", Accelerator(70e12, 35e12, 24 * GIB, 0.6e12)),
    ("A10", Accelerator(125e12, 62.5e12, 24 * GIB, 0.6e12)),
    ("RTX 4090", Accelerator(165.2e12, 82.6e12, 24 * GIB, 1.008e12)),
    ("RTX 3090", Accelerator(71e12, 35.6e12, 24 * GIB, 0.936e12)),
    ("MI325X", Accelerator(1307.4e12, 653.7e12, 256 * GIB, 6.0e12)),
    ("MI300X", Accelerator(1307.4e12, 653.7e12, 192 * GIB, 5.3e12)),
    ("MI250X", Accelerator(383e12, 95.7e12, 128 * GIB, 3.2e12, cores=2)),
)


def peak_flops(device: jax.Device | str, dtype: str = "bfloat16") -> float | None:
    """Dense peak FLOP/s of one device, or of a device kind; `dtype` is "bfloat16" or "float32". None when unknown (CPU)."""
    found, share = _lookup(device)
    return None if found is None else (found.f32 if dtype == "float32" else found.bf16) * share


def hbm_bytes(device: jax.Device | str) -> float | None:
    """Memory of one device in bytes, before what the runtime keeps; None when unknown."""
    found, share = _lookup(device)
    return None if found is None else found.hbm * share


def hbm_bandwidth(device: jax.Device | str) -> float | None:
    """Peak bytes a second between one device and its memory; None when unknown."""
    found, share = _lookup(device)
    return None if found is None else found.bandwidth * share


def mfu(flops_per_step: float, seconds: float, devices: Sequence[jax.Device | str], dtype: str = "bfloat16") -> float | None:
    """Model FLOP utilization in [0, 1] of a step that took `seconds` on `devices`; None when a peak or the cost is unknown."""
    peaks = [peak_flops(device, dtype) for device in devices]
    if not flops_per_step or seconds <= 0 or not peaks or None in peaks:
        return None
    return flops_per_step / seconds / sum(peaks)


def _lookup(device: jax.Device | str) -> tuple[Accelerator | None, float]:
    """The chip, and the share of it that the device is."""
    kind = device if isinstance(device, str) else device.device_kind
    words = set(re.split(r"[\s\-_]+", kind))
    for name, chip in ACCELERATORS:
        if words >= set(name.split()):
            own = getattr(device, "num_cores", None) if chip.cores > 1 else None
            return chip, (own or chip.device_cores) / chip.cores
    return None, 0.0
