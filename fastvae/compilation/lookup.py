"""Find a module in theano's compile folder without reading the keys of all the others.

Stock theano reads every key of the folder when a process compiles its first function, and again when the process ends:
two seconds in a folder of two thousand modules. Here a file for each key, whose name is a hash of how the key is
written, says in which folders modules of such a key are; theano's own comparison of the keys decides. Only a module
that is not found so has theano read the whole folder. What stock does to old and broken modules is done once a day.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pathlib
import pickle
import re
import time

from theano.gof.cmodule import KeyData, ModuleCache, get_safe_part, is_same_entry, module_name_from_dir

FOLDER = "fastvae_keys"
CLEARED = "fastvae_cleared"
DAY = 24 * 60 * 60  # seconds
ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def install() -> None:
    """Replace how theano's cache gets to know the modules of its folder."""
    init, get, make = ModuleCache.__init__, ModuleCache._get_from_key, ModuleCache.module_from_key
    refresh, at_exit = ModuleCache.refresh, ModuleCache._on_atexit

    @functools.wraps(init)
    def with_nothing_read(self, dirname, check_for_broken_eq=True, do_refresh=True):
        init(self, dirname, check_for_broken_eq, do_refresh=False)
        self.has_read_all = not do_refresh

    @functools.wraps(refresh)
    def reading_all(self, *args, **kwargs):
        self.has_read_all = True
        return refresh(self, *args, **kwargs)

    @functools.wraps(get)
    def get_from_key(self, key, key_data=None):
        if key is not None and key not in self.entry_from_key and not self.has_read_all and not _found(self, key):
            self.refresh(cleanup=False)
        return get(self, key, key_data)

    @functools.wraps(make)
    def module_from_key(self, key, *args, **kwargs):
        module = make(self, key, *args, **kwargs)
        if key[0]:  # others are compiled by every process
            _note(self, key, os.path.basename(os.path.dirname(module.__file__)))
        return module

    @functools.wraps(at_exit)
    def clear_once_a_day(self):
        cleared = pathlib.Path(self.dirname, CLEARED)
        with contextlib.suppress(OSError):
            if time.time() - cleared.stat().st_mtime < DAY:
                return self.clear_unversioned()
        with contextlib.suppress(OSError):  # of a folder that is gone, or full, or read-only
            cleared.touch()
            self.refresh()
        return at_exit(self)

    ModuleCache.has_read_all = True  # one that was made before
    ModuleCache.__init__, ModuleCache.refresh = with_nothing_read, reading_all
    ModuleCache._get_from_key, ModuleCache.module_from_key = get_from_key, module_from_key
    ModuleCache._on_atexit = clear_once_a_day


def _path(cache, key):
    written = ADDRESS.sub("", repr(key)).encode(errors="backslashreplace")
    return pathlib.Path(cache.dirname, FOLDER, hashlib.sha256(written).hexdigest())


def _folders(cache, key):
    with contextlib.suppress(OSError):
        return _path(cache, key).read_text(encoding="utf-8").split()
    return []


def _found(cache, key):
    """Whether a folder that is noted for the key has its module, which the cache then knows."""
    return any(_taken(cache, key, os.path.join(cache.dirname, name)) for name in _folders(cache, key))


def _taken(cache, key, folder):
    """Let the cache know a folder's module, as `ModuleCache.refresh` does, if it is the key's."""
    path = os.path.join(folder, "key.pkl")
    try:
        with open(path, "rb") as file:
            known = pickle.load(file)
        entry = module_name_from_dir(folder)
    except Exception:  # it is gone, or its classes are: theano's own walk says what is to be said
        return False
    if not isinstance(known, KeyData) or not is_same_entry(entry, known.get_entry()) or key not in known.keys:
        return False
    known.entry, known.key_pkl = entry, path  # others in a folder that was moved or copied
    if known.module_hash not in cache.module_hash_to_key_data:
        cache.module_hash_to_key_data[known.module_hash] = known
        cache.loaded_key_pkl.add(path)
        for each in known.keys:
            if cache.entry_from_key.setdefault(each, entry) == entry and each[0]:
                cache.similar_keys.setdefault(get_safe_part(each), []).append(each)
    return key in cache.entry_from_key


def _note(cache, key, folder):
    if folder in _folders(cache, key):
        return
    path = _path(cache, key)
    with contextlib.suppress(OSError):  # a note only saves time
        path.parent.mkdir(exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{folder}\n")
