"""Repairs of faults that theano 1.0.5 and pymc3 3.9.3 have of themselves, or have on today's numpy.

There is one function for each fault. It returns whether it repaired anything, and is harmless on a stack that does not
need it. `tests/stack/test_legacy.py` compares each with stock: on a stack that needs the repair, its test fails once
stock works without it. What the stack needs to be imported at all is in `_gone.py`.

One fault of the import, numpy's missing `blas_opt_info`, needs no repair, because profiles always set `blas.ldflags`
(`fastvae/profiles/`).
"""

from __future__ import annotations

import contextlib
import warnings


def minibatch_static_slices() -> bool:
    """`pm.Minibatch` indexes its data with a list, which numpy >= 1.23 rejects: make it a tuple."""
    import numpy
    from pymc3.data import Minibatch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # numpy < 1.23 still accepts it
            numpy.zeros(1)[[Ellipsis]]
    except IndexError:
        stock = Minibatch.make_static_slices
        Minibatch.make_static_slices = staticmethod(
            lambda user_size: user_size if isinstance(user_size := stock(user_size), slice) else tuple(user_size)
        )
        return True
    return False


def versions_without_properties() -> bool:
    """theano treats an Op with empty `__props__` as one without a version, so every process compiles it again."""
    from theano.gof import CLinker

    stock = CLinker.cmodule_key_

    def cmodule_key_(self, fgraph, *args, **kwargs):
        key = stock(self, fgraph, *args, **kwargs)
        if key is None or key[0]:
            return key
        version = []
        for node in self.schedule(fgraph):
            if hasattr(node.op, "c_code_cache_version_apply"):
                version.append(node.op.c_code_cache_version_apply(node))
            version += [variable.type.c_code_cache_version() for variable in node.inputs + node.outputs]
        return (tuple(version) if all(version) else ()), key[1]

    CLinker.cmodule_key_ = cmodule_key_
    return True


def versions_of_c_files() -> bool:
    """theano's version of an Op in C files is `hash(text)`, so every process has another one and compiles again."""
    from theano.gof.op import COp
    from theano.gof.utils import hash_from_code

    stock = COp.c_code_cache_version
    COp.c_code_cache_version = lambda self: (hash_from_code("".join(self.func_codes)), *stock(self)[1:])
    return True


def vanishing_folders() -> bool:
    """theano's walk through its compiled modules fails if another process removes one meanwhile: walk again."""
    from theano.gof.cmodule import ModuleCache

    stock = ModuleCache.refresh

    def refresh(self, *args, **kwargs):
        for _ in range(100):
            try:
                return stock(self, *args, **kwargs)
            except FileNotFoundError:
                pass  # what has been loaded is kept
        return stock(self, *args, **kwargs)

    ModuleCache.refresh = refresh
    return True


def files_among_modules() -> bool:
    """If a plain file in the compile folder has a name that begins with `tmp`, every process raises when it ends."""
    import os
    import time

    from theano.gof import cmodule

    name_of, clear_unversioned = cmodule.module_name_from_dir, cmodule.ModuleCache.clear_unversioned

    def module_name_from_dir(path, *args, **kwargs):
        return path if os.path.isfile(path) else name_of(path, *args, **kwargs)

    def clear(self, *args, **kwargs):
        for name in os.listdir(self.dirname):
            path = os.path.join(self.dirname, name)
            with contextlib.suppress(OSError):  # it is gone, or may not be removed
                # An older fastvae compiles to such a file, which takes less than ten minutes.
                if name.startswith("tmp") and os.path.isfile(path) and time.time() - os.path.getmtime(path) > 600:
                    os.remove(path)
        return clear_unversioned(self, *args, **kwargs)

    cmodule.module_name_from_dir, cmodule.ModuleCache.clear_unversioned = module_name_from_dir, clear
    return True


def lock_after_errors() -> bool:
    """A module that does not compile leaves theano's compile folder locked, and other processes wait for minutes."""
    from theano import config
    from theano.gof import compilelock

    from fastvae.stack import _compile_folder

    @contextlib.contextmanager
    def lock_ctx(lock_dir=None, keep_lock=False, **kwargs):
        if not getattr(compilelock.get_lock, "n_lock", 0):
            _compile_folder.check_room(config.compiledir)  # stock tries for minutes to lock a folder without room
        compilelock.get_lock(lock_dir=lock_dir, **kwargs)
        try:
            yield
        except BaseException:
            compilelock.release_lock()
            raise
        if not keep_lock:
            compilelock.release_lock()

    compilelock.lock_ctx = lock_ctx
    return True


def random_states() -> bool:
    """theano compiles a function for the states of random streams, which takes as long as a small model's step."""
    from fastvae.stack import _random_states

    _random_states.install()
    return True


def threads_of_their_own() -> bool:
    """theano's flags belong to the process, so one thread compiles under what another has changed for a while."""
    from fastvae.stack import _threads

    _threads.install()
    return True


def model_test_values() -> bool:
    """`pm.Model` evaluates every expression as it is written down, and rejects inputs without a test value."""
    from fastvae.stack import _test_values

    _test_values.install()
    return True


def global_variable_order() -> bool:
    """Approximations take global variables from a set of objects, in an order that differs between processes."""
    from pymc3.variational.opvi import Group

    stock = Group.__init_group__

    def init_group(self, group):
        if self.group is None:  # variables without a group of their own arrive as list(set(...))
            position = {variable: i for i, variable in enumerate(self.model.free_RVs)}
            group = sorted(group, key=position.__getitem__)
        stock(self, group)

    Group.__init_group__ = init_group
    return True


def rowwise_full_rank() -> bool:
    """The log q of a full-rank Normal of each row is a `theano.scan` whose triangular solves run in Python."""
    from fastvae.stack import _full_rank

    _full_rank.install()
    return True


def whole_numbers() -> bool:
    """With floatX float32, whole numbers become int16, so those above 32,767 wrap."""
    from fastvae.stack import _integers

    _integers.install()
    return True


def after_pymc3() -> list[str]:
    """Make every repair that needs pymc3 to be imported; return their names."""
    repairs = (
        minibatch_static_slices,
        versions_without_properties,
        versions_of_c_files,
        vanishing_folders,
        files_among_modules,
        lock_after_errors,
        random_states,
        threads_of_their_own,
        model_test_values,
        global_variable_order,
        rowwise_full_rank,
        whole_numbers,
    )
    return [repair.__name__ for repair in repairs if repair()]
