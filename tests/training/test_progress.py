import io
import re

import pytest

from fastvae.compilation import _watchers
from fastvae.training import progress
from fastvae.training.progress import Progress, compiling


class Terminal(io.StringIO):
    def isatty(self):
        return True


def show(stream, n=5, batch_size=None):
    with Progress(n, batch_size, stream=stream) as bar:
        for i in range(1, n + 1):
            bar.update(i, [6.0] * i)
    return stream.getvalue()


def test_a_terminal_gets_one_line_that_is_rewritten():
    text = show(Terminal(), batch_size=2)
    assert text.count("\n") == 1 and "\r" in text
    assert "5/5" in text and "ELBO/image -3.000" in text and "it/s" in text


def test_a_file_gets_whole_lines_now_and_then(monkeypatch):
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    lines = show(io.StringIO()).splitlines()
    # 4 s a step and a line every 10 s at the earliest: steps 3 and 5
    assert [line.split("/")[0] for line in lines] == ["3", "5"]
    assert all(re.fullmatch(r"\d/5 \[\d\d:\d\d<\d\d:\d\d, .*(it/s|s/it), loss 6\]", line) for line in lines)
    assert not any("\r" in line for line in lines)


def test_the_loss_shown_is_the_mean_of_the_last_hundred():
    stream = io.StringIO()
    with Progress(200, stream=stream) as bar:
        bar.update(200, [1000.0] * 100 + [1.0, 3.0] * 50)
    assert "loss 2]" in stream.getvalue()


def test_no_loss_no_score():
    stream = io.StringIO()
    with Progress(1, stream=stream) as bar:
        bar.update(1, [])
    assert "loss" not in stream.getvalue()


@pytest.mark.parametrize("shell, rewrites", [("ZMQInteractiveShell", True), ("TerminalInteractiveShell", False)])
def test_a_notebook_rewrites_its_line(monkeypatch, shell, rewrites):
    class IPython:
        get_ipython = staticmethod(type(shell, (), {}))

    monkeypatch.setitem(progress.sys.modules, "IPython", IPython)
    assert ("\r" in show(io.StringIO())) is rewrites


@pytest.mark.parametrize("stream, rewrites", [(Terminal(), True), (io.StringIO(), False)])
def test_compiling_counts_modules_and_says_nothing_without_any(stream, rewrites):
    with compiling(stream):
        pass
    assert stream.getvalue() == ""
    with compiling(stream):
        (watcher,) = _watchers
        for done in (1, 2, 3, 3):
            watcher(done, 3)
    assert not _watchers
    text = stream.getvalue()
    assert (
        ("\r" in text and "compiling" in text and "/3" in text)
        if rewrites
        else text.splitlines() == ["compiled 1 of 3 C modules", "compiled 3 of 3 C modules"]
    )


def test_skipped_steps_are_left_out_and_the_held_out_elbo_stays():
    stream = io.StringIO()
    with Progress(3, batch_size=2, stream=stream, done=2) as bar:
        bar.interval = 0
        bar.update(2, [4.0, float("nan")], held_out_elbo=-7.5)
        bar.update(3, [4.0, float("nan"), float("nan")])
        bar.update(3, [float("nan")])
    lines = stream.getvalue().splitlines()
    assert all("ELBO/image -2.000, held-out ELBO/image -7.500" in line for line in lines[:2])
    assert "ELBO" not in lines[2]
