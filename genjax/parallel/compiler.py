"""Options of the compiler that pay on a platform: for `compiler_options` of `jax.jit`."""

import functools
from collections.abc import Mapping

import jax

# XLA's CPU compiler leaves convolutions to YNNPACK, which takes 1.8 times as long for those of a U-Net as what it has itself.
_LEFT_TO_IT = ("DOT", "INDIVIDUAL_DOT", "REDUCE")
_CPU = {"xla_cpu_experimental_ynn_fusion_type": ",".join(f"LIBRARY_FUSION_TYPE_{name}" for name in _LEFT_TO_IT)}


def compiler_options(platform: str | None = None) -> Mapping[str, str] | None:
    """For programs that run on `platform`; None: on JAX's default backend."""
    return _known_on_cpu() if (platform or jax.default_backend()) == "cpu" else None


@functools.cache
def _known_on_cpu() -> Mapping[str, str] | None:
    """The options that this version of the compiler knows."""
    try:
        jax.jit(lambda: 0, compiler_options=_CPU).lower().compile()
    except jax.errors.JaxRuntimeError:
        return None
    return _CPU
