"""Several processes as one program: start, identity, batches and barriers."""

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding

from genjax.errors import ConfigError
from genjax.parallel.rules import DEFAULT_RULES, Rules, batch_parts, batch_sharding


def initialize() -> None:
    """Joins the other processes of the run, if there are any; must come before any other use of JAX.

    Three variables name the processes by hand: JAX_COORDINATOR_ADDRESS (host:port), JAX_NUM_PROCESSES and JAX_PROCESS_ID. Under
    Slurm, Open MPI, Kubernetes jobs and on Cloud TPU, JAX finds them itself.

    Raises:
        ConfigError: some of the three variables are set and others are not, or one is not a number.
    """
    if jax.distributed.is_initialized():
        return
    leave_out_absent_tpu()
    _keep_compiled_programs()
    names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    given = [name for name in names if os.environ.get(name)]
    if given:
        missing = [name for name in names if name not in given]
        if missing:
            raise ConfigError(f"{', '.join(given)} is set, {', '.join(missing)} is not; set all three, or none for one process.")
        try:
            count, index = int(os.environ[names[1]]), int(os.environ[names[2]])
        except ValueError as error:
            raise ConfigError(f"JAX_NUM_PROCESSES and JAX_PROCESS_ID must be whole numbers: {error}.") from error
        if count > 1:
            jax.distributed.initialize(os.environ[names[0]], num_processes=count, process_id=index)
    elif _in_cluster():
        jax.distributed.initialize()


def leave_out_absent_tpu() -> None:
    """Keeps JAX from looking for a TPU where libtpu is installed to compile for one (`--compile_only`) but none is there: the
    search fails with a screen of warnings. Must come before any other use of JAX; JAX_PLATFORMS, if set, is obeyed."""
    if os.environ.get("JAX_PLATFORMS") or importlib.util.find_spec("libtpu") is None or _tpu_chips():
        return
    if not any(importlib.util.find_spec(f"jax_cuda{version}_plugin") for version in (12, 13)):
        jax.config.update("jax_platforms", "cpu")


def is_main() -> bool:
    """Whether this process writes the logs and files that are written once."""
    return jax.process_index() == 0


def reader_slice(mesh: Mesh, rules: Rules = DEFAULT_RULES) -> tuple[int, int]:
    """Which part of every global batch this process reads, as (index, count).

    Processes that hold the same examples (their devices differ along tensor or sequence only) get the same index.

    Raises:
        ConfigError: the mesh gives this process rows that are not one contiguous, equal part.
    """
    parts = batch_parts(mesh, rules)
    ranges = batch_sharding(mesh, rules).devices_indices_map((parts,))
    mine = sorted({_start(ranges[device][0]) for device in mesh.local_devices})
    count = parts // len(mine)
    if mine != list(range(mine[0], mine[0] + len(mine))) or mine[0] % len(mine) or parts % len(mine):
        raise ConfigError(
            f"process {jax.process_index()} would hold parts {mine} of {parts} of the batch, which are not one equal share; "
            "let data * fsdp be a multiple of the number of processes, or of none."
        )
    return mine[0] // len(mine), count


def global_batch(local: Mapping[str, np.ndarray], mesh: Mesh, rules: Rules = DEFAULT_RULES) -> dict[str, jax.Array]:
    """Global arrays from the rows that each process read (those that `reader_slice` names)."""
    _, count = reader_slice(mesh, rules)

    def one(rows: np.ndarray) -> jax.Array:
        sharding: NamedSharding = batch_sharding(mesh, rules, rows.ndim)
        return jax.make_array_from_process_local_data(sharding, rows, (rows.shape[0] * count, *rows.shape[1:]))

    return {name: one(np.asarray(rows)) for name, rows in local.items()}


def on_host(array: jax.Array) -> np.ndarray:
    """The whole of an array, on every process; all must ask for it."""
    if array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array.addressable_data(0) if array.is_fully_replicated else array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def worst(code: int) -> int:
    """The largest code of all processes; all must ask for it."""
    return code if jax.process_count() == 1 else int(np.max(multihost_utils.process_allgather(np.int32(code))))


def barrier(name: str) -> None:
    """Waits until every process has come to the barrier of this name."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def _keep_compiled_programs() -> None:
    """A second start of the same program compiles nothing; JAX_COMPILATION_CACHE_DIR, if set, is obeyed."""
    if jax.config.jax_compilation_cache_dir is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        jax.config.update("jax_compilation_cache_dir", str(cache / "genjax" / "jax"))


def _in_cluster() -> bool:
    several = any(int(os.environ.get(name, "1") or 1) > 1 for name in ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"))
    kubernetes = "KUBERNETES_SERVICE_HOST" in os.environ and "JOB_COMPLETION_INDEX" in os.environ
    return several or kubernetes or _tpu_chips()


def _tpu_chips() -> bool:
    devices = any(Path(path).exists() for path in ("/dev/accel0", "/dev/vfio/0"))
    return devices or any(name in os.environ for name in ("TPU_WORKER_HOSTNAMES", "TPU_ACCELERATOR_TYPE", "TPU_NAME"))


def _start(part: slice) -> int:
    return part.start or 0


def to_host(tree: Any) -> Any:
    """NumPy arrays, also of what lies on several processes."""
    local = lambda x: x.is_fully_addressable or x.is_fully_replicated  # noqa: E731
    return jax.tree.map(
        lambda x: np.asarray(x) if local(x) else np.asarray(multihost_utils.process_allgather(x, tiled=True)), tree
    )
