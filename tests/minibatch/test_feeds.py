import itertools

import numpy as np
import pytest

from fastvae.datasets.rows import Rows
from fastvae.errors import DataError
from fastvae.minibatch import feeds, samplers
from fastvae.minibatch.feeds import FactoryFeed, IndexedFeed
from fastvae.minibatch.values import Values


def prepared(feed):
    feed.values = [Values.of(example) for example in feed.peek()]
    return feed


def take(feed, n, **position):
    entries = list(itertools.islice(feed.batches(**(position or feed.start())), n))
    return [batch[0].tolist() for batch, _ in entries], [position for _, position in entries]


def count_up(epoch, start):
    return iter(range(100 * epoch + start, 100 * epoch + 5))


def test_rows_of_a_function_are_joined():
    batches, positions = take(prepared(FactoryFeed(count_up, 2)), 3)
    assert batches == [[0, 1], [2, 3], [100, 101]]
    assert positions == [{"epoch": 0, "start": 2}, {"epoch": 0, "start": 4}, {"epoch": 1, "start": 2}]


def test_the_last_rows_may_be_kept():
    batches, positions = take(prepared(FactoryFeed(count_up, 2, "keep")), 4)
    assert batches == [[0, 1], [2, 3], [4], [100, 101]]
    assert positions[2] == {"epoch": 0, "start": 5}


@pytest.mark.parametrize("last", ["drop", "keep"])
@pytest.mark.parametrize("taken", [1, 2, 3])
def test_every_position_continues(last, taken):
    feed = prepared(FactoryFeed(count_up, 2, last))
    batches, positions = take(feed, 8)
    assert take(feed, 8 - taken, **positions[taken - 1])[0] == batches[taken:]


def test_whole_minibatches_may_differ_in_size():
    feed = prepared(FactoryFeed(lambda epoch, start: [np.ones(3), np.ones(1)][start:], None))
    batches, positions = take(feed, 3)
    assert batches == [[1, 1, 1], [1], [1, 1, 1]] and positions[1] == {"epoch": 0, "start": 2} and feed.varies


def test_items_that_are_tuples_are_several_arrays():
    feed = prepared(FactoryFeed(lambda epoch, start: zip(np.ones((4, 3)), range(4)), 2))
    (images, labels), _ = next(feed.batches())
    assert feed.several and images.shape == (2, 3) and images.dtype == np.float32 and labels.tolist() == [0, 1]


def test_an_iterator_is_used_once_and_loses_nothing():
    iterator = iter(range(6))
    batches = prepared(FactoryFeed(feeds.one_shot(iterator), 2, restorable=False)).batches()
    assert [next(batches)[0][0].tolist() for _ in range(3)] == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(DataError, match="iterator ended: train for fewer steps"):
        next(batches)


def broken(epoch, start):
    yield from range(3)
    raise OSError("disk gone")


@pytest.mark.parametrize(
    "make, message",
    [
        (broken, "raised OSError at item 3 of epoch 0: disk gone"),
        (lambda epoch, start: 1 // epoch, "raised ZeroDivisionError at item 0 of epoch 0"),
        (lambda epoch, start: iter([]), "yields nothing"),
        (lambda epoch, start: [1], "epoch 0 of the data's function yields 1 items, too few for a batch of 2"),
        (lambda epoch, start: [1, 2] if epoch == 0 else [], "epoch 1 .* yields 0 items"),
        (lambda epoch, start: [np.ones(2), np.ones(3)], r"item 1 of epoch 0 .*: found rows of float32 \(3,\)"),
        (lambda epoch, start: [1.0, 2], r"item 1 of epoch 0 .*: found rows of int64"),
        (lambda epoch, start: [(1, 2), (1,)], "item 1 of epoch 0 has 1 parts, the first 2"),
        (lambda epoch, start: [0.0, np.nan], "item 1 of epoch 0 .* is nan"),
        (lambda epoch, start: ["a"], "item 0 of epoch 0 of the data's function: found 'a', not an array"),
    ],
)
def test_what_a_function_yields_is_checked(make, message):
    with pytest.raises(DataError, match=message):
        take(prepared(FactoryFeed(make, 2)), 3)


def test_indexed_rows_are_those_of_the_sampler():
    source = np.arange(50.0).reshape(25, 2)
    feed = prepared(IndexedFeed([source, np.arange(25)], samplers.epochs(25, 4, 1, "keep"), 4))
    entries = list(itertools.islice(feed.batches(**feed.start()), 7))
    assert sorted(np.concatenate([labels for (_, labels), _ in entries])) == list(range(25))
    assert all(np.array_equal(rows, source[labels]) and rows.dtype == np.float32 for (rows, labels), _ in entries)


def test_a_source_that_fails_is_named_with_its_rows():
    class Failing(Rows):
        def __init__(self):
            super().__init__("'images.h5'", (9, 2), np.dtype("float32"))

        def _read(self, indices):
            if indices.max() == 8:
                raise OSError("Can't read\ndata")
            return np.zeros((len(indices), 2), "float32")

    feed = prepared(IndexedFeed([Failing()], samplers.epochs(9, 3, 1), 3))
    with pytest.raises(DataError, match=r"'images.h5': rows \d to 8 cannot be read \(Can't read data\)"):
        take(feed, 3)


def test_a_bad_value_is_named_with_its_row():
    source = np.zeros((9, 2), "float32")
    feed = prepared(IndexedFeed([source], samplers.epochs(9, 3, 1), 3))
    source[5, 1] = np.inf
    with pytest.raises(DataError, match=r"is inf at \(5, 1\)"):
        take(feed, 3)


def test_reads_are_bounded():
    small, large = np.zeros((9, 2), "uint8"), np.zeros((9, 2**22), "uint8")
    assert [IndexedFeed([rows], samplers.epochs(9, 3, 1), 3).ahead for rows in (small, large)] == [16, 1]
