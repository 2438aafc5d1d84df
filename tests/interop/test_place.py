"""Placing arrays on a mesh: the same numbers as a plain load, and one device's slice on the host at a time."""

import gc
import subprocess
import sys
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from genjax.interop import lazy, safetensors_io
from genjax.interop.lazy import LazyArray
from genjax.interop.place import place

VALUE = np.random.default_rng(0).normal(size=(8, 12, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def mesh(cpu_devices):
    return Mesh(np.array(cpu_devices).reshape(2, 2, 2), ("data", "fsdp", "tensor"))


SPECS = [(), ("fsdp",), (None, "tensor"), ("fsdp", "tensor"), (("data", "fsdp"), None, "tensor"), (None, ("fsdp", "tensor"))]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_every_sharding_holds_the_array(mesh, spec):
    sharding = NamedSharding(mesh, PartitionSpec(*spec))
    array = place(lazy.of_array(VALUE), sharding)
    assert array.sharding == sharding
    np.testing.assert_array_equal(np.asarray(array), VALUE)
    for shard in array.addressable_shards:
        np.testing.assert_array_equal(np.asarray(shard.data), VALUE[shard.index])


def test_each_slice_is_read_once_however_many_devices_hold_it(mesh):
    reads = []

    def read(index):
        reads.append(VALUE[index].size)
        return VALUE[index]

    place(LazyArray(VALUE.shape, VALUE.dtype, read), NamedSharding(mesh, PartitionSpec("fsdp")))
    assert reads == [VALUE.size // 2] * 2


def test_one_slice_is_let_go_before_the_next_is_read(mesh):
    """The placed arrays may keep a slice's memory as their own; a second, separate copy must not stay."""
    alive = []

    def read(index):
        gc.collect()
        assert sum(slice_() is not None for slice_ in alive) <= 1
        piece = VALUE[index].astype(np.float64)  # cast on the way, so that no array can keep this memory
        alive.append(weakref.ref(piece))
        return piece

    sharding = NamedSharding(mesh, PartitionSpec(("data", "fsdp"), "tensor"))
    place(LazyArray(VALUE.shape, np.dtype(np.float64), read), sharding, "float32")
    assert len(alive) == 8


def test_dtype_casts_floating_point_only(mesh):
    sharding = NamedSharding(mesh, PartitionSpec("fsdp"))
    array = place(lazy.of_array(VALUE), sharding, "bfloat16")
    assert array.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.asarray(array), VALUE.astype(jnp.bfloat16))
    assert place(lazy.of_array(np.arange(4, dtype=np.int32)), None, "bfloat16").dtype == jnp.int32


def test_placed_arrays_survive_donation(mesh):
    """Devices that share one host buffer must not write into it."""
    sharding = NamedSharding(mesh, PartitionSpec())
    array, twin = place(lazy.of_array(VALUE), sharding), place(lazy.of_array(VALUE), sharding)
    before = VALUE.copy()
    result = jax.jit(lambda x: x * 2 + 1, donate_argnums=0)(array)
    np.testing.assert_array_equal(np.asarray(result), before * 2 + 1)
    np.testing.assert_array_equal(np.asarray(twin), before)
    np.testing.assert_array_equal(VALUE, before)


PEAK = """
import sys, threading
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from genjax.interop import lazy, safetensors_io
from genjax.interop.place import place

def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 1024

mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("fsdp", "tensor"))
sharding = NamedSharding(mesh, PartitionSpec(None, "fsdp", "tensor"))
tensors = safetensors_io.open_folder(sys.argv[1])
jax.block_until_ready(place(lazy.of_array(np.zeros((4, 8, 8), np.float32)), sharding))
start, peak, done = anonymous(), [0.0], threading.Event()

def watch():
    while not done.wait(0.0005):
        peak[0] = max(peak[0], anonymous())

watcher = threading.Thread(target=watch)
watcher.start()
arrays = [place(lazy.permute(lazy.stack([tensors[f"{g}.{i}"] for i in range(4)]), (0, 2, 1)), sharding) for g in range(4)]
done.set()
watcher.join()
print(sum(a.nbytes for a in arrays) / 2**20, peak[0] - start, anonymous() - start)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_loading_takes_the_host_memory_of_one_model(tmp_path):
    """128 MiB in stacks of 32 onto eight devices: a second copy of the model, or of one stack, would show."""
    tensor = lazy.of_array(np.ones((1024, 2048), np.float32))
    safetensors_io.write(tmp_path / "w", {f"{g}.{i}": tensor for g in range(4) for i in range(4)}, max_shard_bytes=1 << 25)
    result = subprocess.run([sys.executable, "-c", PEAK, str(tmp_path / "w")], capture_output=True, text=True, check=True)
    model, peak, end = map(float, result.stdout.split())
    assert model == 128
    assert end <= model + 16
    assert peak <= model + 24  # one device's slice of one stack is 4 MiB, read and transposed
