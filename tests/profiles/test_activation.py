"""theano runs under exactly the profile, or says why not; each in a process of its own."""

import os
import sys

import pytest

from fastvae import profiles
from fastvae.errors import ProfileError
from tests.conftest import compile_cache

OPENCL = "apt-get install --no-install-recommends python3-pygpu libgpuarray-dev libclblast-dev pocl-opencl-icd"


@pytest.fixture
def opencl():
    """Skip without an OpenCL device that Theano can use; in CI, where Debian's pygpu fits, that is a failure."""
    try:
        profiles.resolve("opencl", {"HOME": "/nobody"})
    except ProfileError as error:
        if os.environ.get("CI") == "true" and sys.version_info >= (3, 11):
            raise
        pytest.skip(f"{error} ({OPENCL})")


def test_the_environment_is_restored_and_children_do_not_inherit_the_profile(python):
    code = (
        "import os; before = dict(os.environ)\nimport fastvae, theano\n"
        "assert dict(os.environ) == before\n"
        "print(theano.config.floatX, theano.config.device, theano.config.allow_gc, theano.config.mode)"
    )
    done = python(code, FASTVAE_PROFILE="cpu", flags="allow_gc=True")
    assert done.stdout == "float32 cpu True Mode\n", done.stderr
    assert done.stderr == ""


def test_auto_says_in_one_line_what_it_took(python):
    done = python("import fastvae; print(fastvae.profiles.active().reason)")
    assert done.stderr.splitlines() == [f"fastvae: {done.stdout.strip()}"]
    assert done.stdout.startswith("profile auto: ")


def test_a_profile_file_in_THEANORC_starts_as_it_is(python):
    path = profiles.folder() / "cpu-blas.theanorc"
    done = python("import fastvae, theano; print(fastvae.profiles.active().name)", THEANORC=str(path))
    assert (done.stdout, done.stderr) == ("cpu-blas\n", "")


ARITHMETIC = """
import fastvae, numpy as np, theano, theano.tensor as tt
x = tt.vector()
flags = theano.config.gcc.cxxflags
assert "-fassociative-math" in flags and "-ffast-math" not in flags
f = theano.function([x], [tt.isnan(x), tt.isinf(x), x * np.float32(0.5), tt.sqrt(x) / (1 + tt.exp(-x)), x.sum()])
values = np.linspace(0.1, 3, 1001).astype("float32")
values[[3, 500, 1000]] = np.nan
values[[4, 501]] = np.inf
values[5] = 1e-40
isnan, isinf, half, smooth, total = f(values)
assert (isnan.astype(bool) == np.isnan(values)).all() and isnan.any()
assert (isinf.astype(bool) == np.isinf(values)).all() and isinf.any()
assert 0 < half[5] < 1e-40, half[5]
assert np.float32(1e-40) * np.float32(0.5) > 0
expected = np.sqrt(values.astype("float64")) / (1 + np.exp(-values.astype("float64")))
np.testing.assert_allclose(smooth, expected, rtol=1e-6, atol=1e-25)
assert np.isnan(total)
"""


def test_nan_tests_and_denormal_numbers_survive_the_compiler_flags(python):
    done = python(ARITHMETIC, FASTVAE_PROFILE="cpu")
    assert done.returncode == 0, done.stderr


DEBUG = """
import fastvae, numpy as np, theano, theano.tensor as tt, pymc3 as pm
with pm.Model() as model:
    pm.Normal("z", 0, 1, shape=3)
model.logp(model.test_point)
x = tt.vector()
x.tag.test_value = np.ones(3, "float32")
assert np.allclose(tt.exp(x).tag.test_value, np.exp(1))
f = theano.function([x], tt.log(x))
f(np.ones(3, "float32"))
try:
    f(np.array([1, 1, -1], "float32"))
except AssertionError as error:
    print(str(error).splitlines()[0])
"""


def test_debug_has_test_values_and_stops_at_a_nan(python):
    done = python(DEBUG, FASTVAE_PROFILE="cpu:debug")
    assert done.stdout == "NaN detected\n", done.stderr


GRAPH = """
import os; before = dict(os.environ)
import fastvae, numpy as np, theano, theano.tensor as tt
assert theano.config.device == "opencl0:0"
assert dict(os.environ) == before
x, w = tt.matrix(), theano.shared(np.full((3, 2), 2, "float32"))
y = tt.exp(tt.dot(x, w) - 1)
f = theano.function([x], [y, theano.grad(y.sum(), w)])
assert {"GpuElemwise", "GpuDot22"} <= {type(node.op).__name__ for node in f.maker.fgraph.toposort()}
values = np.linspace(-1, 1, 12, dtype="float32").reshape(4, 3)
out, grad = f(values)
expected = np.exp(values.astype("float64").dot(np.full((3, 2), 2)) - 1)
np.testing.assert_allclose(out, expected, rtol=1e-5)
np.testing.assert_allclose(grad, values.T.astype("float64").dot(expected), rtol=1e-5)
print(fastvae.profiles.active().name)
"""


def test_opencl_computes(opencl, python):
    flags = f"gcc.cxxflags=-O0,base_compiledir={compile_cache('opencl')}"
    done = python(GRAPH, FASTVAE_PROFILE="opencl", flags=flags)
    assert done.stdout == "opencl\n", done.stderr
    assert done.stderr == ""


def test_opencl_on_the_cpu_honours_the_number_of_threads(opencl, python):
    code = "import fastvae, os; print(len(os.listdir('/proc/self/task')))"
    counts = [int(python(code, FASTVAE_PROFILE="opencl", OMP_NUM_THREADS=n).stdout) for n in "14"]
    assert counts[1] - counts[0] >= 3


def test_a_device_that_does_not_start_is_an_error_with_the_reason(opencl, python):
    done = python("import fastvae", FASTVAE_PROFILE="opencl", flags="gpuarray.preallocate=1e9")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "ProfileError: device=opencl0:0 did not start: " in last and "Trying to preallocate" in last
    assert done.stderr.count("Traceback") == 1


def test_a_value_that_theano_refuses_is_one_line(python):
    done = python("import fastvae", FASTVAE_PROFILE="cpu", flags="allow_gc=perhaps")
    last = done.stderr.splitlines()[-1]
    assert "ProfileError: theano refused a setting: " in last
    assert 'Invalid value (perhaps) for configuration variable "allow_gc"' in last
    assert done.stderr.count("Traceback") == 1


def test_what_theano_changed_silently_is_an_error(python):
    code = (
        "import sys; sys.argv = ['fastvae']\nfrom fastvae import profiles\nfrom fastvae.profiles import activation\n"
        "from fastvae.stack import _gone\n"
        "with activation.activated(profiles.resolve('cpu')):\n"
        "    _gone.before_theano(); import theano; theano.config.floatX = 'float64'\n"
    )
    assert "theano runs with floatX=float64 instead of float32" in python(code).stderr.splitlines()[-1]
