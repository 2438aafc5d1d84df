"""Whole runs as processes: a small config, and ways to start, stop and read a run.

Fixtures that run something are of the session, also those of one module: a worker may get its tests in two parts.
"""

import json
import os
import random
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({
        "seed": 3,
        "task": {
            "name": "language_model",
            "model": {"num_layers": 2, "num_heads": 2, "embed_dim": 32, "context_length": 64, "dropout": 0.1},
            "prompts": ("the ",), "sample_tokens": 8,
        },
        "data": {
            "name": "text", "path": "TEXT", "document_separator": "\\n\\n", "tokenizer": {"name": "byte"},
            "batch_size": 8, "sequence_length": 32, "mode": "pack", "evaluation_fraction": 0.2,
        },
        "optimizer": {"peak_lr": 1e-2, "warmup_steps": 4, "weight_decay": 0.1, "clip_norm": 1.0},
        "mesh": {"data": -1},
        "ema": {"decays": (0.9,)},
        "train": {"steps": 24, "log_every": 2, "eval_every": 12, "eval_batches": 2, "checkpoint_every": 4, "keep": 3},
    })
"""


def make_text() -> str:
    """Documents of very different lengths, so that packing has work to do."""
    words = "the quick brown fox jumps over a lazy dog while seven wizards box".split()
    rng = random.Random(0)
    return "\n\n".join(" ".join(rng.choices(words, k=rng.randint(1, 40))) for _ in range(400))


class Runs:
    """Starts train.py in a folder of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.text = folder / "text.txt"
        self.text.write_text(make_text())
        self.config = folder / "tiny.py"
        self.config.write_text(CONFIG.replace("TEXT", str(self.text)))

    def environment(self, devices: int = 1) -> dict[str, str]:
        """Programs compile fast and run slow, as those of the other tests."""
        count = f"--xla_force_host_platform_device_count={devices}"
        flags = re.sub(r"--xla_force_host_platform_device_count=\d+", count, os.environ["XLA_FLAGS"])
        return {**os.environ, "XLA_FLAGS": flags}

    def start(self, workdir: str, *arguments: str, devices: int = 1, environment: dict | None = None) -> subprocess.Popen:
        variables = self.environment(devices) | (environment or {})
        command = [sys.executable, str(ROOT / "train.py"), f"--config={self.config}", f"--workdir={self.folder / workdir}"]
        return subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=variables, cwd=ROOT
        )

    def run(self, workdir: str, *arguments: str, code: int = 0, **settings) -> str:
        process = self.start(workdir, *arguments, **settings)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == code, output
        return output

    def run_processes(self, workdir: str, count: int, *arguments: str, devices: int) -> list[str]:
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            port = probe.getsockname()[1]
        names = {"JAX_COORDINATOR_ADDRESS": f"localhost:{port}", "JAX_NUM_PROCESSES": str(count)}
        started = [
            self.start(workdir, *arguments, devices=devices, environment={**names, "JAX_PROCESS_ID": str(index)})
            for index in range(count)
        ]
        outputs = [process.communicate(timeout=300)[0] for process in started]
        assert [process.returncode for process in started] == [0] * count, "\n".join(outputs)
        return outputs

    def wait_for_step(self, process: subprocess.Popen, workdir: str, step: int) -> None:
        """Returns when metrics.jsonl tells of `step`."""
        while process.poll() is None and self.last_step(workdir) < step:
            time.sleep(0.005)
        assert process.poll() is None, process.communicate()[0]

    def metrics(self, workdir: str) -> list[dict]:
        path = self.folder / workdir / "metrics.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def last_step(self, workdir: str) -> int:
        return max((line["step"] for line in self.metrics(workdir)), default=0)

    def losses(self, workdir: str) -> dict[int, float]:
        return {line["step"]: line["loss"] for line in self.metrics(workdir) if "loss" in line}

    def state(self, workdir: str, step: int | None = None) -> dict:
        """The whole state of a checkpoint as NumPy arrays by path."""
        from genjax.config import load_file
        from genjax.training.checkpoints import Checkpoints
        from genjax.training.run_config import structure_run
        from genjax.training.setup import make_plan

        plan = make_plan(structure_run(load_file(self.config) | {"mesh": {"data": 1}}), devices=jax.devices()[:1])
        with Checkpoints(self.folder / workdir / "checkpoints") as checkpoints:
            tree, _, _ = checkpoints.restore(plan.abstract.as_dict(), step)
        raw = lambda x: jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x  # noqa: E731
        return {jax.tree_util.keystr(path): jax.device_get(raw(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def whole(runs) -> str:
    """A run from beginning to end in one go, on one device."""
    runs.output = runs.run("whole")
    return "whole"
