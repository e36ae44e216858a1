"""Threads that build, compile and fit at the same time get the same results as alone, and flags stay as they were."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pymc3 as pm
import pytest
import theano
import theano.tensor as tt
from theano.sandbox.rng_mrg import MRG_RandomStreams

import fastvae

IMAGES = np.random.default_rng(0).random((20, 1, 4, 4), dtype=np.float32)


@pytest.fixture(autouse=True)
def flags_stay():
    def flags():
        return {flag.fullname: flag.__get__(True, None) for flag in theano.configparser._config_var_list}

    before = flags()
    yield
    assert flags() == before


def test_what_a_context_changes_belongs_to_its_thread():
    flags = theano.config.cxx, theano.config.compute_test_value, theano.config.floatX
    inside, done, seen = threading.Event(), threading.Event(), []

    def change():
        with pm.Model(theano_config={"compute_test_value": "raise"}), theano.change_flags(cxx="", floatX="float64"):
            seen.append((theano.config.cxx, theano.config.compute_test_value, theano.config.floatX))
            inside.set()
            done.wait(60)

    thread = threading.Thread(target=change)
    thread.start()
    assert inside.wait(60)
    assert (theano.config.cxx, theano.config.compute_test_value, theano.config.floatX) == flags
    with theano.change_flags(cxx="clang++"):  # begins inside the other's and ends after it
        done.set()
        thread.join()
        assert theano.config.cxx == "clang++"
    assert seen == [("", "raise", "float64")]
    assert (theano.config.cxx, theano.config.compute_test_value, theano.config.floatX) == flags


def test_an_assignment_is_for_all_threads():
    before = theano.config.compute_test_value
    try:
        theano.config.compute_test_value = "warn"
        with ThreadPoolExecutor() as pool:
            assert pool.submit(lambda: theano.config.compute_test_value).result() == "warn"
    finally:
        theano.config.compute_test_value = before


def test_a_function_that_calls_itself_under_a_flag_leaves_it_as_it_was():
    @theano.change_flags(compute_test_value="warn")
    def recurse(n):
        return n and recurse(n - 1)

    recurse(2)


def test_a_models_flags_end_with_its_context():
    with pm.Model(theano_config={"compute_test_value": "raise"}) as model:
        x = pm.Normal("x", 0, 1)  # enters the model again
        with model:
            assert hasattr(tt.exp(x).tag, "test_value")


def fit_of_a_vae(seed):
    vae = fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=4 + seed, seed=seed)
    approx = vae.fit(IMAGES, n=10, batch_size=5, seed=seed, progressbar=False)
    return approx.hist.tobytes(), vae.encode_mean(IMAGES).tobytes(), fastvae.evaluation.elbo(vae, IMAGES, 2, 1).nats


def fit_of_a_model(seed):
    with pm.Model():
        mu = pm.Normal("mu", 0, 10)
        sd = pm.HalfNormal("sd", 1)
        pm.Normal("x", mu * seed, sd, observed=np.full(5 + seed, 3.0, "float32"))
        approx = fastvae.fit(20, random_seed=seed, progressbar=False)
    return approx.hist.tobytes(), [param.get_value().tobytes() for param in approx.params]


def stock_fit(seed):
    with pm.Model():
        mu = pm.Normal("mu", seed, 10)
        pm.Normal("x", mu, 1, observed=np.full(4, 3.0, "float32"))
        return len(pm.fit(5, progressbar=False).hist)


def test_four_threads_end_as_one_after_the_other():
    jobs = [(fit_of_a_vae, 1), (fit_of_a_model, 1), (stock_fit, 1), (fit_of_a_model, 2)]
    together = threading.Barrier(len(jobs))

    def run(job):
        function, seed = job
        together.wait()
        return function(seed)

    with ThreadPoolExecutor(len(jobs)) as pool:
        found = list(pool.map(run, jobs))
    assert found == [function(seed) for function, seed in jobs]
    step = theano.function([], tt.exp(theano.shared(np.ones(3, "float32"))))
    assert all(hasattr(thunk, "cthunk") for thunk in step.fn.thunks)  # there is still a compiler


def test_threads_make_the_random_streams_that_each_makes_alone():
    def states(seed):
        return np.array(MRG_RandomStreams(seed).get_substream_rstates(300, "float32"))

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(states, range(1, 257)))
    assert all(np.array_equal(state, states(seed)) for seed, state in enumerate(found, 1))


def test_threads_share_a_vae():
    vae = fastvae.MLPVAE(image_shape=(1, 4, 4), hidden=4, seed=0)
    inputs = [IMAGES[:n] * np.float32(n / 40) for n in range(1, 21)] * 20
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(vae.encode_mean, inputs))
    assert all((a == vae.encode_mean(b)).all() for a, b in zip(found, inputs))
