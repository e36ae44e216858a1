from types import SimpleNamespace

import numpy as np
import theano

from fastvae import shared


def test_on_the_cpu_it_is_an_ordinary_shared_variable():
    value = np.array([1, 2], "float32")
    variable = shared.on_device(value, name="v")
    assert variable.name == "v" and type(variable) is type(theano.shared(value))
    value[0] = 5
    np.testing.assert_array_equal(variable.get_value(), [1, 2])


def test_on_a_gpu_a_scalar_is_asked_to_live_there(monkeypatch):
    asked = {}
    gpu = SimpleNamespace(config=SimpleNamespace(device="cuda0"), shared=lambda value, **options: asked.update(options))
    monkeypatch.setattr(shared, "theano", gpu)
    shared.on_device(np.zeros((), "float32"), name="t")
    assert asked == {"name": "t", "target": None}
