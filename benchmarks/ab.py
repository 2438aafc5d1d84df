"""Alternates worker processes and compares their times in one run.

A worker is a script that calls `serve(step, ...)`: it says that it is ready, then makes one timed unit of work whenever it is
told to, so that all contenders meet the same minute of the same machine. Only one works at a time.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Contender:
    """A label, the command after `python`, and environment variables."""

    label: str
    command: Sequence[str]
    environment: Mapping[str, str] | None = None


def serve(step: Callable[[], object], *, repeat: int = 1, facts: Mapping[str, object] | None = None) -> None:
    """Worker side. `step()` makes one unit of work and returns when it is done; `repeat` units are one sample.

    Before each sample one unit is made untimed: while the others worked, this process's memory and caches went cold, which says
    nothing of its steady state.
    """
    print("READY " + json.dumps(dict(facts or {})), flush=True)
    for line in sys.stdin:
        if line.strip() != "go":
            break
        step()
        began = time.perf_counter()
        for _ in range(repeat):
            step()
        print(json.dumps((time.perf_counter() - began) * 1e3 / repeat), flush=True)
    # Not getrusage: its maximum is inherited from the parent process.
    peak = next((line.split()[1] for line in _lines("/proc/self/status") if line.startswith("VmHWM")), "0")
    print(json.dumps({"peak_memory_gb": int(peak) / 1e6}), flush=True)


def compare(contenders: Sequence[Contender], rounds: int) -> list[dict]:
    """Rows of label, median, fastest and slowest milliseconds, ratio to the first contender, memory and the worker's facts."""
    workers = []
    for contender in contenders:
        log = tempfile.TemporaryFile("w+")
        process = subprocess.Popen(
            [sys.executable, *contender.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, **(contender.environment or {})},
        )
        facts = _ready(process)
        if facts is None:
            log.seek(0)
            print(f"{contender.label} did not start:\n{log.read()[-2000:]}", file=sys.stderr)
            continue
        workers.append((contender, process, facts, []))
    for _ in range(rounds):
        for _, process, _, times in workers:
            process.stdin.write("go\n")
            process.stdin.flush()
            times.append(json.loads(process.stdout.readline()))
    rows = []
    for contender, process, facts, times in workers:
        process.stdin.write("end\n")
        process.stdin.flush()
        memory = json.loads(process.stdout.readline())
        process.wait()
        median = statistics.median(times)
        rows.append(
            {"label": contender.label, "median_ms": median, "min_ms": min(times), "max_ms": max(times), **memory, **facts}
        )
    for row in rows:
        row["ratio"] = row["median_ms"] / rows[0]["median_ms"]
    return rows


def table(rows: Sequence[Mapping]) -> str:
    """The rows as Markdown."""
    lines = ["| | median ms | min to max | time relative to the first | peak memory GB | notes |", "|---|---|---|---|---|---|"]
    known = {"label", "median_ms", "min_ms", "max_ms", "ratio", "peak_memory_gb"}
    for row in rows:
        notes = ", ".join(f"{key} {value}" for key, value in row.items() if key not in known)
        lines.append(
            f"| {row['label']} | {row['median_ms']:.1f} | {row['min_ms']:.1f} to {row['max_ms']:.1f} | {row['ratio']:.2f} | "
            f"{row['peak_memory_gb']:.2f} | {notes} |"
        )
    return "\n".join(lines)


def machine() -> str:
    """Processor and versions, for the record."""
    import importlib.metadata as metadata

    versions = [f"{name} {metadata.version(name)}" for name in ("jax", "flax", "torch", "transformers") if _installed(name)]
    cpu = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    return (
        f"{cpu or platform.processor()}, {len(os.sched_getaffinity(0))} cores; Python {platform.python_version()}, "
        + ", ".join(versions)
    )


def against_torch(ours: Sequence[str], theirs: Sequence[str], fast: Mapping[str, str]) -> list[Contender]:
    """genjax; torch as it comes and compiled (`--compile` of its worker), both again in the environment of `mkl_fast_path`."""
    compiled = [*theirs, "--compile"]
    found = [Contender("genjax", ours), Contender("torch eager", theirs), Contender("torch.compile", compiled)]
    if fast:
        found += [Contender("torch eager, MKL fast path", theirs, fast)]
        found += [Contender("torch.compile, MKL fast path", compiled, fast)]
    return found


def mkl_fast_path(folder: Path) -> dict[str, str]:
    """Environment that lets MKL take its fast kernels on AMD processors; empty where it cannot be made.

    MKL asks a function of its own whether the processor is Intel's; a preloaded library answers yes.
    """
    if "AuthenticAMD" not in "".join(_lines("/proc/cpuinfo")[:20]):
        return {}
    source, library = folder / "intel.c", folder / "intel.so"
    source.write_text("int mkl_serv_intel_cpu_true(void) { return 1; }\n")
    made = subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], capture_output=True)
    return {"LD_PRELOAD": str(library)} if made.returncode == 0 else {}


def _ready(process: subprocess.Popen) -> dict | None:
    for line in process.stdout:
        if line.startswith("READY "):
            return json.loads(line.removeprefix("READY "))
    return None


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def _installed(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None
