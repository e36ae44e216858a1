"""Switching the backend on."""

import pytest
from theano.compile import optdb

from fastvae.backends import cpu
from fastvae.errors import ProfileError


def test_registers_once():
    cpu.register()
    before = list(optdb.__position__)
    cpu.register()
    assert list(optdb.__position__) == before


def test_positions_are_those_of_the_docstring():
    lines = [
        line.split()
        for line in cpu.register.__doc__.splitlines()
        if line.strip().startswith(("fastvae_onednn_", "(fastvae_"))
    ]
    documented = {words[0].strip("()"): float(words[1]) for words in lines}
    actual = {name: position for name, position in optdb.__position__.items() if name.startswith("fastvae_")}
    assert documented == actual


def test_refuses_what_cannot_work(monkeypatch):
    monkeypatch.setattr(cpu, "check", lambda: "the library is gone: reinstall it")
    with pytest.raises(
        ProfileError, match="cannot be used: the library is gone: reinstall it; or take the profile 'cpu-blas'"
    ):
        cpu.register()
