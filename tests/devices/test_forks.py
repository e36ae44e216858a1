"""A process forked from one that has computed computes the same with one thread; PyMC3 samples in such processes."""

import pytest

WORK = """
import os, signal, threading
import fastvae, numpy as np, theano, theano.tensor as tt
from fastvae.devices.threads import limit, pools
signal.alarm(250)
vae = fastvae.ConvVAE(image_shape=(1, 28, 28), filters=16, hidden=64, kernels=(3, 1, 3), seed=0)
images = np.random.default_rng(0).random((64, 1, 28, 28), dtype=np.float32)
x = tt.tensor4("x", dtype="float32")
loss = tt.sum(tt.exp(vae.encode(x)[0]))
params = fastvae.collect_params([loss])
step = theano.function([x], [loss, *theano.grad(loss, params)])

def same(a, b):
    return all(np.array_equal(*pair) for pair in zip(a, b))

two = step(images)
limit(1)
one = step(images)
limit(2, backend="cpu")
assert same(step(images), two) and not same(one, two)

def in_child(expected, threads):
    pid = os.fork()
    if not pid:
        signal.alarm(100)
        if threads > 1:
            limit(threads, backend="cpu")
        right = max(pool.threads for pool in pools()) == threads and same(step(images), expected)
        os._exit(0 if right else 1)
    assert os.waitpid(pid, 0)[1] == 0, threads

def forks():
    for _ in range(3):
        in_child(one, 1)
        in_child(two, 2)
    step(images)
    in_child(one, 1)

forks()
thread = threading.Thread(target=forks)
thread.start()
thread.join()
assert same(step(images), two)
print("all right")
"""

SAMPLE = """
import logging, os, signal, warnings
import fastvae, numpy as np, pymc3 as pm
warnings.simplefilter("ignore")
logging.getLogger("pymc3").setLevel(logging.ERROR)
signal.alarm(250)
x = np.random.default_rng(0).normal(size=(300, 200)).astype("float32")
with pm.Model():
    w = pm.Normal("w", 0, 1, shape=200)
    pm.Normal("y", pm.math.dot(x, w), 1, observed=np.ones(300))
    fastvae.fit(2, progressbar=False)
    for cores in (2, 4):
        trace = pm.sample(3, tune=3, chains=4, cores=cores, progressbar=False, compute_convergence_checks=False)
        assert trace["w"].shape == (12, 200) and trace.nchains == 4
print("all right")
"""


def test_a_child_computes_as_the_parent_does(python):
    done = python(WORK, FASTVAE_PROFILE="cpu", OMP_NUM_THREADS="2")
    assert done.stdout.endswith("all right\n"), done.stderr


OPENMP = pytest.param("cpu-blas", "openmp=True,openmp_elemwise_minsize=100", marks=pytest.mark.exhaustive)


@pytest.mark.parametrize("profile, flags", [("cpu", ""), OPENMP])
def test_four_chains_in_two_and_four_processes_after_a_fit(python, profile, flags):
    done = python(SAMPLE, FASTVAE_PROFILE=profile, OMP_NUM_THREADS="2", flags=flags)
    assert done.stdout.endswith("all right\n"), done.stderr
