"""A module is found without a walk through the compile folder, and only if its key is the one that is asked for."""

import os
import pathlib
import pickle
import time

import pytest
import theano
import theano.tensor as tt
from theano.gof.cc import CLinker, get_module_cache
from theano.gof.cmodule import ModuleCache

from fastvae.compilation import lookup


@pytest.fixture(scope="module")
def keys():
    """The keys of two modules that the compile folder has."""

    def key(expression):
        x = tt.lscalar()
        linker = CLinker().accept(theano.gof.FunctionGraph([x], [expression(x)]), no_recycling=[])
        get_module_cache().module_from_key(linker.cmodule_key(), linker)
        return linker.cmodule_key()

    return key(tt.scalar_from_tensor), key(lambda x: x.dimshuffle("x"))


@pytest.fixture
def walks(monkeypatch):
    """How often a folder is read as a whole."""
    made = []
    monkeypatch.setattr(ModuleCache, "refresh", lambda self, **_: made.append(1) or setattr(self, "has_read_all", True))
    return made


def test_a_new_process_finds_a_module_by_its_note(keys, walks):
    cache = ModuleCache(theano.config.compiledir)
    for key in keys:
        module = cache._get_from_key(key)
        assert module.__file__ == get_module_cache().entry_from_key[key] == cache.entry_from_key[key]
    assert walks == []


def test_a_note_that_leads_to_another_module_is_not_believed(keys, walks, tmp_path, monkeypatch):
    mine, other = keys
    cache = ModuleCache(theano.config.compiledir)
    folder = pathlib.Path(get_module_cache().entry_from_key[other]).parent.name
    note = tmp_path / "note"
    monkeypatch.setattr(lookup, "_path", lambda *_: note)
    note.write_text(f"{folder}\nno_such_folder\n")
    assert cache._get_from_key(mine) is None and walks == [1]


def test_what_cannot_be_unpickled_is_passed_over(keys, walks, tmp_path):
    (tmp_path / "tmp1").mkdir()
    (tmp_path / "tmp1" / "key.pkl").write_bytes(b"not a pickle")
    cache = ModuleCache(str(tmp_path))
    lookup._note(cache, keys[0], "tmp1")
    assert cache._get_from_key(keys[0]) is None and walks == [1]


def test_an_address_in_a_key_does_not_count(tmp_path):
    class Cache:
        dirname = str(tmp_path)

    assert lookup._path(Cache, ("version", "<f at 0x7f01>")) == lookup._path(Cache, ("version", "<f at 0x7f02>"))
    assert lookup._path(Cache, ("version", "<f at 0x7f01>")) != lookup._path(Cache, ("version", "<g at 0x7f01>"))


def test_the_folder_is_cleared_once_a_day(walks, tmp_path):
    cache = ModuleCache(str(tmp_path))
    for age, cleared in ((None, True), (60, False), (lookup.DAY + 60, True)):
        if age is not None:
            os.utime(tmp_path / lookup.CLEARED, times=(time.time() - age,) * 2)
        before = len(walks)
        cache._on_atexit()
        assert (len(walks) > before) is cleared


def test_a_key_is_written_as_it_is_in_another_process(keys):
    for key in keys:
        again = pickle.loads(pickle.dumps(key))
        assert again == key and lookup._path(get_module_cache(), again) == lookup._path(get_module_cache(), key)
