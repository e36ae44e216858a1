"""Switching the backend on."""

import pytest
from theano.compile import optdb

from fastvae import profiles
from fastvae.backends import cpu
from fastvae.devices import onednn_library
from fastvae.errors import ProfileError
from fastvae.parallel import averaging


def test_registers_once():
    cpu.register(profiles.active())
    before = list(optdb.__position__)
    cpu.register(profiles.active())
    assert list(optdb.__position__) == before


def test_positions_are_those_of_the_docstring():
    lines = [
        line.split()
        for line in cpu.register.__doc__.splitlines()
        if line.strip().startswith(("fastvae_onednn_", "(fastvae_"))
    ]
    documented = {words[0].strip("()"): float(words[1]) for words in lines}
    actual = {name: position for name, position in optdb.__position__.items() if name.startswith("fastvae_")}
    assert documented == {**actual, "fastvae_average": averaging.POSITION}  # registered once there are several ranks


def test_refuses_what_cannot_work(monkeypatch):
    gone = onednn_library.Missing("the library is gone", "reinstall it")
    monkeypatch.setattr(onednn_library, "missing", lambda: gone)
    message = "not available on this machine: oneDNN: the library is gone; reinstall it, or take the profile 'cpu-blas'"
    with pytest.raises(ProfileError, match=message):
        cpu.register(profiles.active())
