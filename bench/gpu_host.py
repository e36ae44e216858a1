"""What `gpu_report.py` uses of a GPU host: the time that it may take, other interpreters, and folders to compile in.

Examples
--------
>>> budget = Budget(minutes=1)
>>> 59 < budget.left() <= 60 and 29 < budget.left(until=0.5) <= 30
True
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from bench.keep_compiled import COMPILED
from bench.pairing import ROOT, WorkerFailed

SHARE = pathlib.Path(sys.prefix, "share", "fastvae")  # what a bundle carries (`bench/ahead.py`)
NO_COMPILER = SHARE / "no-compiler"  # in the compiler's place: all that is needed should be compiled
SHORTEST = 3.0  # seconds; with less left, a part is not begun
PATIENCE = 60  # seconds for an interpreter that only looks for its own packages

# Folders of CUDA's libraries that come with PyTorch: the site-packages of NVIDIA's wheels, and PyTorch's own.
_LIBRARIES = """
import importlib.util, json, os
def places(name):
    spec = importlib.util.find_spec(name)
    return list(spec.submodule_search_locations or ()) if spec else []
folders = [os.path.dirname(place) for place in places("nvidia")] + [os.path.join(p, "lib") for p in places("torch")]
print(json.dumps([bool(places("torch")), folders]))
"""


class Child:
    """A module in a process of its own that prints lines of JSON and, if it waits to be told, reads one line first."""

    def __init__(self, module: str, environ: Mapping[str, str], *arguments: str) -> None:
        self.module, self.log = module, tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", module, *arguments],
            cwd=ROOT,
            env={**os.environ, **environ},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
        )

    def lines(self, seconds: float) -> Iterator[Any]:
        """What it prints, for at most so many seconds.

        Raises
        ------
        WorkerFailed
            If it ends with another status than 0, with what it said.
        OutOfTime
            If it takes longer, and is killed.
        """
        with ended(self.process, seconds):
            for line in self.process.stdout:
                yield json.loads(line)
            if self.process.wait():
                self.log.seek(0)
                what = f"{self.module} ended with status {self.process.returncode}"
                raise WorkerFailed(one_line(f"{what}: {self.log.read().strip()}"))

    def ready(self, seconds: float) -> None:
        """Return once it has printed its first line, by which it says that it has compiled all."""
        with ended(self.process, seconds):
            if not self.process.stdout.readline():
                for _ in self.lines(seconds):
                    pass
                raise WorkerFailed(f"{self.module} ended before it was ready")

    def go(self) -> None:
        """Tell it to go on."""
        with contextlib.suppress(BrokenPipeError):
            print("go", file=self.process.stdin, flush=True)

    def kill(self) -> None:
        """End it, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        self.log.close()


def one_line(failure: str) -> str:
    """How a process ended, and the last line that it said, without the traceback before it."""
    what, _, said = failure.partition(": ")
    return f"{what}: {said.strip().splitlines()[-1][-500:]}" if said.strip() else failure


class OutOfTime(Exception):
    """A part was not begun, or not ended, because its time was over."""


class Budget:
    """The time that a report may take, from now on."""

    def __init__(self, minutes: float) -> None:
        self.began, self.seconds = time.monotonic(), 60 * minutes

    def spent(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.began

    def left(self, until: float = 1.0) -> float:
        """Seconds until a share of the time is over; negative afterwards."""
        return until * self.seconds - self.spent()

    def check(self, until: float = 1.0) -> None:
        """Raise OutOfTime if hardly anything is left."""
        if self.left(until) < SHORTEST:
            raise OutOfTime(f"left out: {self.spent():.0f} s of {self.seconds:.0f} s were over")


@contextlib.contextmanager
def ended(process: subprocess.Popen, seconds: float) -> Iterator[None]:
    """Kill a process, if it takes longer than the block may, and raise OutOfTime instead of what the block raises."""
    killed = threading.Event()

    def kill():
        killed.set()
        process.kill()

    timer = threading.Timer(max(seconds, 0), kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if killed.is_set():
            raise OutOfTime(f"ended after {max(seconds, 0):.0f} s, its time was over") from error
        raise
    finally:
        timer.cancel()


def torch_python(given: str | None) -> tuple[str | None, list[str], str]:
    """An interpreter that has PyTorch, the folders of CUDA's libraries that came with it, and why there is none.

    Parameters
    ----------
    given : str, optional
        Its path. By default `python3` and `python` are looked for, this interpreter left out.
    """
    why = "no python3 here has it; give --torch-python PATH"
    found = [path for path in map(shutil.which, ("python3", "python")) if path and path != sys.executable]
    for path in [given] if given else found:
        if not os.access(path, os.X_OK):
            why = f"no interpreter {path}"
            continue
        done = subprocess.run([path, "-c", _LIBRARIES], capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode:
            why = f"{path} ended with status {done.returncode}: {done.stderr.strip()[-200:]}"
            continue
        is_there, folders = json.loads(done.stdout)
        if is_there:
            return path, folders, ""
        why = f"{path} does not have it" if given else why
    return None, [], why


class CompileFolders:
    """A compile folder for each process, so that none waits for another: copies of what the bundle carries.

    The kernels, for which nobody has to wait, are shared.
    Outside of a bundle, or where THEANO_FLAGS names a folder, all processes share the usual one.
    """

    def __init__(self) -> None:
        self.flags = os.environ.get("THEANO_FLAGS", "")
        self.template = SHARE / "compile"
        self.copies = self.template.is_dir() and "compiledir" not in self.flags
        self.home = tempfile.TemporaryDirectory(prefix="fastvae-compile-") if self.copies else None
        self.made = 0
        self.lock = threading.Lock()

    def environ(self, profile: str, **options: str) -> dict[str, str]:
        """The variables of one more process under a profile, with keys of fastvae's own such as `cudnn_search`."""
        flags = [self.flags, *(f"fastvae.{key}={value}" for key, value in options.items())]
        if self.home is not None:
            with self.lock:
                self.made += 1
                folder = os.path.join(self.home.name, str(self.made))
            os.mkdir(folder)
            for part in self.template.iterdir():
                if part.name == COMPILED:
                    shutil.copytree(part, os.path.join(folder, part.name))
                else:
                    os.symlink(part, os.path.join(folder, part.name))
            flags += [f"base_compiledir={folder}", f"compiledir_format={COMPILED}"]
            if not shutil.which("g++"):
                flags += [f"cxx={NO_COMPILER}", "gcc.cxxflags=-march=x86-64"]  # else its own processor is looked for
        return {"FASTVAE_PROFILE": profile, "THEANO_FLAGS": ",".join(filter(None, flags))}

    def close(self) -> None:
        if self.home is not None:
            self.home.cleanup()
