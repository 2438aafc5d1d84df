"""The bar for a terminal and the lines for a log."""

import io
import re

import pytest

from genjax.training import progress
from genjax.training.progress import Progress, duration, short


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_whole_lines_without_control_characters(clock):
    log = io.StringIO()
    with Progress(2000, unit="tokens", stream=log) as bar:
        for step in range(1, 2001):
            clock[0] += 0.05
            bar.update(step, {"accuracy": 0.25, "loss": 4.0 - step / 1000, "rate": 12_345.0, "mfu": 0.4217, "gradient_norm": 1.0})
    lines = log.getvalue().splitlines()
    assert lines[0] == "step 1/2,000 (0 %): loss 3.999, accuracy 0.25, 12.3k tokens/s, MFU 42.2 %, ETA 1:40"
    assert lines[-1] == "step 2,000/2,000 (100 %): loss 2, accuracy 0.25, 12.3k tokens/s, MFU 42.2 %"
    assert len(lines) == 21  # 100 s, a line every 5 s, and the last step
    assert "\r" not in log.getvalue() and "\x1b" not in log.getvalue()


def test_a_long_run_gets_fewer_lines(clock):
    log = io.StringIO()
    with Progress(10**9, stream=log) as bar:
        for step in range(1, 24 * 360 + 1):
            clock[0] += 10
            bar.update(step)
    assert 1400 < len(log.getvalue().splitlines()) < 1600  # a day: one a minute


def test_what_is_known_stays_and_the_rest_is_absent(clock):
    log = io.StringIO()
    with Progress(10, stream=log, every_seconds=0) as bar:
        bar.update(0)
        clock[0] += 2
        bar.update(1, {"generator/loss": 1.25, "critic/loss": -0.5, "held_out/loss": 9.0})
        clock[0] += 2
        bar.update(2)
    assert log.getvalue().splitlines() == [
        "step 0/10 (0 %)",
        "step 1/10 (10 %): critic loss -0.5, generator loss 1.25, ETA 18s",
        "step 2/10 (20 %): critic loss -0.5, generator loss 1.25, ETA 16s",
    ]


def test_after_a_resume_the_eta_counts_this_session_only(clock):
    log = io.StringIO()
    with Progress(1000, initial=900, stream=log) as bar:
        clock[0] += 30
        bar.update(950)
    assert log.getvalue() == "step 950/1,000 (95 %): ETA 30s\n"


def test_the_bar_of_a_terminal():
    screen = Terminal()
    with Progress(200, initial=50, unit="images", stream=screen) as bar:
        assert "25% |" in screen.getvalue() and "| 50/200 [" in screen.getvalue()
        bar.update(100, {"loss": 1.23456, "accuracy": 0.5, "rate": 70.0, "mfu": 0.5})
        bar.message("a sample of text")
        bar.update(200)
    text = screen.getvalue()
    assert re.search(r"100% \|.*\| 200/200 \[.*, loss 1\.235, accuracy 0\.5, 70 images/s, MFU 50\.0 %\]", text)
    assert "a sample of text\n" in text
    assert "it/s" not in text


def test_messages_of_a_log_stand_on_their_own(capsys):
    with Progress(3) as bar:
        bar.message("resumed from step 1")
        bar.update(1)
    captured = capsys.readouterr()
    assert captured.out == "resumed from step 1\n" and captured.err.startswith("step 1/3 (33 %)")


def test_other_processes_show_nothing(capsys):
    with Progress(3, enabled=False) as bar:
        bar.update(3, {"loss": 1.0})
        bar.message("x")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "number, text", [(0, "0"), (0.523, "0.523"), (999.4, "999"), (999.8, "1k"), (12345, "12.3k"), (4.56e6, "4.56M")]
)
def test_short(number, text):
    assert short(number) == text


@pytest.mark.parametrize("seconds, text", [(41.2, "41s"), (125, "2:05"), (11045, "3:04:05"), (183845, "2d 03:04:05")])
def test_duration(seconds, text):
    assert duration(seconds) == text
