"""Sizes in shapes as users and Theano write them."""

import numpy as np
import theano.tensor as tt
from theano.compile.ops import Shape_i

from fastvae.backends.abstract.sizes import as_size, entries


def test_a_size_is_known_however_it_is_written():
    x, y = tt.ftensor4s("xy")
    n, c, h, w = x.shape
    assert [as_size(v, x, 2) for v in (h, x.shape[-2], Shape_i(2)(x), h + h - 1, 3 * (h + 2))] == [
        (1, 0),
        (1, 0),
        (1, 0),
        (2, -1),
        (3, 6),
    ]
    assert [as_size(v, x, 2) for v in (w, y.shape[2], h * w, h // 2, x.shape[2:3].sum(), tt.lscalar())] == [None] * 6
    assert as_size(tt.constant(np.int64(4)), x, 2) == (0, 4)


def test_entries_of_a_shape():
    x = tt.ftensor4("x")
    n, c, h, w = x.shape
    assert entries(tt.stack([n, c * 2])) is not None and len(entries(tt.as_tensor_variable([n, c, h, w]))) == 4
    assert [int(v.data) for v in entries(tt.constant([3, 4]))] == [3, 4]
    assert entries(x.shape) is None and entries(tt.lvector()) is None
