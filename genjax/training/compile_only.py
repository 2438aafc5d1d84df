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
from genjax.training.step import Part, parts_of

_GIB = 1 << 30
_COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")


@dataclass(frozen=True)
class CompiledPart:
    """What a compiled part of a step needs of one device.

    Attributes:
        bytes_needed: the most that is alive at one time.
        collectives: how many of each kind the program holds (one in a scanned layer counts once).
        kernels: custom ones (Pallas) in the program.
    """

    part: Part
    bytes_needed: int
    collectives: Mapping[str, int]
    kernels: int
    lower_seconds: float
    compile_seconds: float

    def __str__(self) -> str:
        often = f", every {self.part.every} steps" if self.part.every > 1 else ""
        since = f", from step {self.part.start:,} on" if self.part.start else ""
        return f"{_name(self.part)}{often}{since}: {self.bytes_needed / _GIB:.2f} GiB, {_listed(self.collectives)}"


@dataclass(frozen=True)
class Compilation:
    """A step, compiled in the parts in which the loop runs it (see `training.step.parts_of`), most often one; of a run in stages,
    those of all.

    Attributes:
        bytes_available: what one device has; None when the compiler does not say.
    """

    plan: Plan
    parts: tuple[CompiledPart, ...]
    bytes_available: float | None

    @property
    def bytes_needed(self) -> int:
        """By the part that needs most: they run one after the other, on the same state."""
        return max(part.bytes_needed for part in self.parts)

    @property
    def collectives(self) -> dict[str, int]:
        """Of all parts."""
        names = [name for name in _COLLECTIVES if any(name in part.collectives for part in self.parts)]
        return {name: sum(part.collectives.get(name, 0) for part in self.parts) for name in names}

    @property
    def kernels(self) -> int:
        return sum(part.kernels for part in self.parts)

    def __str__(self) -> str:
        mesh = " ".join(f"{axis}={size}" for axis, size in self.plan.mesh.shape.items())
        device = self.plan.mesh.devices.flat[0]
        unit, units = self.plan.task.units_per_step
        room = f" of {self.bytes_available / _GIB:.2f} GiB" if self.bytes_available else ""
        share = f" ({self.bytes_needed / self.bytes_available:.0%})" if self.bytes_available else ""
        flops = self.plan.task.flops_per_step / self.plan.mesh.size
        lower, compiled = (sum(getattr(part, name) for part in self.parts) for name in ("lower_seconds", "compile_seconds"))
        lines = [
            f"devices       {self.plan.mesh.size} x {device.device_kind}, mesh {mesh}",
            f"parameters    {self.plan.parameters:,}",
            f"batch         {self.plan.config.data['batch_size']:,} rows, {units:,} {unit} a step, "
            f"accumulation {self.plan.config.train.accumulation}",
            f"memory        {self.bytes_needed / _GIB:.2f}{room} on each device{share}",
            f"collectives   {_listed(self.collectives)}",
            f"kernels       {self.kernels}",
            f"work          {flops / 1e12:.1f} TFLOP on each device and step",
            f"time          lowered in {lower:.1f} s, compiled in {compiled:.1f} s",
        ]
        if len(self.parts) > 1:
            lines += [f"part          {part}" for part in self.parts]
        lines += [f"note          {line}" for line in self.plan.unsharded]
        return "\n".join(lines)


def compile_only(config: Mapping[str, Any], topology: str = "") -> Compilation:
    """Compiles the train step of `config` for a TPU slice, on any machine; nothing is read, trained or written.

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
    cached = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", cached and not topology)  # it cannot read a program for absent devices
    try:
        parts = tuple(_compile(plan, part) for part in parts_of(plan.task.turns))
    finally:
        jax.config.update("jax_enable_compilation_cache", cached)
    return Compilation(plan, parts, usable_bytes(plan.mesh.devices.flat[0].device_kind))


def _compile(plan: Plan, part: Part) -> CompiledPart:
    began = time.perf_counter()
    lowered = plan.lower_step(part)
    lowered_at = time.perf_counter()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        what = "the step" if len(parts_of(plan.task.turns)) == 1 else f"the step's part {_name(part)}"
        raise _memory_error(error, plan, what) from error
    done = time.perf_counter()
    memory = compiled.memory_analysis()
    # The compiler's own peak; where it leaves out what the program allocates (CPU), everything that could be alive at once.
    whole = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes + memory.temp_size_in_bytes
    peak = getattr(memory, "peak_memory_in_bytes", 0)
    text = compiled.as_text()
    return CompiledPart(
        part=part,
        bytes_needed=peak if peak > memory.temp_size_in_bytes else whole,
        collectives=count_collectives(text),
        kernels=text.count('custom_call_target="tpu_custom_call"'),
        lower_seconds=lowered_at - began,
        compile_seconds=done - lowered_at,
    )


def _name(part: Part) -> str:
    return ", ".join(part.turns) or "averages"


def _listed(collectives: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in collectives.items()) or "none"


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


def _memory_error(error: Exception, plan: Plan, what: str) -> Exception:
    """The sentence for what does not fit; any other error as it is."""
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
        f"{what} does not fit on {kind}: it needs {needs:.2f} GiB and the chip has {has:.2f} GiB: {needs - has:.2f} GiB too "
        "much. Lower data.batch_size or raise train.accumulation, spread the parameters over more chips (mesh.fsdp, "
        "mesh.tensor), or recompute more (task.model.remat='full')."
    )
