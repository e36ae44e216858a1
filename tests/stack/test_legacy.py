"""Every repair is needed where it is made: stock fails there without it. Elsewhere it does nothing."""

import json
import pathlib
import sys

import pytest

from tests.conftest import stock_flags

LEGACY = pathlib.Path(__file__).parents[2] / "fastvae" / "stack" / "_legacy.py"
PY311 = sys.version_info >= (3, 11)
BEFORE = ("numpy_asscalar", "inspect_getargspec", "scipy_private_names", "scan_in_python")

# repair: (needed on this stack, a piece of stock that fails without it)
PROBES = {
    "numpy_asscalar": (PY311, "import pymc3.util"),
    "inspect_getargspec": (PY311, "import pymc3.tuning.starting"),
    "scipy_private_names": (PY311, "from theano.tensor.nnet.abstract_conv import _convolve2d; assert _convolve2d"),
    "scan_in_python": (
        PY311,
        "import theano, numpy\n"
        "xs, _ = theano.scan(lambda x: x * 2, outputs_info=theano.tensor.ones(()), n_steps=3)\n"
        "assert list(theano.function([], xs)()) == [2, 4, 8]",
    ),
    "minibatch_static_slices": (PY311, "import pymc3, numpy; pymc3.Minibatch(numpy.zeros((4, 2)), 2)"),
    "versions_without_properties": (
        True,
        "import theano.tensor as tt\nfrom theano.gof import CLinker, FunctionGraph\n"
        "x = tt.lscalar()\n"
        "assert CLinker().accept(FunctionGraph([x], [tt.scalar_from_tensor(x)])).cmodule_key()[0]",
    ),
    "versions_of_c_files": (
        True,
        "import theano\nop = theano.tensor.DimShuffle((), ['x'])\n"
        "here = op.c_code_cache_version()\n"
        "theano.gof.op.hash = lambda value: hash(value) + 1  # as in a process with another PYTHONHASHSEED\n"
        "assert op.c_code_cache_version() == here",
    ),
    "vanishing_folders": (
        True,
        "import os, tempfile, theano\n"
        "from theano.gof.cmodule import ModuleCache\n"
        "cache = tempfile.mkdtemp()\n"
        "gone = os.path.join(cache, 'tmp1')\n"
        "os.mkdir(gone)\n"
        "isdir = os.path.isdir\n"
        "def removed_meanwhile(path):\n"
        "    there = isdir(path)\n"
        "    if path == gone and there: os.rmdir(path)\n"
        "    return there\n"
        "os.path.isdir = removed_meanwhile\n"
        "ModuleCache(cache)",
    ),
    "files_among_modules": (
        True,
        "import os, tempfile\n"
        "from theano.gof.cmodule import ModuleCache\n"
        "cache = ModuleCache(tempfile.mkdtemp())\n"
        "new, old = (os.path.join(cache.dirname, name) for name in ('tmp1.so', 'tmp2.so'))\n"
        "for path in (new, old): open(path, 'w').close()\n"
        "os.utime(old, (0, 0))\n"
        "cache._on_atexit()\n"
        "assert os.path.exists(new) and not os.path.exists(old)",
    ),
    "threads_of_their_own": (
        True,
        "import threading, theano\n"
        "before, seen = theano.config.cxx, []\n"
        "thread = threading.Thread(target=lambda: seen.append(theano.config.cxx))\n"
        "with theano.change_flags(cxx=''):\n"
        "    thread.start()\n"
        "    thread.join()\n"
        "assert seen == [before]",
    ),
    "lock_after_errors": (
        True,
        "from theano.gof import compilelock\n"
        "try:\n"
        "    with compilelock.lock_ctx(): raise KeyError\n"
        "except KeyError: pass\n"
        "assert compilelock.get_lock.n_lock == 0",
    ),
    "model_test_values": (
        True,
        "import pymc3, theano.tensor as tt\nwith pymc3.Model(): pymc3.Normal('x', 0, 1, observed=tt.vector())",
    ),
    "global_variable_order": (
        True,
        "import pymc3\n"
        "for _ in range(5):\n"
        "    with pymc3.Model() as model:\n"
        "        names = [pymc3.Normal(f'v{i}', 0, 1).name for i in range(7)]\n"
        "        (group,) = pymc3.ADVI().approx.groups\n"
        "        assert [variable.name for variable in group.group] == names",
    ),
    "whole_numbers": (
        True,
        "import pymc3\nwith pymc3.Model(): assert pymc3.Data('index', [40_000]).get_value() == 40_000",
    ),
    "rowwise_full_rank": (
        True,
        "import numpy, pymc3, theano\n"
        "with pymc3.Model():\n"
        "    z = pymc3.Normal('z', 0, 1, shape=(2, 1))\n"
        "    params = dict(mu=numpy.zeros((2, 1), 'float32'), L_tril=numpy.ones((2, 1), 'float32'))\n"
        "    (group,) = pymc3.ADVI(local_rv={z: params}).approx.groups\n"
        "nodes = theano.gof.graph.io_toposort([], [group.symbolic_logq_not_scaled])\n"
        "assert not any(isinstance(node.op, theano.scan_module.scan_op.Scan) for node in nodes)",
    ),
}

LOAD = f"""
import sys, importlib.util, warnings
warnings.simplefilter("ignore")
spec = importlib.util.spec_from_file_location("legacy", {str(LEGACY)!r})
legacy = importlib.util.module_from_spec(spec)
spec.loader.exec_module(legacy)
"""


# Each probe in a child of its own of a process that has stock imported: what it changes, the next one does not see.
IN_CHILDREN = """
import json, os, traceback
import pymc3, theano
said = {}
for name, probe in probes.items():
    read, write = os.pipe()
    if not os.fork():
        os.close(read)
        with os.fdopen(write, "w") as pipe:
            try:
                exec(probe, {})
            except Exception:
                pipe.write(traceback.format_exc())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said[name] = pipe.read()
    assert os.wait()[1] == 0, name
print(json.dumps(said))
"""


def stock(python, code):
    return python(LOAD + code, flags=stock_flags())


@pytest.mark.parametrize("name", BEFORE)
def test_stock_is_not_imported_without_it_where_it_is_needed(name, python):
    needed, probe = PROBES[name]
    others = "".join(f"legacy.{other}()\n" for other in BEFORE if other != name)
    done = stock(python, others + probe)
    assert (done.returncode != 0) is needed, done.stderr
    if needed:
        assert any(word in done.stderr for word in ("Error", "error")), done.stderr


def test_stock_fails_without_each_of_the_others_where_it_is_needed(python):
    probes = {name: probe for name, (_, probe) in PROBES.items() if name not in BEFORE}
    before = "".join(f"legacy.{name}()\n" for name in BEFORE)
    done = stock(python, f"{before}probes = {probes!r}\n{IN_CHILDREN}")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert {name: text != "" for name, text in said.items()} == {name: PROBES[name][0] for name in probes}, said
    assert all("Error" in text for text in said.values() if text), said


def test_with_all_of_them_the_probes_pass(python):
    probes = "\n".join(probe for _, probe in PROBES.values())
    done = python("import warnings; warnings.simplefilter('ignore')\nimport fastvae\n" + probes)
    assert done.returncode == 0, done.stderr


def test_a_repair_that_is_not_needed_does_nothing(python):
    before = f"print([repair for repair in {BEFORE!r} if getattr(legacy, repair)()])\n"
    done = stock(python, before + "import pymc3\nprint(legacy.minibatch_static_slices())")
    assert done.returncode == 0, done.stderr
    expected = [name for name in BEFORE if PROBES[name][0]]
    assert done.stdout.splitlines()[-2:] == [str(expected), str(PY311)]


def test_numpy_without_blas_information_stops_stock(python):
    done = python(LOAD + "legacy.before_theano()\nimport theano")
    reason = "numpy.distutils" if PY311 else ""
    assert (done.returncode != 0) is PY311 and reason in done.stderr, done.stderr
