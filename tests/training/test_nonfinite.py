from collections import OrderedDict

import numpy as np
import pytest
import theano
import theano.tensor as tt

from fastvae.training import nonfinite
from tests.on_devices import on_every_device


@on_every_device
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_bad_parameter_is_named(bad):
    good, first, second = (theano.shared(np.ones(3, "float32"), name=name) for name in ("good", "first", "second"))
    assert nonfinite.first_bad([good, first, second]) is None
    for shared in (first, second):
        shared.set_value(np.array([1, bad, 1], "float32"))
    assert nonfinite.first_bad([good, first, second]) == "'first'"
    first.name = None
    assert nonfinite.first_bad([good, first, second]) == "parameter 1 of shape (3,)"


@on_every_device
def test_a_bad_step_changes_nothing_but_what_the_graph_updates_by_itself():
    w, moment = theano.shared(np.ones(2, "float32"), name="w"), theano.shared(np.float32(0), name="moment")
    count, draws = theano.shared(np.int64(0)), theano.shared(np.int64(0))
    draws.default_update = draws + 1
    loss_now, factor = tt.fscalars("loss_now", "factor")
    updates = OrderedDict([(w, w * factor), (moment, moment + 1), (count, count + 1)])
    loss, guarded = nonfinite.skip_bad_steps(loss_now + 0 * draws.astype("float32"), updates)
    step = theano.function([loss_now, factor], loss, updates=guarded)
    losses = [float(step(*values)) for values in [(5, 2), (np.nan, 2), (np.inf, 2), (4, np.inf), (4, np.nan), (3, 3)]]
    np.testing.assert_array_equal(losses, [5, np.nan, np.nan, np.nan, np.nan, 3])
    assert w.get_value().tolist() == [6, 6] and (moment.get_value(), count.get_value()) == (2, 2)
    assert draws.get_value() == 6
    assert all(new.dtype == shared.dtype for shared, new in guarded.items())
