"""Every repair is needed where it is made: stock fails there without it. Elsewhere it does nothing."""

import json
import pathlib
import sys

from tests.conftest import stock_flags

STACK = pathlib.Path(__file__).parents[2] / "fastvae" / "stack"
PY311 = sys.version_info >= (3, 11)

# repair: (needed on this stack, a piece of stock that fails without it)
PROBES = {
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
    "random_states": (
        True,
        "from theano.sandbox import rng_mrg\n"
        "rng_mrg.MRG_RandomStreams(1).get_substream_rstates(2, 'float32')\n"
        "assert rng_mrg.multMatVect.dot_modulo is None",
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
def load(name):
    spec = importlib.util.spec_from_file_location(name, f"{STACK}/_{{name}}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
gone, legacy = load("gone"), load("legacy")
gone.before_theano()
import theano
gone.after_theano()
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


def test_stock_fails_without_each_of_them_where_it_is_needed(python):
    probes = {name: probe for name, (_, probe) in PROBES.items()}
    done = stock(python, f"probes = {probes!r}\n{IN_CHILDREN}")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert {name: text != "" for name, text in said.items()} == {name: PROBES[name][0] for name in probes}, said
    assert all("Error" in text for text in said.values() if text), said


def test_with_all_of_them_the_probes_pass(python):
    probes = "\n".join(probe for _, probe in PROBES.values())
    done = python("import warnings; warnings.simplefilter('ignore')\nimport fastvae\n" + probes)
    assert done.returncode == 0, done.stderr


def test_a_repair_that_is_not_needed_does_nothing(python):
    done = stock(python, "import pymc3\nprint(legacy.minibatch_static_slices())")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(PY311)
