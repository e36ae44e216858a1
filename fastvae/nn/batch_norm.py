"""BatchNorm: each channel or unit normalised by its mean and variance over the minibatch.

Examples
--------
A residual block is a function of its layers:

>>> import fastvae, theano.tensor as tt
>>> from fastvae import nn
>>> conv1, conv2 = (nn.Conv2D(8, 8, 3, padding="same", bias=None, name=f"conv{i}") for i in (1, 2))
>>> norm1, norm2 = nn.BatchNorm(8, nn.relu, name="norm1"), nn.BatchNorm(8, name="norm2")
>>> def residual(x):
...     return nn.relu(x + norm2(conv2(norm1(conv1(x)))))
>>> fastvae.collect_params(residual(tt.tensor4("x", dtype="float32")))
[conv1.weight, norm1.gamma, norm1.beta, conv2.weight, norm2.gamma, norm2.beta]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import theano.tensor as tt

from fastvae import expressions, kinds
from fastvae.errors import ConfigurationError
from fastvae.nn.activations import identity
from fastvae.nn.initializers import ones, zeros
from fastvae.nn.layer import ACTIVATION, INITIALIZER, INPUT_SHAPE, Layer

SMALLEST = 1e-5  # that Theano and cuDNN take


class BatchNorm(Layer):
    """Batch normalisation: ``activation(gamma (x - mean) / sqrt(variance + epsilon) + beta)``.

    A call returns the training form, whose mean and variance are those of the minibatch: of each channel over batch,
    rows and columns for images (batch, n, rows, columns), of each unit over the batch for vectors (batch, n).
    `fastvae.nn.for_evaluation` makes the evaluation form of it, with the running mean and variance. These are state:
    `fastvae.fit` updates them after every step, ``running = (1 - momentum) running + momentum * (that of the
    minibatch)``, and checkpoints and `VAE.save` keep them, but they are not trained.

    Parameters
    ----------
    n : int
        Channels or units.
    activation : callable, optional
        By default the identity.
    epsilon : float, optional
        Added to the variance, against division by 0; above 1e-5, which is the least that Theano and cuDNN take.
    momentum : float in [0, 1], optional
        Share of the minibatch in the new running mean and variance. The minibatch's variance enters without bias,
        divided by m - 1 for m values, as in PyTorch.
    gamma, beta : callable, optional
        Initialisers (`fastvae.nn.initializers`) of scale and shift, (n,); by default ones and zeros.
    name : str, optional
        Prefix of the names of parameters and state.

    Attributes
    ----------
    running_mean, running_var : theano shared variables
        Float32 (n,), zeros and ones before the first step.

    Raises
    ------
    ConfigurationError
        If an argument is invalid, or the input is neither a float32 matrix nor a float32 4-d tensor.

    Notes
    -----
    Ioffe and Szegedy, 2015, arXiv:1502.03167. It is Theano's own `theano.tensor.nnet.bn.batch_normalization_train`. The
    layer before it needs no bias (``bias=None``), since `beta` follows. Not for minibatches of one vector, whose
    variance is 0, or of very few images, whose statistics are noise.

    Examples
    --------
    >>> layer = BatchNorm(2, momentum=1.0)
    >>> x = tt.constant(np.array([[1, 10], [3, 10]], "float32"))
    >>> layer(x).eval().round(2).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    >>> from fastvae.nn import for_evaluation
    >>> for_evaluation(layer(x)).eval().round(2).tolist()  # by a mean of 0 and a variance of 1: there was no step yet
    [[1.0, 10.0], [3.0, 10.0]]
    """

    @kinds.checked(
        Layer.__init__,
        n=kinds.size,
        activation=ACTIVATION,
        epsilon=kinds.number(above=SMALLEST, like=1e-4),
        momentum=kinds.number(minimum=0, like=0.1),
        gamma=INITIALIZER,
        beta=INITIALIZER,
    )
    def __init__(
        self,
        n: int,
        activation: Callable[[Any], Any] | None = identity,
        epsilon: float = 1e-4,
        momentum: float = 0.1,
        gamma: Callable[..., Any] = ones,
        beta: Callable[..., Any] = zeros,
        name: str = "batch_norm",
    ) -> None:
        super().__init__(name, activation)
        if momentum > 1:
            raise ConfigurationError(f"{self.owner}: momentum={momentum!r} must be a number from 0 to 1, such as 0.1")
        self.n, self.epsilon, self.momentum = n, epsilon, momentum
        self.gamma = self.add_parameter("gamma", (n,), 1, 1, gamma, None)
        self.beta = self.add_parameter("beta", (n,), 1, 1, beta, None)
        self.running_mean = self.add_state("running_mean", np.zeros(n, "float32"))
        self.running_var = self.add_state("running_var", np.ones(n, "float32"))

    @kinds.checked(x=expressions.tensor)
    def __call__(self, x: Any) -> tt.TensorVariable:
        """The training form, of the shape of float32 `x`: (batch, n), or (batch, n, rows, columns)."""
        x = self.checked_input(x, ndim=(2, 4))
        normalised, *_ = tt.nnet.bn.batch_normalization_train(
            x,
            self.gamma,
            self.beta,
            axes="per-activation" if x.ndim == 2 else "spatial",
            epsilon=self.epsilon,
            running_average_factor=np.float32(self.momentum),
            running_mean=self.running_mean,
            running_var=self.running_var,
        )
        return self.activation(normalised)

    @kinds.checked(input_shape=INPUT_SHAPE)
    def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """The shape itself: (n,) or (n, rows, columns)."""
        return self.checked_shape(input_shape, (self.n,) if len(tuple(input_shape)) == 1 else (self.n, None, None))
