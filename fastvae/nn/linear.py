"""Linear: the fully connected layer.

Examples
--------
>>> from fastvae import nn
>>> nn.Linear(784, 128, activation=nn.relu, name="dense1").output_shape((784,))
(128,)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import theano.tensor as tt

from fastvae import expressions, kinds
from fastvae.arguments import RNG, generator
from fastvae.backends import abstract
from fastvae.nn.activations import identity
from fastvae.nn.initializers import glorot_uniform, zeros
from fastvae.nn.layer import INITIALIZER, INPUT_SHAPE, Layer


def linear(x: Any, weight: Any, bias: Any, activation: Callable[[Any], Any]) -> tt.TensorVariable:
    """``activation(x @ weight + bias)``."""
    return activation(abstract.dense(x, weight, bias))


class Linear(Layer):
    """Fully connected layer: ``activation(x @ weight + bias)``.

    Parameters
    ----------
    n_in, n_out : int
        Features in and out.
    activation : callable, optional
        By default the identity.
    weight, bias : callable, optional
        Initialisers (`fastvae.nn.initializers`) of the weight (n_in, n_out) and the bias (n_out,). ``bias=None`` is a
        layer without one, as before a `BatchNorm`.
    name : str, optional
        Prefix of the parameters' names.
    rng : numpy.random.Generator or int, optional
        Where the initial values come from; by default fresh entropy.

    Raises
    ------
    ConfigurationError
        If an argument is invalid.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Linear(3, 2, weight=lambda *_: np.eye(3, 2, dtype="float32"))
    >>> layer(np.array([[5, 6, 7]], dtype="float32")).eval()
    array([[5., 6.]], dtype=float32)
    """

    @kinds.checked(
        Layer.__init__, n_in=kinds.size, n_out=kinds.size, weight=INITIALIZER, bias=kinds.optional(INITIALIZER), rng=RNG
    )
    def __init__(
        self,
        n_in: int,
        n_out: int,
        activation: Callable[[Any], Any] | None = identity,
        weight: Callable[..., Any] = glorot_uniform,
        bias: Callable[..., Any] | None = zeros,
        name: str = "linear",
        rng: Any = None,
    ) -> None:
        super().__init__(name, activation)
        self.n_in, self.n_out = n_in, n_out
        fans = self.n_in, self.n_out
        rng = generator(self.owner, rng)
        self.weight = self.add_parameter("weight", fans, *fans, weight, rng)
        self.bias = None if bias is None else self.add_parameter("bias", (self.n_out,), *fans, bias, rng)

    @kinds.checked(x=expressions.tensor)
    def __call__(self, x: Any) -> tt.TensorVariable:
        """The layer's output, float32 (batch, n_out), for float32 `x` (batch, n_in)."""
        return linear(self.checked_input(x, ndim=2), self.weight, self.bias, self.activation)

    @kinds.checked(input_shape=INPUT_SHAPE)
    def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """(n_out,) for an input shape (n_in,)."""
        self.checked_shape(input_shape, (self.n_in,))
        return (self.n_out,)
