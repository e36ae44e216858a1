"""Data are judged alike wherever they come in, against a few lines of numpy; and what each error says."""

import h5py
import numpy as np
import pandas
import pytest
import scipy.sparse
import theano
import xarray
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastvae
from fastvae import datasets, minibatch
from fastvae.datasets import validation
from fastvae.errors import DataError
from fastvae.minibatch.values import Values
from fastvae.training import held_out

REFUSED = "refused"
DTYPES = ["bool", "u1", "i1", "<i2", ">i4", "<i8", ">u8", ">f2", "<f4", ">f4", "<f8", ">f8", "g", "<c8", "O", "U1"]
VALUES = ["grey", "black and white", "black", "0 to 255", "below 0", "nan", "infinite", "infinite in float32"]
LAYOUTS = ["C", "F", "reversed", "constant", "read-only", "every other"]
SHAPES = [(3, 4, 5), (3, 1, 4, 5), (2, 4, 5, 3), (2, 3, 4, 5), (1, 2, 4, 5), (0, 4, 5), (7,), (3, 2)]
CONTAINERS = ["array", "masked", "masked, one entry", "lists", "list of arrays", "xarray"]


def made(dtype, values, layout, shape, seed):
    """An array of the kind that the names say."""
    rng = np.random.default_rng(seed)
    numbers = rng.random(shape)
    if values == "black and white":
        numbers = np.rint(numbers)
    elif values == "black":
        numbers = np.zeros(shape)
    elif values == "0 to 255" or np.dtype(dtype).kind in "iu" and values == "grey":
        numbers = np.rint(numbers * 120)
    elif values == "below 0" and np.dtype(dtype).kind != "u":
        numbers = numbers - 0.5
    elif values in ("nan", "infinite", "infinite in float32") and numbers.size and np.dtype(dtype).kind in "fc":
        bad = {"nan": np.nan, "infinite": -np.inf, "infinite in float32": 1e39}[values]
        numbers.flat[rng.integers(numbers.size)] = bad
    with np.errstate(all="ignore"):
        array = numbers.astype(dtype)
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "reversed":
        return array[..., ::-1][::-1]
    if layout == "constant" and len(array):
        return np.broadcast_to(array[:1], shape)
    if layout == "every other":
        return np.repeat(array, 2, axis=-1)[..., ::2]
    array.flags.writeable = layout != "read-only"
    return array


def contained(array, container):
    """The array in another form, and whether it still can be taken."""
    if container.startswith("masked"):
        masked = np.ma.MaskedArray(array, mask=np.zeros(array.shape, bool))
        if container.endswith("entry") and array.size:
            masked[(0,) * array.ndim] = np.ma.masked
            return masked, False
        return masked, True
    if container == "lists":
        return array.tolist(), True
    if container == "list of arrays":
        return list(array), True
    return (xarray.DataArray(array) if container == "xarray" else array), True


def expected_numbers(array):
    """What a minibatch makes of an array, in numpy's own words."""
    if array.dtype.kind not in "fiub" or array.size == 0:
        return REFUSED
    if array.dtype.kind != "f":
        return array
    with np.errstate(over="ignore"):
        array = array.astype("float32")
    return array if np.isfinite(array).all() else REFUSED


def expected_images(array):
    if expected_numbers(array) is REFUSED or array.dtype.kind not in "fb" and array.dtype != np.uint8:
        return REFUSED
    if array.ndim == 4 and 3 in (array.shape[1], array.shape[3]) or array.ndim == 4 and 1 in array.shape[1:]:
        array = array if array.shape[1] in (1, 3) else np.moveaxis(array, 3, 1)
    elif array.ndim == 3:
        array = array[:, None]
    else:
        return REFUSED
    if array.dtype == np.uint8:
        return REFUSED if array.max() == 1 else (array / 255).astype("float32")
    return array.astype("float32") if 0 <= array.min() and array.max() <= 1 else REFUSED


def verdict(entrance, data):
    try:
        return np.asarray(entrance(data))
    except DataError as error:
        assert "\n" not in str(error) and "shape ()" not in str(error)
        return REFUSED


def agree(found, expected, exactly=True):
    if expected is REFUSED or found is REFUSED:
        return found is expected
    if found.dtype == np.uint8 and expected.dtype == np.float32:  # images that stay bytes
        found = (found / 255).astype("float32")
    return found.shape == expected.shape and np.array_equal(found, expected)


def rows_of_a_minibatch(data):
    """All rows of a minibatch's data, checked as its pipeline checks them."""
    feed = minibatch._feed(data, 1, 1, None, "drop")
    (source,) = feed.sources
    feed.batch_size = len(source)
    (rows,) = feed.peek()
    Values.of(rows).check(rows)
    return rows


def rows_of_a_function(data):
    feed = minibatch._feed(lambda epoch, start: [data][start:], None, 1, None, "drop")
    (rows,) = feed.peek()
    Values.of(rows).check(rows)
    return rows


def rows_held_out(data):
    array = np.asarray(data)
    x = theano.tensor.TensorType("float32" if array.dtype.kind not in "iub" else array.dtype.name, [False] * array.ndim)
    return held_out._checked(x("x"), data, 1, x("stands for a minibatch"))


class Entrances:
    """Ways in for images, and for rows of any numbers, of arrays in memory and in files."""

    def __init__(self, folder):
        self.folder = folder
        self.vaes = {}

    def vae(self, data):
        shape = np.shape(data)
        shape = (1, *shape[1:]) if len(shape) == 3 else tuple(shape[1:])
        if len(shape) == 3 and shape[0] not in (1, 3):
            shape = (shape[2], *shape[:2])
        if len(shape) != 3 or shape[0] not in (1, 3) or 0 in shape:
            shape = (1, 4, 5)
        if shape not in self.vaes:
            self.vaes[shape] = fastvae.MLPVAE(image_shape=shape, hidden=1, seed=0)
        return self.vaes[shape]

    def of_memory(self, data):
        vae = self.vae(data)
        return {
            "as_images": datasets.as_images,
            "vae.fit": lambda data: vae.training_images(data, "fit"),
            "vae.fit's held_out": lambda data: vae.training_images(data, "fit", keep_bytes=False),
            "evaluation": lambda data: vae.checked_images(data, "elbo"),
            "encode_mean": vae._as_images,
        }

    def of_files(self, array):
        vae = self.vae(array)
        npy, npz, h5 = (str(self.folder / name) for name in ("a.NPY", "a.npz", "a.H5"))
        with open(npy, "wb") as file:
            np.save(file, array)
        np.savez(npz, images=array)
        files = {"npy": npy, "npz": npz}
        if array.dtype.kind in "fiub" and array.dtype.itemsize <= 8:
            with h5py.File(h5, "w") as file:
                file["images"] = array
            files["h5"] = h5
        ways = {f"load {name}": lambda path=path: datasets.load(path) for name, path in files.items()}
        for name, path in files.items():
            if name != "npz":
                ways[f"vae.fit {name}"] = lambda path=path: vae.training_images(fastvae.on_disk(path), "fit")
                ways[f"evaluation {name}"] = lambda path=path: vae.checked_images(fastvae.on_disk(path), "elbo")
        if array.size and not array.dtype.hasobject:
            ways["vae.fit memmap"] = lambda: vae.training_images(np.load(npy, mmap_mode="r"), "fit")
        return ways, files


@pytest.fixture(scope="module")
def entrances(tmp_path_factory):
    return Entrances(tmp_path_factory.mktemp("entrances"))


ARRAYS = st.tuples(
    *map(st.sampled_from, (DTYPES, VALUES, LAYOUTS, SHAPES)),
    st.integers(0, 99),
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ARRAYS)
def test_every_entrance_of_images_has_one_verdict(entrances, drawn):
    array = made(*drawn)
    expected = expected_images(array)
    for name, entrance in entrances.of_memory(array).items():
        assert agree(verdict(entrance, array), expected), name
    ways, _ = entrances.of_files(array)
    for name, entrance in ways.items():
        assert agree(verdict(lambda _, entrance=entrance: entrance(), None), expected), name


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ARRAYS, st.sampled_from(CONTAINERS))
def test_no_container_changes_the_verdict(entrances, drawn, container):
    array = made(*drawn)
    data, whole = contained(array, container)
    plain = np.array(data) if container == "lists" else array  # lists of Python's numbers have types of their own
    images, numbers = (expected(plain) if whole else REFUSED for expected in (expected_images, expected_numbers))
    for name, entrance in entrances.of_memory(array).items():
        assert agree(verdict(entrance, data), images), name
    ways = [rows_of_a_function, rows_held_out]
    for entrance in ways if container == "list of arrays" else [*ways, rows_of_a_minibatch]:
        assert agree(verdict(entrance, data), numbers), entrance.__name__


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ARRAYS)
def test_every_entrance_of_rows_has_one_verdict(entrances, drawn):
    array = made(*drawn)
    expected = expected_numbers(array)
    _, files = entrances.of_files(array)
    sources = [lambda: array]
    if array.size and not array.dtype.hasobject:
        sources.append(lambda: np.load(files["npy"], mmap_mode="r"))
    if "h5" in files:
        sources.append(lambda: h5py.File(files["h5"], "r")["images"])
    for source in sources:
        assert agree(verdict(lambda _, source=source: rows_of_a_minibatch(source()), None), expected)
        assert agree(verdict(lambda _, source=source: rows_held_out(source()), None), expected)


class Tensor:
    """An array-like as torch's: it converts itself, or says why it does not."""

    def __init__(self, array, reason=None):
        self.array, self.reason, self.shape = array, reason, np.shape(array)

    def __array__(self, dtype=None):
        if self.reason:
            raise RuntimeError(self.reason)
        return self.array


FIELDS = np.zeros(3, [("x", "f4"), ("y", "f4")])
MASKED = np.ma.masked_values([1.0, -999.0, 3.0], -999.0)
OTHERS = {
    "sparse": (scipy.sparse.csr_matrix(np.eye(3)), r"found a sparse csr_matrix, .* give x.toarray\(\)"),
    "masked": (MASKED, r"found a masked array, 1 of its 3 entries masked, the first at \(1,\): .* x.filled\(value\)"),
    "masked rows in a list": ([MASKED, MASKED], "found a masked array, 1 of its 3"),
    "masked within a tensor": (Tensor(MASKED), "found a masked array, 1 of its 3"),
    "masked number in a list": ([1.0, np.ma.masked], "found a masked array"),
    "objects": (np.array([None, 1]), r"found object, .* x.astype\('float32'\) converts numbers"),
    "a table of anything": (pandas.DataFrame({"a": [1, "b"]}), "found object"),
    "fields": (FIELDS, r"found .*'x', '<f4'.* take one field, such as x\['name'\]"),
    "masked fields": (np.ma.array(FIELDS, mask=[(1, 0)] * 3), "found .* take one field"),
    "complex": (np.ones(2, complex), "found complex128, .* x.real, x.imag"),
    "dates": (np.array(["2020-01-01"], "M8[D]"), r"found datetime64\[D\], .*convert it"),
    "text": (np.array(["1"]), "found <U1, .*if it holds numbers"),
    "a path": ("images.npy", "found 'images.npy', not an array: .* read files"),
    "nothing": (None, "found NoneType, but data are an array or nested lists of numbers"),
    "a set": ({1, 2}, "found set"),
    "a shared variable": (theano.shared(np.ones(3)), "found TensorSharedVariable"),
    "a number": (np.float32(3), "found a single number, .* rank 1 at least"),
    "no rows": (np.ones((0, 3)), r"found an empty set, shape \(0, 3\)"),
    "ragged lists": ([[1, 2], [3]], r"found a list of members of different shapes, \(1,\) and \(2,\)"),
    "tensor elsewhere": (Tensor(1, "can't convert\n cuda:0"), r"found Tensor, .*\(can't convert cuda:0\): convert"),
}


@pytest.mark.parametrize("data, message", OTHERS.values(), ids=OTHERS)
def test_what_is_no_array_of_numbers_is_refused_in_one_line(data, message):
    with pytest.raises(DataError, match=f"rows: {message}") as caught:
        validation.numbers(data, "rows")
    assert "\n" not in str(caught.value)


def test_lists_of_tensors_are_joined():
    assert validation.numbers([Tensor(np.ones(3)), Tensor(np.zeros(3))]).tolist() == [[1, 1, 1], [0, 0, 0]]


def test_nothing_is_copied_that_need_not_be():
    array = np.ones((3, 2), "float32")
    assert np.shares_memory(validation.as_batch(array), array)


LABELS = np.array([3, 1, 0, 2, 1])


@pytest.mark.parametrize(
    "labels",
    [
        LABELS[:, None],
        np.eye(4, dtype=int)[LABELS],
        np.eye(4)[LABELS],
        np.eye(4, dtype=bool)[LABELS],
        LABELS.astype("u8"),
        LABELS.astype(">f8"),
        LABELS.astype("f2"),
        LABELS.tolist(),
    ],
)
def test_labels_may_be_a_column_one_hot_or_of_another_type(labels):
    found = validation.as_labels(labels, "labels", 5)
    assert found.dtype == np.int64 and found.tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    "labels, message",
    [
        (LABELS / 2, "labels are whole numbers in the range of int64"),
        (np.array([np.nan] * 5), "whole numbers"),
        (np.full(5, 2**63, "u8"), "in the range of int64"),
        (np.full(5, 1e19), "in the range of int64"),
        (np.eye(5) * 2, r"shape \(5, 5\), .* one-hot rows"),
        (np.zeros((5, 3)), "one-hot rows"),
        (LABELS[:3], "found 3 labels for 5 images"),
        (np.array(list("abcde")), "found <U1"),
    ],
)
def test_labels_that_are_none(labels, message):
    with pytest.raises(DataError, match=f"labels: .*{message}"):
        validation.as_labels(labels, "labels", 5)


@pytest.mark.parametrize(
    "data, dtype, message",
    [
        (np.array([7], "u1"), "float32", "found uint8 where float32 .* give x / 255 for images of bytes, else"),
        (np.array([7.0]), "int64", r"found float64 where int64 is needed: give x.astype\('int64'\)"),
        (np.array([7, 300]), "uint8", r"is 300 at \(1,\); which uint8 cannot hold"),
        (np.array([-1]), "uint64", r"is -1 at \(0,\)"),
        (np.array([1e39]), "float32", r"is inf at \(0,\); every value must be finite in float32"),
    ],
)
def test_a_type_that_would_change_the_data_is_refused(data, dtype, message):
    with pytest.raises(DataError, match=message):
        validation.in_type(data, dtype)


def test_channels_that_come_last_although_the_second_axis_could_be_theirs():
    images = np.random.default_rng(0).random((2, 3, 5, 3), dtype=np.float32)
    assert np.array_equal(datasets.as_images(images), images)  # the second axis wins
    last = datasets.as_images(images, channels_last=True)
    assert last.shape == (2, 3, 3, 5) and np.array_equal(last, images.transpose(0, 3, 1, 2))
    assert datasets.as_images(images[..., 0], channels_last=True).shape == (2, 1, 3, 5)
    with pytest.raises(DataError, match=r"\(2, 3, 5, 4\), but with channels_last images are \(N, H, W, C\)"):
        datasets.as_images(np.zeros((2, 3, 5, 4)), channels_last=True)
