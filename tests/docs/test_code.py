"""The code of the site that its build does not run: Python runs, and commands are ones that fastvae takes."""

import importlib.metadata
import re
import shlex

import pytest

from fastvae.cli import parser
from tests.conftest import ROOT

PAGES = {
    path.relative_to(ROOT / "docs").as_posix(): path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "docs").rglob("*.md"))
    if "_build" not in path.parts
}
# Pages beside the site.
BESIDE = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")]
# What the Python of each page takes as given.
GIVEN = """
import pathlib

import numpy as np
from PIL import Image

import fastvae

images, labels = (rows[:200] for rows in fastvae.datasets.load(labels=True))
vae = fastvae.MLPVAE(hidden=8, seed=1)
approx = vae.fit(images, n=2, seed=1)
np.save("images.npy", images)
for name in ("cats", "dogs"):
    pathlib.Path("photos", name).mkdir(parents=True)
    Image.fromarray(np.uint8(255 * images[0, 0])).save(f"photos/{name}/1.png")
"""


def lines_of(text, language):
    """All code of a page in one language."""
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.S | re.M)).splitlines()


def test_the_python_of_each_page_runs(python):
    code = {page: "\n".join(lines_of(text, "python")).replace("1_000", "2") for page, text in PAGES.items()}
    code = {page: text for page, text in code.items() if text}
    assert len(code) > 8
    run_each = f"for page, text in {code!r}.items():\n    exec(compile(text, page, 'exec'), dict(globals()))"
    done = python(GIVEN + run_each, FASTVAE_PROFILE="cpu", timeout=600)
    assert done.returncode == 0, done.stderr


def commands():
    for text in PAGES.values():
        for line in lines_of(text, "sh"):
            for command in re.findall(r"(?:^|[ /])(fastvae (?!.*\.py).*)", line.partition("#")[0]):
                yield command.split(" && ")[0]


def test_the_commands_are_fastvaes():
    found = sorted(set(commands()))
    assert len(found) > 12
    for command in found:
        arguments = shlex.split(command)[1:]
        if arguments[-1:] == ["--help"]:
            arguments = arguments[:-1]
        try:
            parser.make().parse_args(arguments)
        except SystemExit:
            pytest.fail(f"fastvae refuses {command!r}")


# Of minutes, a GPU or several processes: tests/cli, tests/devices, tests/backends/gpu and tests/parallel run those.
OF_TRAIN = "--profile cuda|--rank-timeout|--data fashion-mnist |--out run"
ELSEWHERE = re.compile(rf"fastvae (bench|build-pygpu|train .*({OF_TRAIN}))")
RUN_COMMANDS = """
from fastvae.cli import main

np.savez("cifar.npz", images=np.uint8(255 * images.reshape(-1, 28, 28, 1)))
TINY = ["--model", "mlp", "--iterations", "2", "--batch-size", "4"]
for name in ("RUN", "RUN1", "RUN2"):
    main(["train", *TINY, "--out", name])
for arguments in commands:
    if "--help" in arguments:
        continue
    resumes = arguments[0] != "train" or "--resume" in arguments
    status = main(arguments if resumes else [*arguments, *TINY])
    assert not status, (arguments, status)
"""


def test_the_commands_run(python):
    found = [shlex.split(command)[1:] for command in sorted(set(commands())) if not ELSEWHERE.match(command)]
    assert len(found) > 12
    done = python(f"{GIVEN}\ncommands = {found!r}{RUN_COMMANDS}", FASTVAE_PROFILE="cpu", timeout=600)
    assert done.returncode == 0, done.stderr


def shell():
    """The lines of shell of all pages."""
    return [line for text in (*PAGES.values(), *BESIDE) for line in lines_of(text, "sh")]


def test_extras_that_are_installed_exist():
    found = {name for line in shell() for names in re.findall(r"\[([a-z,]+)\]", line) for name in names.split(",")}
    assert len(found) > 6
    assert found <= set(importlib.metadata.metadata("fastvae").get_all("Provides-Extra"))


def test_packages_of_debian_are_those_that_ci_installs():
    found = {name for line in shell() if "apt-get install" in line for name in line.split(" install ")[1].split()}
    ci = (ROOT / ".ci/run").read_text()
    assert {name for name in found if name not in ci} <= {"--no-install-recommends", "python3-venv", "python3-dev"}


HELP = """
import contextlib, io, runpy, sys

sys.path.insert(0, root)
for program, options in programs.items():
    sys.argv, said = [program, "--help"], io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        runpy.run_module("bench." + program, run_name="__main__")
    missing = [option for option in options if option not in said.getvalue()]
    assert said.getvalue().startswith("usage:") and not missing, (program, missing, said.getvalue())
"""


def test_programs_of_bench_take_what_the_pages_give_them(python):
    programs = {}
    for text in (*PAGES.values(), *BESIDE):
        for name, rest in re.findall(r"python (?:-m bench\.|bench/)(\w+)(?:\.py)?([^#`|\n]*)", text):
            programs.setdefault(name, set()).update(re.findall(r"--[\w-]+", rest))
    assert len(programs) > 15
    done = python(f"root, programs = {str(ROOT)!r}, {programs!r}{HELP}", FASTVAE_PROFILE="cpu", timeout=600)
    assert done.returncode == 0, done.stderr
