"""Dropout: random elements of a layer's output set to 0 while it is trained.

Examples
--------
>>> from fastvae import nn
>>> nn.Dropout(0.2).output_shape((128,))
(128,)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import theano
import theano.tensor as tt
from theano.compile import SharedVariable
from theano.gof.graph import inputs as graph_inputs
from theano.gof.graph import io_toposort
from theano.sandbox.rng_mrg import MRG_RandomStreams, mrg_uniform

from fastvae import expressions, kinds
from fastvae.arguments import RNG, generator
from fastvae.backends.abstract import dropout as abstract
from fastvae.nn.layer import INPUT_SHAPE, Layer

STREAMS = 60 * 256  # that draw side by side: Theano's own number for a size that is not known yet
SPAWN_KEY = 2  # of the seeds of masks


class Dropout(Layer):
    """Inverted dropout: each element is 0 with probability p, and x / (1 - p) otherwise, so that the mean stays.

    A call returns the training form, with a mask of its own in every step; `fastvae.nn.for_evaluation` makes the
    identity of it. `fastvae.fit` and `VAE.fit` seed the masks, checkpoints keep the state of their random stream, and
    each of several samples (`n_samples`) has its own.

    Parameters
    ----------
    p : float in [0, 1)
        Probability with which an element is dropped; 0 is the identity.
    name : str, optional
    rng : numpy.random.Generator or int, optional
        Where the masks come from in a function of your own; by default fresh entropy. A seed of `fit` takes its place.

    Raises
    ------
    ConfigurationError
        If an argument is invalid, or the input is neither a float32 matrix nor a float32 4-d tensor.

    Notes
    -----
    Srivastava et al., 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 15. Not between
    the latents and the loss of a small VAE: the noise of the posterior is a regulariser already.

    Examples
    --------
    >>> import numpy as np
    >>> x = tt.constant(np.ones((100, 100), "float32"))
    >>> y = Dropout(0.25, rng=0)(x).eval()
    >>> np.unique(y).round(3).astype(str).tolist(), bool(0.7 < (y > 0).mean() < 0.8)
    (['0.0', '1.333'], True)
    """

    @kinds.checked(Layer.__init__, p=kinds.number(minimum=0, below=1), rng=RNG)
    def __init__(self, p: float, name: str = "dropout", rng: Any = None) -> None:
        super().__init__(name)
        self.p = p
        self._rng = generator(self.owner, rng)

    @kinds.checked(x=expressions.tensor)
    def __call__(self, x: Any) -> tt.TensorVariable:
        """The training form, of the shape of float32 `x`: (batch, n), or (batch, channels, rows, columns)."""
        x = self.checked_input(x, ndim=(2, 4))
        if self.p == 0:
            return x
        return abstract.Dropout(self.p)(x, self._uniform(x))

    def _uniform(self, x):
        """Uniform random numbers of the shape of x, from a stream of their own.

        Those of images are drawn in NHWC, the layout in which the CPU's activations are.
        """
        state = theano.shared(_first_state(int(self._rng.integers(1, expressions.M2))), name=f"{self.name}.state")
        state.tag.is_rng = True
        shape = [x.shape[axis] for axis in ((0, 1) if x.ndim == 2 else (0, 2, 3, 1))]
        state.default_update, u = mrg_uniform.new(state, x.ndim, "float32", tt.stack(shape))
        return tt.patternbroadcast(u if x.ndim == 2 else u.dimshuffle(0, 3, 1, 2), x.broadcastable)

    @kinds.checked(input_shape=INPUT_SHAPE)
    def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """The shape itself: (n,) or (channels, rows, columns)."""
        return self.checked_shape(input_shape, (None,) if len(tuple(input_shape)) == 1 else (None, None, None))


def masks(outputs: Sequence[theano.Variable]) -> list[SharedVariable]:
    """The states of the random streams from which dropout in some expressions draws its masks.

    Parameters
    ----------
    outputs : sequence of theano variables

    Returns
    -------
    list of theano shared variables
        In the order in which the nodes use them.
    """
    drawn = [node.inputs[1] for node in io_toposort(graph_inputs(outputs), outputs) if is_dropout(node)]
    return list(dict.fromkeys(map(_state_of, drawn)))


def _state_of(u):
    """The state from which random numbers come, of the first sample if those of several follow each other."""
    node = u.owner
    while not isinstance(node.op, mrg_uniform):
        node = node.inputs[0].owner
    state = node.inputs[0]
    while state.owner is not None:
        state = state.owner.inputs[0]
    return state


def is_dropout(node: theano.Apply) -> bool:
    """Whether a node is one that `Dropout` built."""
    return isinstance(node.op, abstract.Dropout)


def seed(outputs: Sequence[theano.Variable], seed: int) -> None:
    """Give the random streams of dropout in some expressions the states that belong to a seed.

    Parameters
    ----------
    outputs : sequence of theano variables
    seed : int
        At least 0. The streams differ from each other, and from those of the posterior's noise.
    """
    for place, state in enumerate(masks(outputs)):
        words = np.random.SeedSequence(seed, spawn_key=(SPAWN_KEY, place)).generate_state(1, np.uint64)
        state.set_value(_first_state(int(1 + words[0] % np.uint64(expressions.M2 - 1))))


def _first_state(seed):
    return MRG_RandomStreams(seed).get_substream_rstates(STREAMS, "float32")
