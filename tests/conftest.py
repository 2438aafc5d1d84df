"""Shared set-up: CPU with eight simulated devices, a persistent compilation cache, and the real-data folder."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "jax"

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
for threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):  # of NumPy and torch, which would wait for one another at full speed
    os.environ.setdefault(threads, "1")
# Tests compile much and compute little: without LLVM's optimizations and the fusion emitters a program compiles in a third of
# the time, of short vectors and in one piece in four fifths of that.
for flag in (
    "--xla_force_host_platform_device_count=8",
    "--xla_backend_optimization_level=0",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
    "--xla_cpu_prefer_vector_width=128",
):
    if flag.split("=")[0] not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()

import contextlib  # noqa: E402
import ctypes  # noqa: E402
import gc  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402

import pytest  # noqa: E402

pytest_plugins = ("tests.dalle_runs",)

# Tracing and compiling make very many objects that live: looking through them less often saves a twelfth of the time.
gc.set_threshold(50_000, 100, 1000)


def pytest_collection_finish():
    """What was imported stays: the collector need not look through it."""
    gc.collect()
    gc.freeze()


GROWTH = 1.5e6  # KiB that compiled programs may take in a worker
kept = [0.0]  # KiB in use after they were last forgotten


@pytest.fixture(scope="module", autouse=True)
def light_worker():
    """Forgets compiled programs between modules once they fill the memory: thousands of them also slow the collector down."""
    _seed_torch()
    yield
    import jax

    kept[0] = kept[0] or _resident()
    if _resident() > kept[0] + GROWTH:
        jax.clear_caches()
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):  # of another C library
            ctypes.CDLL(None).malloc_trim(0)  # else what was freed stays in use, up to 7 GB of it
        kept[0] = _resident()


@pytest.fixture(autouse=True)
def same_draws():
    """What torch draws in a test does not depend on the tests before it."""
    _seed_torch()


def _seed_torch() -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


def _resident() -> float:
    """KiB of memory in use; the peak where the system does not say more."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets that GENJAX_DATA names."""
    folder = os.environ.get("GENJAX_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("GENJAX_DATA does not name the folder of real data sets")
    return Path(folder)


@pytest.fixture(scope="session")
def cpu_devices():
    """Eight simulated CPU devices."""
    import jax

    devices = jax.devices("cpu")
    assert len(devices) >= 8, "tests need XLA_FLAGS=--xla_force_host_platform_device_count=8"
    return devices[:8]
