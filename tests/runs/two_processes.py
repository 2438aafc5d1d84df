"""The program of test_two_process_checkpoint.py: two processes save, restore, fall back, are refused and stop together."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from genjax.errors import CheckpointError, GenjaxError
from genjax.training.checkpoints import Checkpoints
from genjax.training.metrics import MetricsWriter
from genjax.training.run_directory import RunDirectory
from genjax.training.signals import StopSignal


def make_state(seed, mesh):
    """The same numbers on every mesh: sharded over all devices, over some, and replicated; typed keys and bfloat16 among them."""
    specs = {
        "step": PartitionSpec(),
        "key": PartitionSpec(),
        "variables": {"kernel": PartitionSpec("data", "tensor"), "low": PartitionSpec("tensor"), "bias": PartitionSpec()},
    }

    def build():
        keys = jax.random.split(jax.random.key(seed), 3)
        variables = {
            "kernel": jax.random.normal(keys[0], (256, 128)),
            "low": jax.random.normal(keys[1], (16, 8), jnp.bfloat16),
            "bias": jax.random.normal(keys[2], (5,)),
        }
        return {"step": jnp.int32(seed), "key": jax.random.key(seed + 1), "variables": variables}

    return jax.jit(build, out_shardings=jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs))()


def abstract_of(state):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)


def same(a, b):
    """Whether two trees of global arrays hold the same bits in every local shard."""
    data = lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x  # noqa: E731
    pairs = zip(jax.tree.leaves(jax.tree.map(data, a)), jax.tree.leaves(jax.tree.map(data, b)), strict=True)
    return all(
        np.asarray(x.data).tobytes() == np.asarray(y.data).tobytes()
        for left, right in pairs
        for x, y in zip(left.addressable_shards, right.addressable_shards, strict=True)
    )


def grid(devices):
    return Mesh(np.array(devices).reshape(2, -1), ("data", "tensor"))


def refusal(action):
    """The message of the GenjaxError that `action` raises."""
    try:
        action()
    except GenjaxError as error:
        return str(error)
    return ""


def main(run, port, index):
    jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=index)
    from jax.experimental import multihost_utils

    barrier = multihost_utils.sync_global_devices
    told, facts = [], {}
    mesh = grid(jax.devices())
    with RunDirectory(run) as directory, MetricsWriter(run, enabled=index == 0) as writer:
        directory.write_config({"seed": 1})
        directory.write_environment()
        facts["second"] = refusal(lambda: RunDirectory(run))
        facts["config"] = refusal(lambda: directory.write_config({"seed": 2}))
        with Checkpoints(run / "checkpoints", keep=3, report=told.append) as checkpoints:
            for step in (1, 2, 3):
                checkpoints.save(step, make_state(step, mesh), {"step": step})
                writer.write(step, {"loss": float(step)})
            checkpoints.wait()
            restored, meta, step = checkpoints.restore(abstract_of(make_state(0, mesh)))
            facts["restored"] = [same(restored, make_state(3, mesh)), meta["step"], step]
            barrier("before damage")
            if index == 0:  # what process 1 wrote: process 0 alone might not miss it
                for path in (run / "checkpoints" / "3" / "state" / "ocdbt.process_1").rglob("*"):
                    if path.is_file():
                        path.write_bytes(b"")
            barrier("damaged")
            restored, meta, step = checkpoints.restore(abstract_of(make_state(0, mesh)))
            facts["fell back"] = [same(restored, make_state(2, mesh)), meta["step"], step]
            checkpoints.save(3, make_state(30, mesh), {"step": 30})
            other = {"other": jax.ShapeDtypeStruct((2,), jnp.float32, sharding=NamedSharding(mesh, PartitionSpec()))}
            try:
                checkpoints.restore(other)
            except CheckpointError as error:
                facts["mismatch"] = str(error).splitlines()[0]
        facts["told"] = told
        with StopSignal() as stop:
            step = 0
            while not stop.stop_after(step):
                step += 1
                if step == 5 and index == 1:
                    os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.002 * (index + 1))  # the processes do not keep pace
            facts["stopped"] = [step, stop.name]
    (run / f"facts_{index}.json").write_text(json.dumps(facts))
    jax.distributed.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
