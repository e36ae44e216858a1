import h5py
import numpy as np
import pymc3 as pm
import pytest
import scipy.stats
import theano
import theano.tensor as tt

from fastvae import on_disk, renamed
from fastvae.errors import ConfigurationError, DataError
from fastvae.minibatch import Minibatch
from tests.on_devices import on_every_device


@on_every_device
def test_rows_are_rows_of_the_data_and_change_at_each_call():
    data = np.random.default_rng(0).random((50, 1, 3, 4), dtype=np.float32)
    x = Minibatch(data, 8)
    assert x.type == tt.tensor4(dtype="float32").type
    step = theano.function([], x)
    rows = {row.tobytes(): number for number, row in enumerate(data)}
    seen = [[rows[row.tobytes()] for row in step()] for _ in range(40)]
    assert all(len(batch) == 8 for batch in seen) and seen[0] != seen[1]
    assert len({number for batch in seen for number in batch}) == 50


@on_every_device
def test_two_arrays_share_their_rows():
    images, labels = Minibatch((np.arange(30.0).reshape(30, 1) / 10, np.arange(30, dtype="uint8")), 16)
    images_now, labels_now = theano.function([], [images, labels])()
    assert labels_now.dtype == np.uint8
    assert np.array_equal(images_now[:, 0], labels_now.astype("float32") / np.float32(10))


def batches(seed, calls=3):
    step = theano.function([], Minibatch(np.arange(1000.0), 8, seed=seed))
    return [step().tolist() for _ in range(calls)]


@on_every_device
def test_the_seed_repeats_the_rows():
    assert batches(1) == batches(1) != batches(2)
    assert batches(0) != batches(None) != batches(None)


@on_every_device
def test_minibatches_of_one_seed_draw_the_same_rows():
    both = theano.function([], [Minibatch(np.arange(100.0), 8), Minibatch(-np.arange(100.0), 8)])
    for _ in range(2):
        first, second = both()
        assert np.array_equal(first, -second)


def test_one_function_draws_once_for_all_uses():
    x = Minibatch(np.arange(100.0), 8)
    assert not theano.function([], (x - x * 1).any())()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_become_float32_and_no_float64_is_in_the_graph(dtype):
    x = Minibatch(np.ones((9, 2), dtype), 4)
    step = theano.function([], x)
    written, compiled = theano.gof.graph.ancestors([x]), step.maker.fgraph.variables
    assert "float64" not in {getattr(variable.type, "dtype", None) for variable in [*written, *compiled]}
    assert x.dtype == "float32"


def test_labels_keep_their_dtype():
    assert Minibatch(np.arange(5), 2).dtype == "int64"
    assert Minibatch(np.array([True, False]), 2).dtype == "bool"


@on_every_device
def test_the_data_are_copied():
    data = np.zeros(5, "float32")
    step = theano.function([], Minibatch(data, 4))
    data[:] = 1
    assert not step().any()


def test_a_batch_may_be_larger_than_the_data_or_one():
    assert Minibatch(np.arange(3.0), 10).tag.test_value.shape == (10,)
    assert theano.function([], Minibatch(np.arange(3.0), 10))().shape == (10,)
    one = Minibatch(np.zeros((3, 1, 2, 2)), 1)
    assert one.type == tt.tensor4(dtype="float32").type


def test_it_takes_the_place_of_a_variable_in_pm_fit():
    data = np.random.default_rng(1).normal(3, 1, size=2000).astype("float32")
    x = tt.vector("x", dtype="float32")
    x.tag.test_value = data[:50]
    with pm.Model():
        mu = pm.Normal("mu", 0, 10)
        pm.Normal("y", mu=mu, sigma=1, observed=x, total_size=len(data))
        approx = pm.fit(
            2000,
            more_replacements={x: Minibatch(data, 50)},
            obj_optimizer=pm.adam(learning_rate=0.05),
            progressbar=False,
            random_seed=1,
        )
    assert abs(approx.mean.eval()[0] - data.mean()) < 0.05


@on_every_device
def test_it_is_taken_as_observed():
    data = np.random.default_rng(1).normal(3, 1, size=2000).astype("float32")
    with pm.Model() as model:
        mu = pm.Normal("mu", 0, 10)
        pm.Normal("y", mu=mu, sigma=1, observed=Minibatch(data, 50), total_size=len(data))
    losses = [model.logp({"mu": 3}) for _ in range(2)]
    assert losses[0] != losses[1]
    expected = scipy.stats.norm(3, 1).logpdf(data).sum()
    assert abs(np.mean(losses) - expected) < 0.2 * abs(expected)


# Bytes, epochs, and data that are not arrays in memory

BYTES = np.random.default_rng(0).integers(0, 256, (20, 1, 3, 4)).astype("uint8")


@on_every_device
def test_bytes_stay_bytes_in_memory_and_are_scaled_in_the_step():
    x = Minibatch(BYTES, 6, seed=1, scale=1 / 255)
    step = theano.function([], x)
    (data,) = [shared for shared in step.get_shared() if shared.ndim == 4]
    assert data.get_value(borrow=True).nbytes == BYTES.nbytes == BYTES.astype("float32").nbytes // 4
    assert x.dtype == "float32" and x.tag.test_value.max() <= 1
    same = theano.function([], Minibatch(BYTES / 255, 6, seed=1))
    np.testing.assert_allclose(step(), same(), rtol=1e-6)


def test_a_list_of_arrays_of_different_shapes_is_a_tuple():
    images, labels = Minibatch([BYTES, np.arange(20)], 4)
    images_now, labels_now = theano.function([], [images, labels])()
    assert np.array_equal(images_now, BYTES[labels_now])
    assert images.tag.values.row_shape == (1, 3, 4)


def test_a_list_of_lists_is_an_array_whose_rows_they_are():
    assert Minibatch([[1, 2, 3], [4, 5, 6]], 4).tag.test_value.tolist() == [[1, 2, 3], [4, 5, 6]] * 2


@on_every_device
def test_options_of_several_arrays_are_given_one_by_one():
    images, labels = Minibatch(
        (BYTES, np.arange(20)), 6, sampler="epochs", scale=(1 / 255, None), binarize=(True, False)
    )
    images_now, labels_now = theano.function([], [images, labels])()
    assert set(images_now.ravel()) == {0, 1} and labels_now.dtype == np.int64
    assert not images_now[BYTES[labels_now] == 0].any() and images_now[BYTES[labels_now] == 255].all()


@on_every_device
def test_binarized_pixels_do_not_follow_the_rows():
    """The draws of rows and of pixels come from different streams."""
    x = Minibatch(np.linspace(0, 1, 1000, dtype="float32"), 500, seed=1, binarize=True)
    rows = Minibatch(np.linspace(0, 1, 1000, dtype="float32"), 500, seed=1)
    step = theano.function([], [x, rows])
    drawn, intensity = map(np.concatenate, zip(*(step() for _ in range(20))))
    for low in np.arange(0, 1, 0.25):
        inside = (intensity >= low) & (intensity < low + 0.25)
        ones = int(drawn[inside].sum())
        assert scipy.stats.binomtest(ones, int(inside.sum()), float(intensity[inside].mean())).pvalue > 0.001


@on_every_device
def test_rows_on_disk_are_streamed(tmp_path):
    np.save(tmp_path / "x.npy", BYTES)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = BYTES
        path = tmp_path / "x.npy"
        sources = [path, on_disk(path), np.load(path, mmap_mode="r"), file["x"]]
        expected = theano.function([], Minibatch(BYTES, 6, sampler="epochs"))()
        for source in sources:
            x = Minibatch(source, 6, sampler="epochs")
            x.tag.pipeline.advance()
            np.testing.assert_array_equal(theano.function([], x)(), expected)
            x.tag.pipeline.close()


@on_every_device
def test_a_function_of_tuples_gives_several_minibatches():
    images, labels = Minibatch(lambda epoch, start: zip(BYTES[start:], range(start, 20)), 5, scale=(1 / 255, None))
    images.tag.pipeline.advance()
    assert images.tag.pipeline is labels.tag.pipeline
    images_now, labels_now = theano.function([], [images, labels])()
    np.testing.assert_allclose(images_now, BYTES[:5] / 255, rtol=1e-6)
    assert labels_now.tolist() == [0, 1, 2, 3, 4]
    images.tag.pipeline.close()


@pytest.mark.parametrize(
    "data, options, message",
    [
        (BYTES, {"sampler": "shuffle"}, "sampler='shuffle' must be None or one of 'replacement', 'epochs'"),
        (BYTES, {"last": "pad"}, "last='pad' must be one of 'drop', 'keep'"),
        (lambda epoch, start: [1], {"sampler": "epochs"}, "a function or iterator decides the order of its own rows"),
        (BYTES, {"batch_size": None}, "batch_size=None is for functions that yield minibatches"),
        ((BYTES, BYTES), {"scale": 0.5}, "scale=0.5 must be a tuple of 2"),
        ((BYTES, BYTES), {"binarize": (True,)}, r"binarize=\(True,\) must be a tuple of 2"),
        (BYTES, {"scale": (0.5,)}, r"scale=\(0.5,\) must be one value"),
    ],
)
def test_options_are_checked(data, options, message):
    with pytest.raises(ConfigurationError, match=message):
        Minibatch(data, **{"batch_size": 2, **options})


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, "64", True])
def test_batch_size_is_checked(batch_size):
    with pytest.raises(ConfigurationError, match="Minibatch: batch_size="):
        Minibatch(np.ones(3), batch_size)


@pytest.mark.parametrize("seed", [-1, 1.5, "1"])
def test_seed_is_checked(seed):
    with pytest.raises(ConfigurationError, match="Minibatch: seed="):
        Minibatch(np.ones(3), 2, seed=seed)


@pytest.mark.parametrize(
    "data, message",
    [
        (np.ones((0, 3)), r"Minibatch: found an empty set, shape \(0, 3\)"),
        (np.ones((3, 0)), r"Minibatch: found an empty set, shape \(3, 0\)"),
        (np.float32(1), "Minibatch: found a single number"),
        ((), r"data=\(\) contains no array"),
        ((np.ones(3), np.ones(4)), r"have \[3, 4\] rows"),
        (np.array(["a"]), "Minibatch: found <U1"),
        (np.ones(2, complex), "Minibatch: found complex128"),
        (np.array([[0, np.nan]]), r"of shape \(1, 2\) is nan at \(0, 1\)"),
        ((np.ones(3), np.array([0, 1, -np.inf])), r"is -inf at \(2,\)"),
        (np.array([1e300]), "is inf at .* finite in float32"),
        ([BYTES, BYTES], r"a list of 2 arrays of shape \(20, 1, 3, 4\) can be several .* tuple\(data\) .* numpy.stack"),
        ([BYTES], "a list of 1 arrays .* can be several arrays or the rows of one"),
        ([np.ones(3), np.ones((4, 2))], r"have \[3, 4\] rows"),
    ],
)
def test_data_are_checked(data, message):
    with pytest.raises(DataError, match=message):
        Minibatch(data, 2)


def test_the_sampler_by_its_old_name():
    warned = pytest.warns(renamed.RenamedWarning, match=r"^Minibatch\(\.\.\., order=\) is now sampler=: ")
    with warned, pytest.raises(ConfigurationError, match="^Minibatch: sampler='shuffle' must be "):
        Minibatch(BYTES, 6, order="shuffle")
