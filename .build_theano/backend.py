"""Build theano 1.0.5 on Python 3.12 and later, where its own setup.py does not run.

theano 1.0.5 is published as a source archive only, and its setup.py uses names that Python no longer has. From Python
3.12 on fastvae's setup.py requires this folder in its place, so that `pip install .` and `uv pip install .` come here:
a build backend (PEP 517) that lets pip fetch and build the archive with the names of `names/sitecustomize.py`.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

REQUIREMENT = "theano==1.0.5"
NAMES = pathlib.Path(__file__).parent / "names"


def build_wheel(
    wheel_directory: str, config_settings: dict[str, str] | None = None, metadata_directory: str | None = None
) -> str:
    """Put theano's wheel into a folder, and return its file name."""
    # Without what the outer pip says of this backend; its environment's packages reach the inner one by the path.
    environ = {name: value for name, value in os.environ.items() if "BACKEND_PATH" not in name}
    environ["PYTHONPATH"] = os.pathsep.join([str(NAMES), *filter(None, sys.path)])
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    options = ["--no-build-isolation", "--use-pep517", "--wheel-dir", wheel_directory]
    before = set(os.listdir(wheel_directory))
    done = subprocess.run([*pip, *options, REQUIREMENT], env=environ, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{REQUIREMENT} cannot be fetched and built:\n{done.stderr}")
    (wheel,) = set(os.listdir(wheel_directory)) - before
    return wheel
