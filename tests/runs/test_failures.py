"""What goes wrong at the command line ends in a sentence and exit code 2, without a traceback."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import train

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def ask(runs, capfd):
    """train.py as a function of the run directory and further arguments; its exit code and what it printed."""

    def ask(workdir, *arguments):
        capfd.readouterr()
        code = train.main([f"--config={runs.config}", f"--workdir={runs.folder / workdir}", *arguments])
        return code, "".join(capfd.readouterr())

    return ask


@pytest.fixture
def sentence(ask):
    def sentence(workdir, *arguments):
        code, output = ask(workdir, *arguments)
        assert code == 2 and output.count("error: ") == 1, output
        return output[output.index("error: ") :]

    return sentence


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.optimizer.peak_lrr=1"], "unknown key config.optimizer.peak_lrr; did you mean config.optimizer.peak_lr?"),
        (["--config.trian.steps=1"], "unknown key config.trian; did you mean config.train?"),
        (
            ["--config.task.model.num_layer=1"],
            "unknown key config.task.model.num_layer; did you mean config.task.model.num_layers?",
        ),
        (["--config.task.name=languagemodel"], "did you mean 'language_model'?"),
        (["--config.data.batchsize=1"], "unknown key config.data.batchsize; did you mean config.data.batch_size?"),
        (
            ["--config.data.batch_size=30"],
            "batch_size 30 does not divide over 8 batch shards (mesh data=8); set data.batch_size to 24 or 32",
        ),
        (["--config.mesh.data=3"], "needs 3 devices, but there are 8"),
        (["--config.data.path=nowhere.txt"], "nowhere.txt"),
        (["--config.data.sequence_length=65"], "data.sequence_length 65 is longer than the model's context_length 64"),
    ],
)
def test_a_wrong_config_is_one_sentence(runs, sentence, arguments, message):
    assert message in sentence("wrong", *arguments)
    assert not (runs.folder / "wrong" / "checkpoints").exists()


def test_empty_data(runs, sentence):
    empty = runs.folder / "empty.txt"
    empty.write_text("")
    assert "empty" in sentence("wrong", f"--config.data.path={empty}")


def test_text_that_is_not_utf8(runs, sentence):
    latin = runs.folder / "latin.txt"
    latin.write_bytes(b"plain text, then caf\xe9 and more " * 50)
    message = sentence("wrong", f"--config.data.path={latin}")
    assert "latin.txt" in message and "UTF-8" in message


DIVERGES = ("--config.optimizer.peak_lr=1e30", "--config.optimizer.clip_norm=0.0", "--config.optimizer.warmup_steps=0")


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(sentence):
    message = sentence("nan", *DIVERGES)
    assert "not finite" in message and "guard.policy=skip" in message


def test_bad_steps_are_left_out_on_request(ask):
    code, output = ask("skip", *DIVERGES, "--config.guard.policy=skip")
    assert code == 0 and "left out" in output


def test_a_second_process_on_the_same_run_directory_is_refused(runs, sentence):
    """That the lock of a killed process is gone with it, test_resume.py shows."""
    process = runs.start("shared", "--config.train.steps=100000")
    runs.wait_for_step(process, "shared", 2)
    assert str(process.pid) in sentence("shared")
    process.kill()
    process.wait()


def test_another_config_in_the_same_run_directory_is_refused(whole, sentence):
    message = sentence(whole, "--config.optimizer.peak_lr=0.5")
    assert "config.optimizer.peak_lr: 0.01 -> 0.5" in message


def test_a_corrupt_newest_checkpoint_falls_back_to_the_one_before(runs, whole):
    shutil.copytree(runs.folder / whole, runs.folder / "corrupt")
    newest = runs.folder / "corrupt" / "checkpoints" / "24"
    victims = sorted((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    victims[-1].write_bytes(victims[-1].read_bytes()[: victims[-1].stat().st_size // 2])
    output = runs.run("corrupt")
    assert "resumed from the checkpoint of step 20" in output
    assert "24" in output and "20" in output
    assert runs.losses("corrupt") == runs.losses(whole)


def test_a_full_disk_is_said_and_the_last_good_checkpoint_stays(runs, whole):
    """A limit on file sizes stands in for a full disk (tests/training/test_checkpoints.py fills a real one)."""
    checkpoints = runs.folder / "full" / "checkpoints"
    shutil.copytree(runs.folder / whole, runs.folder / "full")
    shutil.rmtree(checkpoints / "24")
    before = {path: path.read_bytes() for path in (checkpoints / "20").rglob("*") if path.is_file()}
    command = [sys.executable, str(ROOT / "train.py"), f"--config={runs.config}", f"--workdir={runs.folder / 'full'}"]
    limited = subprocess.run(
        ["bash", "-c", 'ulimit -f 60; trap "" XFSZ; exec "$@"', "bash", *command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=runs.environment(),
    )
    output = limited.stdout + limited.stderr
    assert limited.returncode == 2 and "Traceback" not in output, output
    assert "could not be saved: file too large; the last good checkpoint is step 20" in output
    assert before == {path: path.read_bytes() for path in (checkpoints / "20").rglob("*") if path.is_file()}


def test_no_workdir_and_no_config(runs):
    def call(*arguments):
        return subprocess.run([sys.executable, str(ROOT / "train.py"), *arguments], capture_output=True, text=True, cwd=ROOT)

    result = call("--config=configs/gpt/gpt_tiny.py")
    assert result.returncode == 2 and "--workdir is missing" in result.stderr
    result = call("--config=configs/gpt/gpt_tinny.py", "--workdir=x")
    assert result.returncode == 2 and "did you mean configs/gpt/gpt_tiny.py?" in result.stderr
