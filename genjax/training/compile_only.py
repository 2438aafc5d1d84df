"""Compiles a config's train step for hardware that is not here, and says whether it fits."""

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
from jax.experimental import topologies

from genjax.errors import ConfigError
from genjax.parallel import processes
from genjax.training.run_config import structure_run
from genjax.training.setup import Plan, make_plan
from genjax.training.step import Part, stretches_of

_GIB = 1 << 30
_COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")


@dataclass(frozen=True)
class Compilation:
    """What a compiled step needs of one device.

    Attributes:
        bytes_needed: the most that is alive at one time.
        bytes_available: what one device has; None when the compiler does not say.
        collectives: how many of each kind the program holds (one in a scanned layer counts once).
        turns: whose step it is, where turns change during the run: those that need the most.
    """

    plan: Plan
    bytes_needed: int
    bytes_available: float | None
    collectives: Mapping[str, int]
    lower_seconds: float
    compile_seconds: float
    kernels: int  # custom kernels (Pallas) in the program
    turns: tuple[str, ...] = ()

    def __str__(self) -> str:
        mesh = " ".join(f"{axis}={size}" for axis, size in self.plan.mesh.shape.items())
        device = self.plan.mesh.devices.flat[0]
        unit, units = self.plan.task.units_per_step
        room = f" of {self.bytes_available / _GIB:.2f} GiB" if self.bytes_available else ""
        share = f" ({self.bytes_needed / self.bytes_available:.0%})" if self.bytes_available else ""
        flops = self.plan.task.flops_per_step / self.plan.mesh.size
        lines = [
            f"devices       {self.plan.mesh.size} x {device.device_kind}, mesh {mesh}",
            f"parameters    {self.plan.parameters:,}",
            f"batch         {self.plan.config.data['batch_size']:,} rows, {units:,} {unit} a step, "
            f"accumulation {self.plan.config.train.accumulation}",
            f"memory        {self.bytes_needed / _GIB:.2f}{room} on each device{share}",
            "collectives   " + (", ".join(f"{count} {name}" for name, count in self.collectives.items()) or "none"),
            f"kernels       {self.kernels}",
            f"work          {flops / 1e12:.1f} TFLOP on each device and step",
            f"time          lowered in {self.lower_seconds:.1f} s, compiled in {self.compile_seconds:.1f} s",
        ]
        if self.turns:
            lines.append(f"note          the figures are of the stage that needs the most: {', '.join(self.turns)}")
        lines += [f"note          {line}" for line in self.plan.unsharded]
        return "\n".join(lines)


def compile_only(config: Mapping[str, Any], topology: str = "") -> Compilation:
    """Compiles the train step of `config` for a TPU slice, on any machine; nothing is read, trained or written. Of a run in
    stages, the step of each.

    Args:
        config: the nested mapping of a config file.
        topology: `v5e:16x16`, `v5p:4x4x4`, ...; `2*v5e:16x16` for two slices; "" for this machine's own devices.

    Raises:
        ConfigError: the topology is unknown, libtpu is missing, the mesh does not fit the slice, or the step does not fit
            the memory (the sentence says by how much).
    """
    processes.leave_out_absent_tpu()
    devices = topology_devices(topology) if topology else None
    plan = make_plan(structure_run(config), devices=devices, with_data=False)
    stretches = stretches_of(plan.task.turns)
    found = [_compile(plan, part if len(stretches) > 1 else None, bool(topology)) for part in stretches]
    return max(found, key=lambda one: one.bytes_needed)


def _compile(plan: Plan, part: Part | None, absent: bool) -> Compilation:
    """Of one part; see `Plan.lower_step`. `absent`: its devices are not here."""
    began = time.perf_counter()
    lowered = plan.lower_step(part)
    lowered_at = time.perf_counter()
    cached = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", cached and not absent)  # it cannot read a program for absent devices
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        raise _memory_error(error, plan) from error
    finally:
        jax.config.update("jax_enable_compilation_cache", cached)
    done = time.perf_counter()
    memory = compiled.memory_analysis()
    # The compiler's own peak; where it leaves out what the program allocates (CPU), everything that could be alive at once.
    whole = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes + memory.temp_size_in_bytes
    peak = getattr(memory, "peak_memory_in_bytes", 0)
    needed = peak if peak > memory.temp_size_in_bytes else whole
    text = compiled.as_text()
    return Compilation(
        plan=plan,
        bytes_needed=needed,
        bytes_available=usable_bytes(plan.mesh.devices.flat[0].device_kind),
        collectives=count_collectives(text),
        lower_seconds=lowered_at - began,
        compile_seconds=done - lowered_at,
        kernels=text.count('custom_call_target="tpu_custom_call"'),
        turns=part.turns if part else (),
    )


def topology_devices(topology: str) -> list[Any]:
    """Descriptions of a slice's chips. See `compile_only` for the names."""
    count, star, name = topology.partition("*")
    slices = int(count) if star and count.isdigit() else 1
    name = name if star else topology
    if not re.fullmatch(r"(v\d+[a-z]*|tpu7x):\d+(x\d+){0,2}", name):
        raise ConfigError(f"topology {topology!r} is not known; write a TPU slice such as v5e:16x16, v5p:4x4x4 or 2*v5e:16x16.")
    # Without these, libtpu looks for a TPU that is not there, and a second process waits for the first.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    try:
        description = topologies.get_topology_desc(
            platform="tpu", topology_name=name, **({"num_slices": slices} if slices > 1 else {})
        )
    except Exception as error:  # the plugin raises types of its own, also for a name that it does not know
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"topology {topology!r} cannot be described here ({text}). Is libtpu installed (pip install 'genjax[tpu]'), and is "
            "the slice's shape one that exists?"
        ) from error
    return list(description.devices)


def usable_bytes(device_kind: str) -> float | None:
    """HBM that a program may use on one chip, as the TPU compiler counts it (a little less than the chip carries)."""
    table = {
        "TPU v2": 7.48,
        "TPU v3": 15.48,
        "TPU v4": 30.75,
        "TPU v5 lite": 15.75,
        "TPU v5e": 15.75,
        "TPU v5": 95.74,
        "TPU v5p": 95.74,
        "TPU v6 lite": 31.25,
        "TPU v6e": 31.25,
    }
    return table[device_kind] * _GIB if device_kind in table else None


def count_collectives(hlo: str) -> dict[str, int]:
    """How often each collective stands in a compiled program's text (asynchronous ones once)."""
    counts = {name: len(re.findall(rf"= .*? {name}(?:-start)?\(", hlo)) for name in _COLLECTIVES}
    return {name: count for name, count in counts.items() if count}


def _memory_error(error: Exception, plan: Plan) -> Exception:
    """The sentence for a step that does not fit; any other error as it is."""
    text = str(error)
    size = r"([\d.]+)([KMGT])i?B?"
    found = re.search(rf"Used {size} of {size}\s*hbm", text, re.IGNORECASE) or re.search(
        rf"\({size}\) exceeds available HBM \({size}\)", text, re.IGNORECASE
    )
    if not found:
        return error
    scale = {"K": 2.0**-20, "M": 2.0**-10, "G": 1.0, "T": 2.0**10}
    needs, has = (float(found[i]) * scale[found[i + 1].upper()] for i in (1, 3))
    kind = plan.mesh.devices.flat[0].device_kind
    return ConfigError(
        f"the step does not fit on {kind}: it needs {needs:.2f} GiB and the chip has {has:.2f} GiB: {needs - has:.2f} GiB too "
        "much. Lower data.batch_size or raise train.accumulation, spread the parameters over more chips (mesh.fsdp, "
        "mesh.tensor), or recompute more (task.model.remat='full')."
    )
