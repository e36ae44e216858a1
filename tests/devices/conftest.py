import sys

import pytest

from fastvae.devices import debian_pygpu


@pytest.fixture
def finders(monkeypatch):
    """The import system as it is without Debian's pygpu, and where nothing of it is imported yet."""
    for name in debian_pygpu.NAMES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if not isinstance(f, debian_pygpu.Finder)])
