"""A finding, and the two ways of looking for libraries and drivers that leave this process undisturbed.

Examples
--------
>>> print(Finding("g++", False, why="'g++' is not an executable on PATH", remedy="apt-get install g++"))
g++: 'g++' is not an executable on PATH; apt-get install g++
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass

# Where the loader looks if it has no cache.
_FOLDERS = ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib")
PATIENCE = 60  # seconds that a driver has to answer


@dataclass(frozen=True)
class Finding:
    """Something that was looked for: its version and path if it was found, otherwise why not, and the remedy."""

    name: str
    found: bool
    version: str = ""
    path: str = ""
    why: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        if self.found:
            return f"{self.name}: found" + f" {self.version}" * bool(self.version) + f" ({self.path})" * bool(self.path)
        return f"{self.name}: {self.why}; {self.remedy}"


def find_library(name: str, folders: Iterable[str | os.PathLike[str]] = ()) -> str | None:
    """The path of the shared library that ``dlopen(name)`` would open, without loading it; None if there is none.

    Parameters
    ----------
    name : str
        Such as ``"libOpenCL.so"``.
    folders : iterable of path-like
        More folders to look in after the loader's own.
    """
    searched = [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    for folder in searched:
        if os.path.exists(os.path.join(folder, name)):
            return os.path.join(folder, name)
    ldconfig = shutil.which("ldconfig", path="/sbin:/usr/sbin")
    if ldconfig:
        cache = subprocess.run([ldconfig, "-p"], capture_output=True, text=True).stdout
        for line in cache.splitlines():
            entry, _, path = line.strip().partition(" => ")
            if entry.split(" ")[0] == name and "x86-64" in entry and os.path.exists(path):
                return path
    for place in (*_FOLDERS, *folders):
        if os.path.exists(os.path.join(place, name)):
            return os.path.join(place, name)
    return None


def version_of(path: str) -> str:
    """The version in which the name of a library's real file ends, such as ``"1.5.3"``; empty if there is none."""
    version = re.search(r"\.so\.(\d[\d.]*)$", os.path.realpath(path))
    return version[1] if version else ""


def ask(probe: str, *arguments: str) -> tuple[str, str]:
    """Run Python code in a bare child process; return (standard output, "") or ("", why it failed)."""
    try:
        command = [sys.executable, "-I", "-S", "-c", probe, *arguments]
        child = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return "", f"the driver did not answer within {PATIENCE} seconds"
    if child.returncode:
        last = (child.stderr.strip().splitlines() or [f"exit status {child.returncode}"])[-1]
        return "", f"asking the driver failed ({last})"
    return child.stdout, ""
