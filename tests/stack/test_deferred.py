"""What PyMC3 has for diagnostics and plots: not there after a start, and stock's own once it is used."""

import subprocess
import sys

import pytest

from fastvae.stack import _deferred

PROGRAM = """
import sys
import fastvae
import pymc3 as pm

heavy = {"arviz", "h5py", "matplotlib", "pandas", "scipy.signal", "scipy.stats", "setuptools", "xarray"}
heavy |= {"distutils", "numpy.f2py"}
# They were 1,280 with what a step does not use; the numpy and scipy of Python 3.12 and 3.13 have more.
assert len(sys.modules) <= (1000 if sys.version_info < (3, 12) else 1050), len(sys.modules)
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert not isinstance(3, pm.sampling.InferenceData), "nothing is an instance of what is not imported"
assert not heavy & set(sys.modules)
try:
    pm.plot_nothing
except AttributeError as error:
    assert str(error) == "module 'pymc3' has no attribute 'plot_nothing'"

import warnings, theano
with warnings.catch_warnings():
    warnings.simplefilter("error", UserWarning)  # setuptools warns of another distutils that was there before it
    import setuptools
assert pm.Normal.dist(0, 1).random(size=3).shape == (3,)  # by scipy.stats
import scipy.signal, scipy.stats
from numpy import f2py
assert f2py.__file__
assert pm.distributions.continuous.stats.norm.cdf(0) == 0.5
assert theano.tensor.nnet.abstract_conv.convolve([1], [2]) == [2]

with pm.Model():
    pm.Normal("x", 0, 1)
    trace = pm.sample(20, tune=20, chains=1, cores=1, progressbar=False, compute_convergence_checks=False)
assert len(trace) == 20

import arviz
import numpy as np
import pymc3.plots
assert pm.plot_trace is pymc3.plots.plot_trace and "traceplot" in dir(pm)
assert pm.plots is pymc3.plots and pm.traceplot.__doc__ == arviz.plot_trace.__doc__
names = {}
exec("from pymc3 import *", names)
assert {"Normal", "sample", *pymc3.plots.__all__} <= set(names)
with pm.Model():
    pm.Normal("x", 0, 1)
    data = pm.sample(20, tune=20, chains=1, cores=1, progressbar=False, return_inferencedata=True)
assert type(data) is arviz.InferenceData and isinstance(data, pm.sampling.InferenceData)
assert np.allclose(pm.summary(data)["mean"], arviz.summary(data)["mean"])
print("all there")
"""


def test_a_start_imports_none_of_it_and_every_name_is_there():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", PROGRAM], capture_output=True, text=True)
    assert done.stdout == "all there\n", done.stderr[-2000:]


def test_a_stand_in_passes_on_what_is_asked_of_it():
    counter = _deferred.StandIn("collections").Counter
    assert counter("aab")["a"] == 2 and counter.fromkeys.__self__.__name__ == "Counter"
    assert isinstance(counter("a"), counter) and not isinstance({}, counter)
    absent = _deferred.StandIn("no_such_module").Class
    assert not isinstance(3, absent) and absent.__doc__ == "no_such_module.Class, imported when it is used."
    with pytest.raises(AttributeError):
        getattr(absent, "__wrapped__")  # noqa: B009
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        absent()
