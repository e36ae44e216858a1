"""Losses that stay on the device for some steps: a fetch makes the host wait for the GPU.

Examples
--------
>>> x = theano.shared(np.float32(0))
>>> buffer = LossBuffer(x + np.float32(1), size=3)
>>> step = theano.function([], updates=[(x, x + np.float32(1)), *buffer.updates])
>>> for _ in range(5):
...     _ = step()
>>> buffer.fetch(2)
[4.0, 5.0]
"""

from __future__ import annotations

from typing import Callable, Sequence

import numpy as np
import theano
import theano.tensor as tt

from fastvae.shared import on_device

ON_A_GPU = 100  # steps from one fetch to the next
LATEST = 1.0  # seconds from one fetch to the next, where so many steps take longer


class LossBuffer:
    """The losses of the last `size` steps, on the device.

    Parameters
    ----------
    loss : theano scalar, float32
        Of the step.
    size : int
        At most 2**24: places are counted in float32.

    Attributes
    ----------
    updates : list of (shared variable, theano expression)
        For the step's function: each call writes its loss to the next place, and begins again behind the last one.
    size : int
    """

    def __init__(self, loss: theano.Variable, size: int) -> None:
        self.size = size
        self._losses = on_device(np.full(size, np.nan, "float32"), name="losses")
        self._place = on_device(np.zeros((), "float32"), name="losses.place")
        self._losses.tag.passing = self._place.tag.passing = True  # no part of a run's state
        places, one = tt.constant(np.arange(size, dtype="float32")), np.float32(1)
        losses = tt.switch(tt.eq(places, self._place), loss, self._losses)
        place = tt.switch(tt.ge(self._place + one, np.float32(size)), np.float32(0), self._place + one)
        self.updates = [(self._losses, losses), (self._place, place)]

    def fetch(self, n: int) -> list[float]:
        """The losses of the last `n` steps, at most `size`, as a list of floats, the newest last."""
        if not n:
            return []
        losses, end = self._losses.get_value(), int(self._place.get_value())
        return np.roll(losses, -end)[self.size - n :].tolist()


def interval(fetch_every: int | None, callbacks: Sequence[Callable] | None) -> int:
    """Steps from one fetch to the next: what was asked for, or by default 100 on a GPU and 1 on the CPU.

    Callbacks get every loss when it is there, so with them it is 1.

    Examples
    --------
    >>> interval(None, callbacks=[]), interval(20, callbacks=[]), interval(20, callbacks=[print])
    (1, 20, 1)
    """
    if callbacks:
        return 1
    return (1 if theano.config.device == "cpu" else ON_A_GPU) if fetch_every is None else fetch_every
