"""Which kernel computes attention where, and the sentences when there is none."""

import jax.numpy as jnp
import pytest

from genjax.errors import ConfigError
from genjax.layers.attention import attention, choose_implementation
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.rules import context

SHAPE = {"query_length": 512, "key_length": 512, "head_dim": 64}
LONG = {"query_length": 1024, "key_length": 1024}
HALF = {"dtype": jnp.bfloat16}


@pytest.mark.parametrize(
    ("requested", "platform", "changes", "implementation", "reason"),
    [
        ("xla", "tpu", {}, "xla", "requested"),
        ("chunked", "gpu", {}, "chunked", "requested"),
        ("auto", "tpu", {}, "splash", "Pallas"),
        ("auto", "tpu", {"query_length": 1}, "xla", "one query"),
        ("auto", "tpu", {"cached": True}, "xla", "run time"),
        ("auto", "tpu", {**LONG, "cached": True}, "chunked", "run time"),
        ("auto", "tpu", {"dense_bias": True}, "xla", "takes no bias"),
        ("auto", "tpu", {**LONG, "dense_bias": True}, "chunked", "takes no bias"),
        ("auto", "tpu", {"key_length": 127}, "xla", "fewer than 128"),
        ("auto", "tpu", {"query_length": 128, "key_length": 128}, "splash", "Pallas"),
        ("splash", "tpu", {}, "splash", "Pallas"),
        ("auto", "gpu", HALF, "cudnn", "cuDNN"),
        ("auto", "gpu", {"dtype": jnp.float16}, "cudnn", "cuDNN"),
        ("auto", "gpu", {}, "xla", "bfloat16 and float16 only"),
        ("cudnn", "gpu", LONG, "chunked", "bfloat16 and float16 only"),
        ("auto", "gpu", {**HALF, "head_dim": 136}, "xla", "not 136"),
        ("auto", "gpu", {**HALF, "head_dim": 60}, "xla", "not 60"),
        ("auto", "gpu", {**HALF, "dense_bias": True}, "cudnn", "cuDNN"),
        ("auto", "gpu", {**HALF, "cached": True}, "xla", "run time"),
        ("auto", "cpu", {"query_length": 1}, "xla", "one query"),
        ("auto", "cpu", {}, "chunked", "cache"),
    ],
)
def test_the_table(requested, platform, changes, implementation, reason):
    choice = choose_implementation(requested, platform=platform, **{**SHAPE, **changes})
    assert choice.implementation == implementation
    assert reason in choice.reason


@pytest.mark.parametrize(("length", "implementation"), [(512, "xla"), (1023, "xla"), (1024, "chunked")])
def test_a_mesh_of_cpus_chunks_long_sequences_only(cpu_devices, length, implementation):
    with context(make_mesh(MeshConfig(), cpu_devices)):
        choice = choose_implementation("auto", query_length=length, key_length=length, head_dim=64)
    assert choice.implementation == implementation


@pytest.mark.parametrize(
    ("requested", "platform", "message"),
    [
        ("splash", "cpu", "attention 'splash' is a TPU kernel, but this program is for cpu; use 'auto'"),
        ("splash", "gpu", "this program is for gpu"),
        ("cudnn", "cpu", "attention 'cudnn' is a kernel for NVIDIA GPUs, but this program is for cpu; use 'auto'"),
        ("cudnn", "tpu", "this program is for tpu"),
    ],
)
def test_kernels_that_the_platform_lacks(requested, platform, message):
    with pytest.raises(ConfigError, match=message):
        choose_implementation(requested, platform=platform, **SHAPE)


@pytest.mark.parametrize("implementation", ["splash", "cudnn"])
def test_attention_itself_refuses_them_before_computing(implementation):
    x = jnp.zeros((1, 256, 2, 64), jnp.bfloat16)
    with pytest.raises(ConfigError, match=f"attention '{implementation}'"):
        attention(x, x, x, causal=True, implementation=implementation)
