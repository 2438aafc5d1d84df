"""SIGTERM and SIGINT ask for a stop between steps. What several processes agree on: tests/runs/test_two_process_checkpoint.py."""

import os
import signal
import threading

import pytest

from genjax.training.signals import StopSignal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_flag_that_stays(number):
    with StopSignal() as stop:
        assert not stop.stop_after(1) and stop.name == ""
        os.kill(os.getpid(), number)
        assert stop.stop_after(2) and stop.stop_after(3)
        assert stop.name == number.name


def test_a_second_sigint_interrupts_at_once():
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.stop_after(1)


def test_a_second_sigterm_is_patient():
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.stop_after(1) and stop.name == "SIGTERM"


def test_the_handlers_before_come_back_also_after_an_error():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(RuntimeError, match="boom"), StopSignal():
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] != before
        raise RuntimeError("boom")
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_outside_the_main_thread_it_never_stops():
    answers = []

    def run():
        with StopSignal() as stop:
            answers.append(stop.stop_after(1))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert answers == [False]
