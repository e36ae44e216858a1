import os
import signal
import threading

from fastvae.interrupts import after_the_step


def test_ctrl_c_becomes_a_flag_and_the_old_handler_returns():
    before = signal.getsignal(signal.SIGINT)
    with after_the_step() as interrupted:
        assert not interrupted()
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupted()
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_get_no_handler():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def body():
        with after_the_step() as interrupted:
            seen.append((interrupted(), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
