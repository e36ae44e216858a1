"""What Python, numpy, scipy and matplotlib no longer have, for theano 1.0.5, pymc3 3.9.3 and arviz 0.11.1.

There is one function for each fault. It first looks whether the fault is there, and returns whether it repaired
anything, so it is harmless where the name is still there: Python 3.10 with numpy 1.21 needs none of them.
`tests/stack/test_gone.py` compares each with stock: where it is needed, its test fails once stock works without it.

This module imports nothing of fastvae, so that stock's programs can have it (`bench/stock.py`).
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import inspect
import pathlib
import sys
import types
import warnings
from collections import namedtuple

NUMPY2 = str(pathlib.Path(__file__).parents[1] / "compilation" / "numpy2.h")


def numpy_asscalar() -> bool:
    """`pymc3.util` imports `numpy.asscalar`, which is gone since numpy 1.23."""
    import numpy

    if "asscalar" in vars(numpy):
        return False
    numpy.asscalar = lambda a: a.item()
    return True


def inspect_getargspec() -> bool:
    """`pymc3.tuning.starting` and theano use `inspect.getargspec`, which is gone since Python 3.11."""
    if hasattr(inspect, "getargspec"):
        return False
    ArgSpec = namedtuple("ArgSpec", "args varargs keywords defaults")
    inspect.getargspec = lambda func: ArgSpec(*inspect.getfullargspec(func)[:4])
    return True


def scipy_private_names() -> bool:
    """theano's Python convolution imports names that `scipy.signal.signaltools` and `.sigtools` no longer have."""
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


def scan_in_python() -> bool:
    """theano's C code for `scan` (made by Cython 0.28) does not compile on Python 3.11: use its Python loop."""
    if sys.version_info < (3, 11):
        return False
    sys.modules.setdefault("theano.scan_module.scan_perform_ext", None)  # its import then fails, which theano expects
    return True


def numpy_distutils() -> bool:
    """theano asks `numpy.distutils`, which is gone on Python 3.12, where numpy's headers are."""
    import numpy

    if importlib.util.find_spec("numpy.distutils"):
        return False
    numpy.distutils = types.ModuleType("numpy.distutils")
    numpy.distutils.__path__ = []
    sys.modules["numpy.distutils"] = numpy.distutils
    for name in ("misc_util", "__config__"):
        module = types.ModuleType(f"numpy.distutils.{name}")
        setattr(numpy.distutils, name, module)
        sys.modules[module.__name__] = module
    numpy.distutils.misc_util.get_numpy_include_dirs = lambda: [numpy.get_include()]
    return True


def numpy_names() -> bool:
    """theano, PyMC3 and ArviZ use names that are gone since numpy 1.24 and numpy 2."""
    import numpy

    exceptions = getattr(numpy, "exceptions", numpy)
    names = {
        # since 1.24
        **dict(bool=bool, int=int, float=float, complex=complex, MachAr=lambda: numpy.finfo(float)),
        # since 2
        **dict(Inf=numpy.inf, float_=numpy.float64, product=numpy.prod, cast=_Cast()),
        **dict(ComplexWarning=exceptions.ComplexWarning, MAXDIMS=_RAVEL_AXIS),
        **dict(sctype2char=lambda kind: numpy.dtype(kind).char),
        **dict(asfarray=lambda a, dtype=numpy.float64: numpy.asarray(a, dtype)),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the last versions that have a name warn about it
        missing = {name: value for name, value in names.items() if not hasattr(numpy, name)}
    if missing:
        missing["product"] = numpy.prod  # numpy 1.25 and 1.26 warn at each call
    if not _numpy_1():
        missing["core"] = numpy._core  # the old name's module warns at each use
    for name, value in missing.items():
        setattr(numpy, name, value)
    return bool(missing)


class _Cast(dict):
    """What `numpy.cast` was: a function for each type that converts to it."""

    def __missing__(self, kind):
        import numpy

        return lambda values: numpy.asarray(values).astype(kind)


_RAVEL_AXIS = -(2**31)  # numpy 2's NPY_RAVEL_AXIS, as which `compilation/numpy2.h` defines NPY_MAXDIMS


def numpy_tester() -> bool:
    """`pymc3` imports `pymc3.tests`, which makes a `numpy.testing.Tester`; that is gone since numpy 1.25."""
    import numpy.testing

    if hasattr(numpy.testing, "Tester"):
        return False
    numpy.testing.Tester = lambda: types.SimpleNamespace(test=None)
    return True


def scipy_gaussian() -> bool:
    """ArviZ imports `scipy.signal.gaussian`, which is gone since scipy 1.13."""
    import scipy.signal

    if hasattr(scipy.signal, "gaussian"):
        return False
    scipy.signal.gaussian = scipy.signal.windows.gaussian
    return True


def imp() -> bool:
    """theano's GPU back end imports a module of its tests, which imports `imp`; that is gone since Python 3.12."""
    if importlib.util.find_spec("imp"):
        return False

    def repaired(execute, module):
        sys.modules["imp"] = types.ModuleType("imp")
        sys.modules["imp"].find_module = importlib.util.find_spec
        try:
            execute(module)
        finally:
            del sys.modules["imp"]  # nobody else is to take it for the real one

    as_it_is_imported("theano.tests.breakpoint", repaired)
    return True


def matplotlib_register_cmap() -> bool:
    """ArviZ imports `matplotlib.pyplot.register_cmap`, which is gone since matplotlib 3.9."""
    if _major_and_minor("matplotlib") < (3, 9):
        return False

    def repaired(execute, module):
        execute(module)
        module.register_cmap = lambda name=None, cmap=None: module.colormaps.register(cmap, name=name)

    as_it_is_imported("matplotlib.pyplot", repaired)
    return True


def c_of_numpy_1() -> bool:
    """theano's C code takes names from numpy's headers that are gone since numpy 2, and some of Python 2."""

    if _numpy_1():
        return False

    def repaired(execute, module):
        execute(module)
        stock = module.GCC_compiler.compile_str

        # Not among the flags, which theano also takes to ask the compiler what -march=native is, without Python's
        # headers: were that to fail, it would go on without the processor's instructions, and say nothing.
        def compile_str(module_name, src_code, *args, preargs=None, **kwargs):
            return stock(module_name, src_code, *args, preargs=[*(preargs or []), "-include", NUMPY2], **kwargs)

        module.GCC_compiler.compile_str = staticmethod(compile_str)

    as_it_is_imported("theano.gof.cmodule", repaired)
    return True


def copies_where_needed() -> bool:
    """theano's GPU arrays ask numpy for no copy of what may need one (`copy=False`), which numpy 2 refuses."""
    import numpy

    if _numpy_1():
        return False

    def array(*args, copy=True, **kwargs):
        return numpy.array(*args, copy=copy or None, **kwargs)

    def repaired(execute, module):
        execute(module)
        module.np = types.SimpleNamespace(**{**vars(numpy), "array": array})

    as_it_is_imported("theano.gpuarray.type", repaired)
    return True


def escape_sequences() -> bool:
    """Python 3.12 warns of escape sequences where it compiles theano, pymc3 and ArviZ, as after `uv pip install`."""
    if sys.version_info < (3, 12):
        return False
    warnings.filterwarnings("ignore", "invalid escape sequence", SyntaxWarning, r".*/(theano|pymc3|arviz)/")
    return True


def as_it_is_imported(name, repaired):
    """Have a module executed by `repaired(execute, module)` when it is imported, which may be never."""

    class Finder:
        @staticmethod
        def find_spec(fullname, path=None, target=None):
            if fullname != name:
                return None
            sys.meta_path.remove(Finder)
            spec = importlib.util.find_spec(name)
            spec.loader.exec_module = functools.partial(repaired, spec.loader.exec_module)
            return spec

    sys.meta_path.insert(0, Finder)


def _numpy_1():
    import numpy

    return numpy.__version__.startswith("1.")


def _major_and_minor(distribution):
    return tuple(map(int, importlib.metadata.version(distribution).split(".")[:2]))


OF_SCIPY_SIGNAL = (scipy_private_names, scipy_gaussian)
BEFORE_THEANO = (
    numpy_asscalar,
    inspect_getargspec,
    scipy_private_names,
    scan_in_python,
    numpy_distutils,
    numpy_names,
    numpy_tester,
    scipy_gaussian,
    imp,
    matplotlib_register_cmap,
    c_of_numpy_1,
    copies_where_needed,
    escape_sequences,
)


def before_theano(of_scipy_signal: bool = True) -> list[str]:
    """Make every repair that must be in place before theano and pymc3 are imported; return their names.

    Parameters
    ----------
    of_scipy_signal : bool
        Whether those of `scipy.signal` are made now, which imports it; else they are made when somebody imports it.
    """
    later = () if of_scipy_signal or "scipy.signal" in sys.modules else OF_SCIPY_SIGNAL
    if later:
        as_it_is_imported("scipy.signal", _with_repairs(later))
    return [repair.__name__ for repair in BEFORE_THEANO if repair not in later and repair()]


def _with_repairs(repairs):
    def repaired(execute, module):
        execute(module)
        for repair in repairs:
            repair()

    return repaired


def wide_python_integers() -> bool:
    """theano tries int8, int16, ... in turn on a Python integer until its value is kept; numpy 2 refuses instead."""
    import numpy
    import theano

    stock = theano._asarray
    try:
        stock(128, "int8")
        return False
    except OverflowError:
        pass

    def _asarray(a, dtype, order=None):
        try:
            return stock(a, dtype, order)
        except OverflowError:
            return numpy.asarray(a, "int64", order).astype(dtype)

    theano._asarray = _asarray
    return True


def random_numbers_in_python() -> bool:
    """theano's random numbers in Python combine an int32 with a mask beyond int32, which numpy 2 refuses."""
    import numpy
    from theano.sandbox import rng_mrg

    if _numpy_1():
        return False
    stock = rng_mrg.mrg_next_value

    def mrg_next_value(rstate, new_rstate, NORM, mask, offset):
        return stock(rstate, new_rstate, NORM, numpy.int64(mask), offset)

    rng_mrg.mrg_next_value = mrg_next_value
    return True


def rows_added_by_numpy() -> bool:
    """theano's C code that adds to rows goes over them by a structure that is private since numpy 2: numpy adds."""

    if _numpy_1():
        return False
    from theano.tensor.subtensor import AdvancedIncSubtensor1

    def c_code(self, node, name, inputs, outputs, sub):
        raise NotImplementedError  # theano then takes `perform`, which is numpy.add.at

    AdvancedIncSubtensor1.c_code = c_code
    return True


AFTER_THEANO = (wide_python_integers, random_numbers_in_python, rows_added_by_numpy)


def after_theano() -> list[str]:
    """Make every repair that needs theano to be imported, and that pymc3 needs; return their names."""
    return [repair.__name__ for repair in AFTER_THEANO if repair()]
