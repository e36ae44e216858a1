import os
import signal
import threading

import pytest

from fastvae.interrupts import Interrupted, Terminated, after_the_step, termination_raises, while_waiting


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_becomes_a_value_and_the_old_handler_returns(number):
    before = signal.getsignal(number)
    with after_the_step() as interrupted:
        assert interrupted() is None
        os.kill(os.getpid(), number)
        assert interrupted() is number
    assert signal.getsignal(number) is before


def test_a_signal_that_the_process_ignores_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with after_the_step() as interrupted:
            os.kill(os.getpid(), signal.SIGINT)
            assert interrupted() is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_termination_raises_elsewhere():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), termination_raises():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_other_threads_get_no_handler():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def body():
        with after_the_step() as interrupted:
            seen.append((interrupted(), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [(None, before)]


def test_what_waits_is_told_of_a_signal_once_it_has_come():
    while_waiting()
    with after_the_step():
        while_waiting()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted) as error:
            while_waiting()
        assert error.value.signal is signal.SIGTERM
        with after_the_step():  # another training, in a callback of this one
            while_waiting()
        other = threading.Thread(target=lambda: seen.append(while_waiting()))
        seen = []
        other.start()
        other.join()
        assert seen == [None]
    while_waiting()
