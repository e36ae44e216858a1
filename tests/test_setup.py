"""What `pip install .` brings on each Python, and how theano is built on those that its own setup.py does not know."""

import importlib.metadata
import re
import runpy
import shutil
import sys
from unittest import mock

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import fastvae
from fastvae import devices
from tests.conftest import ROOT

BACKEND = ROOT / ".build_theano"

# A pip that makes an empty wheel if the names that theano's setup.py uses are there.
PIP = """
import configparser, pathlib, sys
parser = configparser.SafeConfigParser()
parser.readfp(open(sys.argv[-1].replace("theano==1.0.5", "setup.cfg")))
print(parser["versioneer"]["style"], *sys.argv[1:])
pathlib.Path(sys.argv[sys.argv.index("--wheel-dir") + 1], "theano-1.0.5-py3-none-any.whl").touch()
"""


@pytest.fixture(scope="module")
def setup():
    """The arguments of `setup` in setup.py."""
    with mock.patch("setuptools.setup") as called:
        names = runpy.run_path(str(ROOT / "setup.py"))
    return called.call_args.kwargs, names["PYTHONS"]


def required(setup, python):
    """Name and requirement of everything that a Python needs."""
    environment = {"python_version": python, "platform_machine": "x86_64", "extra": ""}
    requirements = map(Requirement, setup[0]["install_requires"])
    return [
        (requirement.name, requirement)
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate(environment)
    ]


def test_each_python_has_one_pin_of_each_package(setup):
    of_each = [[name for name, _ in required(setup, python)] for python in setup[1]]
    assert all(len(set(names)) == len(names) and sorted(names) == sorted(of_each[0]) for names in of_each)


def test_python_requires_and_classifiers_are_those_of_the_pins(setup):
    admitted = SpecifierSet(setup[0]["python_requires"])
    assert [f"3.{i}" for i in range(6, 20) if f"3.{i}.1" in admitted] == list(setup[1])
    classified = re.findall(r"Python :: ([\d.]+)", "\n".join(setup[0]["classifiers"]))
    assert classified == list(setup[1])


@pytest.mark.parametrize("version", [(3, 9, 18), (3, 14, 0)])
def test_another_python_is_refused_before_anything_is_fetched_for_it(version):
    with mock.patch("setuptools.setup") as called, mock.patch.object(sys, "version_info", version):
        runpy.run_path(str(ROOT / "setup.py"))
    extras = called.call_args.kwargs["extras_require"]
    assert called.call_args.kwargs["install_requires"] == [] and "test" in extras and not any(extras.values())


def test_what_is_installed_here_is_what_it_asks_for(setup):
    for name, requirement in required(setup, devices.PYTHON):
        assert importlib.metadata.version(name) in requirement.specifier, name


def test_devices_name_the_pinned_scipy(setup):
    assert dict(required(setup, devices.PYTHON))["scipy"].specifier == SpecifierSet(devices.SCIPY[len("scipy") :])


def test_theano_is_built_by_the_folder_that_is_named(setup):
    (url,) = {requirement.url for python in ("3.12", "3.13") for name, requirement in required(setup, python)
              if name == "theano"}  # fmt: skip
    assert url == BACKEND.as_uri() and (BACKEND / "pyproject.toml").is_file()


def test_the_backend_has_pip_build_theano_with_the_names_that_are_gone(run, tmp_path):
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "pip.py").write_text(PIP)
    (tmp_path / "setup.cfg").write_text("[versioneer]\nstyle = pep440\n")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "another.whl").touch()
    code = f"import sys; sys.path[:0] = [{str(tmp_path / 'packages')!r}, {str(BACKEND)!r}]; import backend\n"
    done = run(sys.executable, "-c", f"{code}print(backend.build_wheel({str(wheels)!r}))")
    assert done.stdout == "theano-1.0.5-py3-none-any.whl\n", done.stderr


def test_a_build_that_fails_says_why(run, tmp_path):
    (tmp_path / "pip.py").write_text("raise SystemExit('no such host')")
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(BACKEND)!r}]; import backend\n"
    done = run(sys.executable, "-c", f"{code}backend.build_wheel({str(tmp_path)!r})")
    assert done.returncode == 1 and done.stderr == "theano==1.0.5 cannot be fetched and built:\nno such host\n\n"


def test_what_is_built_from_a_source_archive_is_for_other_machines(tmp_path):
    for name in ("setup.py", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "PKG-INFO").touch()
    with mock.patch("setuptools.setup") as called:
        runpy.run_path(str(tmp_path / "setup.py"))
    assert all(Requirement(text).url is None for text in called.call_args.kwargs["install_requires"])


def test_the_version_is_one(setup):
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert setup[0]["version"] == fastvae.__version__ == re.search(r"^version: (.*)$", citation, re.M)[1]
