import os
import types

import pytest

from fastvae.backends import c_module


def test_depends_on_sources_and_command(tmp_path):
    (tmp_path / "a.c").write_text("int a;")
    first = c_module.digest(str(tmp_path), ["g++"])
    assert c_module.digest(str(tmp_path), ["g++", "-O1"]) != first
    (tmp_path / "a.h").write_text("int b;")
    assert c_module.digest(str(tmp_path), ["g++"]) != first


def test_a_killed_compilation_leaves_nothing_that_theano_takes_for_its_own(tmp_path, monkeypatch):
    seen = []

    def killed(command, **options):
        (draft,) = [word for before, word in zip(command, command[1:]) if before == "-o"]
        open(draft, "w").close()
        seen.extend(os.listdir(tmp_path))
        raise KeyboardInterrupt

    monkeypatch.setattr(c_module.theano, "config", types.SimpleNamespace(compiledir=str(tmp_path), cxx="g++"))
    monkeypatch.setattr(c_module.subprocess, "run", killed)
    with pytest.raises(KeyboardInterrupt):
        c_module.built("module", str(tmp_path), ["g++"], "the backend", "a remedy")
    assert seen and not any(name.startswith("tmp") for name in seen)
    assert os.listdir(tmp_path) == []
