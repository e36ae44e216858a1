"""Repairs that theano 1.0.5 and pymc3 3.9.3 need on today's numpy, scipy and Python.

One function a fault. A function looks first whether its fault is there and returns whether it repaired anything, so
it is harmless on a stack that does not need it (Python 3.10 with numpy 1.21 needs only the last ten, which are
faults of theano and PyMC3 themselves). `tests/test_legacy.py` holds each to stock: where a repair is needed its test
fails once stock works without it.

    before theano is imported    numpy_asscalar, inspect_getargspec, scipy_private_names, scan_in_python
    after pymc3 is imported      minibatch_static_slices, versions_without_properties, versions_of_c_files,
                                 vanishing_folders, files_among_modules, lock_after_errors, threads_of_their_own,
                                 model_test_values, global_variable_order, rowwise_full_rank,
                                 whole_numbers

The remaining fault of the import, numpy's missing `blas_opt_info`, is covered by the profile, which
always sets `blas.ldflags` (`fastvae/profiles/`).
"""

import contextlib
import importlib
import inspect
import sys
import warnings
from collections import namedtuple


def numpy_asscalar():
    """`numpy.asscalar`, gone in numpy 1.23, is imported by `pymc3.util`."""
    import numpy

    if "asscalar" in vars(numpy):
        return False
    numpy.asscalar = lambda a: a.item()
    return True


def inspect_getargspec():
    """`inspect.getargspec`, gone in Python 3.11, is imported by `pymc3.tuning.starting` and used in theano."""
    if hasattr(inspect, "getargspec"):
        return False
    ArgSpec = namedtuple("ArgSpec", "args varargs keywords defaults")
    inspect.getargspec = lambda func: ArgSpec(*inspect.getfullargspec(func)[:4])
    return True


def scipy_private_names():
    """`scipy.signal.signaltools` and `.sigtools` lost names that theano's Python convolution imports."""
    repaired = False
    for public, private, name in (
        ("signaltools", "_signaltools", "_valfrommode"),
        ("sigtools", "_sigtools", "_convolve2d"),
    ):
        try:
            has_name = hasattr(importlib.import_module("scipy.signal." + public), name)
        except ModuleNotFoundError:
            has_name = False
        if not has_name:
            sys.modules["scipy.signal." + public] = importlib.import_module("scipy.signal." + private)
            repaired = True
    return repaired


def scan_in_python():
    """theano's C for `scan` (Cython 0.28's) does not compile on Python 3.11: take its Python loop."""
    if sys.version_info < (3, 11):
        return False
    sys.modules.setdefault("theano.scan_module.scan_perform_ext", None)  # its import then fails, as theano allows for
    return True


def before_theano():
    """Make every repair that must be in place when theano and pymc3 are imported."""
    repairs = (numpy_asscalar, inspect_getargspec, scipy_private_names, scan_in_python)
    return [repair.__name__ for repair in repairs if repair()]


def minibatch_static_slices():
    """`pm.Minibatch` indexes its data with a list, which numpy >= 1.23 refuses: make it a tuple."""
    import numpy
    from pymc3.data import Minibatch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # numpy < 1.23 still takes it
            numpy.zeros(1)[[Ellipsis]]
    except IndexError:
        stock = Minibatch.make_static_slices
        Minibatch.make_static_slices = staticmethod(
            lambda user_size: user_size if isinstance(user_size := stock(user_size), slice) else tuple(user_size)
        )
        return True
    return False


def versions_without_properties():
    """theano takes an Op whose `__props__` are empty for one without a version: every process compiles it again."""
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


def versions_of_c_files():
    """theano's version of an Op in C files is `hash(text)`, another number in each process: it is compiled again."""
    from theano.gof.op import COp
    from theano.gof.utils import hash_from_code

    stock = COp.c_code_cache_version
    COp.c_code_cache_version = lambda self: (hash_from_code("".join(self.func_codes)), *stock(self)[1:])
    return True


def vanishing_folders():
    """theano's walk through its compiled modules dies where another process removes one meanwhile: walk again."""
    from theano.gof.cmodule import ModuleCache

    stock = ModuleCache.refresh

    def refresh(self, *args, **kwargs):
        for _ in range(100):
            try:
                return stock(self, *args, **kwargs)
            except FileNotFoundError:
                pass  # what was loaded until then is kept
        return stock(self, *args, **kwargs)

    ModuleCache.refresh = refresh
    return True


def files_among_modules():
    """A plain file whose name begins with `tmp` in the compile folder makes theano's end raise, in every process."""
    import os
    import time

    from theano.gof import cmodule

    name_of, clear_unversioned = cmodule.module_name_from_dir, cmodule.ModuleCache.clear_unversioned

    def module_name_from_dir(path, *args, **kwargs):
        return path if os.path.isfile(path) else name_of(path, *args, **kwargs)

    def clear(self, *args, **kwargs):
        for name in os.listdir(self.dirname):
            path = os.path.join(self.dirname, name)
            with contextlib.suppress(OSError):  # gone meanwhile, or not ours to remove
                # An older fastvae compiles into such a file, and takes less than ten minutes.
                if name.startswith("tmp") and os.path.isfile(path) and time.time() - os.path.getmtime(path) > 600:
                    os.remove(path)
        return clear_unversioned(self, *args, **kwargs)

    cmodule.module_name_from_dir, cmodule.ModuleCache.clear_unversioned = module_name_from_dir, clear
    return True


def lock_after_errors():
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


def threads_of_their_own():
    """theano's flags are the process's, so what one thread changes for a while another compiles under."""
    from fastvae.stack import _threads

    _threads.install()
    return True


def model_test_values():
    """`pm.Model` evaluates every expression as it is written and refuses inputs without a test value."""
    from fastvae.stack import _test_values

    _test_values.install()
    return True


def global_variable_order():
    """Approximations order global variables by a set of objects: another order, and other noise, in each process."""
    from pymc3.variational.opvi import Group

    stock = Group.__init_group__

    def init_group(self, group):
        if self.group is None:  # the variables that no group was named for arrive as list(set(...))
            position = {variable: i for i, variable in enumerate(self.model.free_RVs)}
            group = sorted(group, key=position.__getitem__)
        stock(self, group)

    Group.__init_group__ = init_group
    return True


def rowwise_full_rank():
    """The log q of a full-rank Normal a row is a `theano.scan` whose triangular solves run in Python."""
    from fastvae.stack import _full_rank

    _full_rank.install()
    return True


def whole_numbers():
    """With floatX float32 whole numbers become int16: those above 32,767 wrap."""
    from fastvae.stack import _integers

    _integers.install()
    return True


def after_pymc3():
    """Make every repair that needs pymc3 to be imported."""
    repairs = (
        minibatch_static_slices,
        versions_without_properties,
        versions_of_c_files,
        vanishing_folders,
        files_among_modules,
        lock_after_errors,
        threads_of_their_own,
        model_test_values,
        global_variable_order,
        rowwise_full_rank,
        whole_numbers,
    )
    return [repair.__name__ for repair in repairs if repair()]
