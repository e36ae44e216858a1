"""Every repair is needed where it is made: stock is not imported, or fails, without it. Elsewhere it does nothing."""

import ast
import os
import pathlib
import subprocess
import sys

import matplotlib
import numpy as np
import pytest

from fastvae.stack import _gone
from tests.conftest import stock_flags

GONE = pathlib.Path(_gone.__file__)
PY311, PY312 = sys.version_info >= (3, 11), sys.version_info >= (3, 12)
NUMPY2 = np.lib.NumpyVersion(np.__version__) >= "2.0.0"
MATPLOTLIB39 = tuple(map(int, matplotlib.__version__.split(".")[:2])) >= (3, 9)
PROBED = ("theano", "pymc3", "arviz")
# Names that the stack asks for where it is ready not to find them.
ASKED_FOR = {"distutils", "getbuffer", "_mklinit"}

# repair: (needed on this stack, a piece of stock that fails without it)
BEFORE = {
    "numpy_asscalar": (PY311, "import pymc3.util"),
    "inspect_getargspec": (PY311, "import pymc3.tuning.starting"),
    "scipy_private_names": (PY311, "from theano.tensor.nnet.abstract_conv import _convolve2d; assert _convolve2d"),
    "scan_in_python": (
        PY311,
        "import theano, numpy\n"
        "xs, _ = theano.scan(lambda x: x * 2, outputs_info=theano.tensor.ones(()), n_steps=3)\n"
        "assert list(theano.function([], xs)()) == [2, 4, 8]",
    ),
    "numpy_distutils": (PY312, "import theano"),
    "numpy_names": (
        PY312,
        "import theano.tensor as tt\n"
        "from pymc3.distributions.dist_math import incomplete_beta\n"
        "assert abs(incomplete_beta(tt.constant(2.0), tt.constant(3.0), tt.constant(0.5)).eval() - 0.6875) < 1e-5",
    ),
    "numpy_tester": (PY312, "import pymc3"),
    "scipy_gaussian": (PY312, "import arviz"),
    "imp": (PY312, "import theano.tests.breakpoint"),
    "matplotlib_register_cmap": (MATPLOTLIB39, "import arviz"),
    "c_of_numpy_1": (
        NUMPY2,
        "import theano, theano.tensor as tt\n"
        "from theano.sandbox.rng_mrg import MRG_RandomStreams\n"
        "x = tt.matrix()\n"
        "sums, maxima = theano.function([x], [tt.cumsum(x), tt.max(x)], mode='FAST_COMPILE')([[1, 2], [5, 4]])\n"
        "assert list(sums) == [1, 3, 8, 12] and maxima == 5\n"
        "theano.function([], MRG_RandomStreams(1).uniform((2,)))()",
    ),
    "copies_where_needed": (
        NUMPY2,
        "from theano.gpuarray.type import np\n"
        "assert np.array([1, 2], dtype='float32', copy=False, ndmin=2).shape == (1, 2)",
    ),
    "escape_sequences": (
        PY312,
        "with warnings.catch_warnings():\n"
        "    warnings.filters[:] = [shown for shown in warnings.filters if shown[2] is SyntaxWarning]\n"
        "    warnings.simplefilter('error', SyntaxWarning, append=True)\n"
        "    compile(r\"'\\s'\", '/site-packages/theano/scalar/basic.py', 'exec')",
    ),
}
AFTER = {
    "wide_python_integers": (NUMPY2, "import theano; assert theano.scalar.constant(300).dtype == 'int16'"),
    "random_numbers_in_python": (
        NUMPY2,
        "import theano\n"
        "from theano.sandbox.rng_mrg import MRG_RandomStreams\n"
        "mode = theano.compile.Mode(linker='py', optimizer=None)\n"
        "theano.function([], MRG_RandomStreams(1).uniform((2,)), mode=mode)()",
    ),
    "rows_added_by_numpy": (
        NUMPY2,
        "import theano.tensor as tt\n"
        "added = tt.inc_subtensor(tt.zeros((2, 3))[[0, 0]], tt.ones((2, 3))).eval()\n"
        "assert added.tolist() == [[2, 2, 2], [0, 0, 0]]",
    ),
}
NEEDED = {name: probe for name, (needed, probe) in {**BEFORE, **AFTER}.items() if needed}

LOAD = f"""
import sys, importlib.util, warnings
warnings.simplefilter("ignore")
spec = importlib.util.spec_from_file_location("gone", {str(GONE)!r})
gone = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gone)
"""


def stock(python, code):
    return python(LOAD + code, flags=stock_flags())


@pytest.mark.parametrize("name", NEEDED)
def test_stock_fails_without_it_where_it_is_needed(name, python):
    before = "".join(f"gone.{other}()\n" for other in BEFORE if other != name)
    after = "".join(f"gone.{other}()\n" for other in AFTER if other != name)
    done = stock(python, f"{before}import theano\n{after}{NEEDED[name]}")
    assert done.returncode != 0 and any(word in done.stderr for word in ("Error", "error")), done.stderr


def test_with_all_of_them_the_probes_pass_and_one_that_is_not_needed_does_nothing(python):
    every = "print(gone.before_theano())\nimport theano\nprint(gone.after_theano())\n"
    probes = "\n".join(probe for _, probe in {**BEFORE, **AFTER}.values())
    done = stock(python, f"{every}{probes}")
    assert done.returncode == 0, done.stderr
    made = [str([name for name in each if name in NEEDED]) for each in (BEFORE, AFTER)]
    assert done.stdout.splitlines()[-2:] == made


@pytest.mark.filterwarnings("ignore:invalid escape sequence", "ignore::DeprecationWarning")
def test_numpy_has_every_name_that_the_stack_asks_it_for():
    asked = {}
    for package in PROBED:
        folder = pathlib.Path(sys.modules["theano"].__file__).parents[1] / package
        for path in folder.rglob("*.py"):
            if "tests" not in path.parts:
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                        if node.value.id in ("np", "numpy"):
                            asked.setdefault(node.attr, path)
    assert len(asked) > 200
    assert {name: path for name, path in asked.items() if not hasattr(np, name) and name not in ASKED_FOR} == {}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the last versions that have them
def test_the_names_mean_what_they_meant():
    assert np.asscalar(np.array([3])) == 3 and np.product([2, 3]) == 6 and np.sctype2char("float32") == "f"
    cast = np.cast["int8"](2.9)
    assert cast == 2 and cast.dtype == "int8"


def test_numpy_without_blas_information_stops_stock(python):
    done = python(LOAD + "gone.before_theano()\nimport theano")
    reason = "numpy.distutils" if PY311 else ""
    assert (done.returncode != 0) is PY311 and reason in done.stderr, done.stderr


def test_what_the_compiler_includes_does_not_cost_the_processors_instructions():
    """Theano finds them by a probe, and goes on without a word, and without AVX-512 and Winograd, if it fails."""
    from theano.gof.cmodule import GCC_compiler

    def macros(flags):
        command = ["g++", *flags, "-dM", "-E", "-x", "c++", os.devnull]
        return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())

    flags = GCC_compiler.compile_args()
    native = {macro for macro in macros(["-march=native"]) if "AVX" in macro or "FMA" in macro}
    assert native or "avx" not in pathlib.Path("/proc/cpuinfo").read_text()
    assert native <= macros(flags) and set(GCC_compiler.march_flags) <= set(flags)
