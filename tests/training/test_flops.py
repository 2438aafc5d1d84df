"""Peak figures by device kind, and MFU from them."""

from dataclasses import dataclass

import jax
import pytest

from genjax.training.flops import ACCELERATORS, GIB, hbm_bandwidth, hbm_bytes, mfu, peak_flops


@dataclass
class Device:
    device_kind: str
    num_cores: int


@pytest.mark.parametrize(
    "kind, teraflops, gib",
    [
        ("TPU v2", 22.5, 8),
        ("TPU v3", 61.5, 16),
        ("TPU v4", 275, 32),
        ("TPU v5", 459, 95),
        ("TPU v5 lite", 197, 16),
        ("TPU v6 lite", 918, 32),
        ("TPU7x", 1153.5, 96),
        ("NVIDIA A100-SXM4-40GB", 312, 40),
        ("NVIDIA A100-SXM4-80GB", 312, 80),
        ("NVIDIA A100 80GB PCIe", 312, 80),
        ("NVIDIA H100 80GB HBM3", 989.4, 80),
        ("NVIDIA H100 PCIe", 756, 80),
        ("NVIDIA H200", 989.4, 141),
        ("NVIDIA GH200 480GB", 989.4, 96),
        ("NVIDIA B200", 2250, 180),
        ("NVIDIA L4", 121, 24),
        ("NVIDIA A10G", 70, 24),
        ("AMD Instinct MI300X", 1307.4, 192),
    ],
)
def test_published_figures(kind, teraflops, gib):
    assert peak_flops(kind) == pytest.approx(teraflops * 1e12)
    assert hbm_bytes(kind) == gib * GIB


@pytest.mark.parametrize("kind", ["cpu", "NVIDIA L40", "NVIDIA A100X", "TPU v9", ""])
def test_unknown_kinds_have_no_peak(kind):
    assert peak_flops(kind) is None and hbm_bytes(kind) is None and hbm_bandwidth(kind) is None
    assert mfu(1e12, 1.0, ["TPU v4", kind]) is None


def test_a_device_that_is_one_core_has_its_share_of_the_chip():
    """A v4 chip is one device with two cores, or two devices (a topology without megacore)."""
    assert peak_flops(Device("TPU v4", 2)) == 2 * peak_flops(Device("TPU v4", 1)) == 275e12
    assert hbm_bytes(Device("TPU7x", 1)) == 96 * GIB


def test_float32_runs_in_tf32_on_gpus_and_in_bf16_passes_on_tpus():
    assert peak_flops("NVIDIA H100 80GB HBM3", "float32") == pytest.approx(494.7e12)
    assert peak_flops("TPU v5 lite", "float32") == peak_flops("TPU v5 lite")


def test_mfu_is_the_rate_over_the_sum_of_the_peaks():
    assert mfu(275e12, 0.5, ["TPU v4"] * 4) == pytest.approx(0.5)
    assert mfu(275e12, 1.0, ["TPU v4"] * 4, "float32") == pytest.approx(0.25)
    assert mfu(0.0, 1.0, ["TPU v4"]) is None and mfu(1.0, 0.0, ["TPU v4"]) is None and mfu(1.0, 1.0, []) is None
    assert mfu(1e12, 1.0, jax.devices("cpu")) is None


def test_no_entry_is_hidden_by_an_earlier_one():
    for name, chip in ACCELERATORS:
        assert peak_flops(name) == pytest.approx(chip.bf16 * chip.device_cores / chip.cores)
