"""A module that the environment carries takes the compiler's place."""

import os
import shutil
import uuid

import numpy as np
import pytest
import theano
import theano.tensor as tt
from theano.gof.cmodule import GCC_compiler

from fastvae import compilation
from fastvae.backends import c_module
from fastvae.compilation import carried


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """The folder of an environment that carries modules, none yet; what is switched on ends with the test."""
    monkeypatch.setattr(carried.sys, "prefix", str(tmp_path))
    monkeypatch.setattr(GCC_compiler, "compile_str", GCC_compiler.compile_str)
    home = tmp_path / carried.FOLDER
    home.mkdir(parents=True)
    return home


def test_an_environment_without_modules_changes_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(carried.sys, "prefix", str(tmp_path))
    before = GCC_compiler.compile_str
    assert not carried.install() and GCC_compiler.compile_str is before


def test_a_carried_module_is_taken_and_another_one_compiled(environment, tmp_path):
    source = '#include <Python.h>\nstatic PyModuleDef about = {{PyModuleDef_HEAD_INIT, "{name}", 0, -1, 0}};\n'
    source += "PyMODINIT_FUNC PyInit_{name}(void) {{ return PyModule_Create(&about); }}\n"
    for name in ("m1", "m2"):
        (tmp_path / name).mkdir()
    GCC_compiler.compile_str("m1", source.format(name="m1"), str(tmp_path / "m1"), preargs=["-fPIC"], py_module=False)
    shutil.move(tmp_path / "m1" / "m1.so", environment)
    assert carried.install()
    module = GCC_compiler.compile_str("m1", "no C at all", str(tmp_path / "m1"))
    assert module.__name__.endswith("m1") and module.__file__ == str(tmp_path / "m1" / "m1.so")
    assert os.path.exists(tmp_path / "m1" / "__init__.py")
    with pytest.raises(Exception, match="Compilation failed"):
        GCC_compiler.compile_str("m2", "no C at all", str(tmp_path / "m2"))


def test_theano_names_a_module_by_its_source_alone(environment, monkeypatch, tmp_path):
    """So a module of one compile folder serves in another one, whose keys differ, without a compiler."""
    x = tt.lvector()  # which no backend of ours takes
    expression = x * 7 + 3
    theano.function([x], expression)  # is in this run's compile folder now
    for path in theano.gof.cc.get_module_cache().module_from_name:
        shutil.copy(path, environment)
    assert carried.install()
    asked = []
    taken = GCC_compiler.compile_str

    def compile_str(module_name, *args, **kwargs):
        asked.append(module_name)
        assert (environment / f"{module_name}.so").exists()
        return taken(module_name, *args, **kwargs)

    monkeypatch.setattr(GCC_compiler, "compile_str", staticmethod(compile_str))
    monkeypatch.setattr(compilation, "_batches", [])
    with theano.configparser.change_flags(**{"gcc.cxxflags": f"-DNEVER_SEEN_{uuid.uuid4().hex}"}):
        f = theano.function([x], expression)
    assert asked and f(np.arange(2)).tolist() == [3, 10]


def test_a_backend_that_is_carried_needs_no_compiler(environment, tmp_path):
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "a.c").write_text("int a;")
    name = c_module.carried_name("backend", str(sources))
    (environment / name).touch()
    path = c_module.built("backend", str(sources), ["/no/such/compiler", "-I/anywhere"], "the backend", "a remedy")
    assert path == str(environment / name)
    (sources / "a.c").write_text("int b;")
    assert c_module.carried_name("backend", str(sources)) != name
