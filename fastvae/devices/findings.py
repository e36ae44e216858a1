"""One thing looked for on this machine, and the two ways of looking that disturb nothing in this process.

Examples
--------
>>> print(Finding("g++", False, why="'g++' is not an executable on PATH", remedy="apt-get install g++"))
g++: 'g++' is not an executable on PATH; apt-get install g++
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass

# Where the loader looks when it has no cache.
_FOLDERS = ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib")


# Seconds that a driver has to answer.
PATIENCE = 60


@dataclass(frozen=True)
class Finding:
    """One thing looked for: whether it was found, its version and path; if not, why and the remedy."""

    name: str
    found: bool
    version: str = ""
    path: str = ""
    why: str = ""
    remedy: str = ""

    def __str__(self):
        if self.found:
            return f"{self.name}: found" + f" {self.version}" * bool(self.version) + f" ({self.path})" * bool(self.path)
        return f"{self.name}: {self.why}; {self.remedy}"


def find_library(name, folders=()):
    """Path of the shared library that ``dlopen(name)`` would take, without loading it; None if there is none.

    Parameters
    ----------
    name : str
        Such as ``"libOpenCL.so"``.
    folders : iterable of path-like
        Further folders to look in, after the loader's own.
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
    for folder in (*_FOLDERS, *folders):
        if os.path.exists(os.path.join(folder, name)):
            return os.path.join(folder, name)
    return None


def version_of(path):
    """The version that the name of a library's real file ends in, such as ``"1.5.3"``; empty if it has none."""
    version = re.search(r"\.so\.(\d[\d.]*)$", os.path.realpath(path))
    return version[1] if version else ""


def ask(probe, *arguments):
    """Run Python text in a bare child process; return (standard output, "") or ("", why it failed)."""
    try:
        command = [sys.executable, "-I", "-S", "-c", probe, *arguments]
        child = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return "", f"the driver did not answer within {PATIENCE} seconds"
    if child.returncode:
        last = (child.stderr.strip().splitlines() or [f"exit status {child.returncode}"])[-1]
        return "", f"asking the driver failed ({last})"
    return child.stdout, ""
