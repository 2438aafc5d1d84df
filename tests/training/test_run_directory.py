"""A run directory has one writer, one config and a record; each misuse is a sentence."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from genjax.errors import ConfigError, RunError
from genjax.training import run_directory
from genjax.training.run_directory import RunDirectory, write_json

ROOT = Path(__file__).resolve().parents[2]
CONFIG = {"seed": 1, "task": {"name": "language_model", "model": {"num_layers": 2, "dims": (4, 8)}}, "train": {"steps": 10}}
CHANGEABLE = ("train.steps", "train.*_every", "mesh.*")


def test_creates_parents_and_can_be_opened_again(tmp_path):
    for _ in range(2):
        with RunDirectory(tmp_path / "a" / "b") as run:
            assert run.path == tmp_path / "a" / "b" and run.path.is_dir()


def test_a_second_opening_is_refused_and_names_the_holder(tmp_path):
    with RunDirectory(tmp_path / "run") as run:
        with pytest.raises(RunError) as caught:
            RunDirectory(tmp_path / "run")
        message = str(caught.value)
        assert f"{run.path} is in use by process {os.getpid()} on {socket.gethostname()} since 20" in message
        assert "choose another --workdir" in message
    RunDirectory(tmp_path / "run").close()


HOLDER = """
import os, sys, time
from genjax.training.run_directory import RunDirectory
RunDirectory(sys.argv[1])
if len(sys.argv) == 2 or os.fork():
    print("locked", flush=True)
sys.stdin.read()
os._exit(0)  # what threads were doing at the fork cannot be waited for
"""


def start_holder(path, *arguments):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path, *arguments], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "locked\n"
    return process


def test_the_kernel_frees_the_lock_of_a_killed_process(tmp_path):
    holder = start_holder(tmp_path / "run")
    with pytest.raises(RunError, match=f"in use by process {holder.pid} on "):
        RunDirectory(tmp_path / "run")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    RunDirectory(tmp_path / "run").close()


def test_a_child_that_outlives_the_holder_is_told_apart(tmp_path):
    holder = start_holder(tmp_path / "run", "fork")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with pytest.raises(RunError, match=rf"in use by a process that {holder.pid} \(on .*\) started and left behind"):
        RunDirectory(tmp_path / "run")
    holder.stdin.close()  # the child reads its end and leaves


def test_a_path_that_is_a_file_or_below_one(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RunError, match=r"cannot be made: .*/file is a file; choose another --workdir"):
            RunDirectory(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_path_without_permission(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(RunError, match="cannot write the run directory .*: permission denied"):
        RunDirectory(tmp_path / "run")


@pytest.mark.parametrize("code, text", [(errno.EACCES, "permission denied"), (errno.EROFS, "read-only file system")])
def test_a_path_that_cannot_be_written(tmp_path, monkeypatch, code, text):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(RunError, match=f"cannot write the run directory .*/run: {text}"):
        RunDirectory(tmp_path / "run")


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    RunDirectory(tmp_path / "run").close()
    assert capsys.readouterr().err.count("is on a file system without locks; keep other runs away from it") == 1


def test_config_is_stored_and_the_same_config_goes_on(tmp_path):
    with RunDirectory(tmp_path) as run:
        assert run.write_config(CONFIG) == []
        stored = json.loads((tmp_path / "config.json").read_text())
        assert stored == json.loads(json.dumps(CONFIG))
        assert run.write_config(CONFIG) == [] and run.write_config(stored) == []


def test_a_changed_config_is_refused_with_every_difference(tmp_path):
    changed = {**CONFIG, "seed": 2, "task": {"name": "language_model", "model": {"dims": (4, 9)}}, "train": {"steps": 20}}
    with RunDirectory(tmp_path) as run:
        run.write_config(CONFIG)
        with pytest.raises(ConfigError) as caught:
            run.write_config(changed, changeable=CHANGEABLE)
        assert str(caught.value).splitlines() == [
            f"the config differs from the one that {tmp_path} was started with (old -> new):",
            "  config.seed: 1 -> 2",
            "  config.task.model.dims: [4, 8] -> [4, 9]",
            "  config.task.model.num_layers: 2 -> None",
            "Start a new run with another --workdir, take the changes back, or accept them with --allow_changes.",
        ]
        assert json.loads((tmp_path / "config.json").read_text())["seed"] == 1
        accepted = run.write_config(changed, changeable=CHANGEABLE, allow_changes=True)
        assert len(accepted) == 4
        assert json.loads((tmp_path / "config.json").read_text())["seed"] == 2


def test_changeable_keys_change_and_are_stored(tmp_path):
    changed = {**CONFIG, "train": {"steps": 20, "eval_every": 5}, "mesh": {"data": 4}}
    with RunDirectory(tmp_path) as run:
        run.write_config(CONFIG)
        assert run.write_config(changed, changeable=CHANGEABLE) == [
            "config.mesh.data: None -> 4",
            "config.train.eval_every: None -> 5",
            "config.train.steps: 10 -> 20",
        ]
        assert json.loads((tmp_path / "config.json").read_text())["train"]["steps"] == 20


def test_a_torn_config_is_a_sentence(tmp_path):
    (tmp_path / "config.json").write_text('{"seed": ')
    with RunDirectory(tmp_path) as run, pytest.raises(RunError, match=r"config\.json is not JSON .*; restore it, or delete it"):
        run.write_config(CONFIG)


def test_environment_lists_every_start(tmp_path):
    with RunDirectory(tmp_path) as run:
        run.write_environment({"parameters": 12})
        run.write_environment()
    first, second = json.loads((tmp_path / "environment.json").read_text())["starts"]
    assert first["parameters"] == 12 and "parameters" not in second
    assert first["versions"]["jax"] == jax.__version__
    assert {"flax", "optax", "orbax-checkpoint"} <= first["versions"].keys()
    assert first["devices"] == {"count": jax.device_count(), "kind": "cpu", "platform": "cpu", "processes": 1}
    assert first["command"] == sys.argv
    assert socket.gethostname() not in json.dumps([first[key] for key in ("platform", "versions", "genjax", "devices")])


def git(folder, *arguments):
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    return subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_of_the_checkout_and_whether_it_is_dirty(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "Begin")
    commit = git(tmp_path, "rev-parse", "HEAD")
    version = run_directory.__version__
    assert run_directory._git_state(tmp_path) == {"version": version, "commit": commit, "dirty": False}
    (tmp_path / "code.py").write_text("2")
    assert run_directory._git_state(tmp_path)["dirty"] is True
    (tmp_path / "site-packages").mkdir()
    assert run_directory._git_state(tmp_path / "site-packages") == {"version": version}


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    write_json(tmp_path / "x.json", {"a": 1})

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_json(tmp_path / "x.json", {"a": 2})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
    with RunDirectory(tmp_path) as run, pytest.raises(RunError, match="cannot write .*: no space left on device"):
        run.write_config(CONFIG)
