"""Layer: the name, the parameters and the checks that all layers have in common.

Examples
--------
>>> import theano.tensor as tt
>>> from fastvae.nn.initializers import constant
>>> class Scale(Layer):
...     def __init__(self, n, name="scale"):
...         super().__init__(name)
...         self.factor = self.add_parameter("factor", (n,), 1, 1, constant(1), rng=None)
...     def __call__(self, x):
...         return self.checked_input(x, ndim=2) * self.factor
>>> layer = Scale(3)
>>> layer.get_params(), layer(tt.matrix("x", dtype="float32")).ndim
([scale.factor], 2)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import theano
import theano.tensor as tt
from theano.compile import SharedVariable

from fastvae import expressions, kinds
from fastvae.errors import ConfigurationError

ACTIVATION = kinds.optional(kinds.function("a function such as fastvae.nn.relu"))
INITIALIZER = kinds.function("an initialiser such as fastvae.nn.zeros")
NDIM = kinds.either(kinds.size, kinds.sequence(kinds.size, "integers such as (2, 4)"))
INPUT_SHAPE = kinds.sequence(kinds.integer(0), "integers: the shape of one input without the batch axis")


def _marking_output(call: Callable[..., Any]) -> Callable[..., Any]:
    """A layer's `__call__` whose result bears the layer in its tag."""

    @functools.wraps(call)
    def marked(self: Layer, *args: Any, **options: Any) -> Any:
        output = call(self, *args, **options)
        output.tag.layers = [*getattr(output.tag, "layers", ()), self]  # one that changes nothing returns its input
        return output

    return marked


class Layer:
    """A named part of a network that owns its parameters.

    Parameters
    ----------
    name : str
        Prefix of the parameters' names, for example ``"encoder.conv1"``.
    activation : callable, optional
        Expression -> expression, applied to the output (see `fastvae.nn.activations`).
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Let each class's call mark what it returns as the output of its layer, for `VAE.summary`."""
        super().__init_subclass__(**options)
        if "__call__" in vars(cls):
            cls.__call__ = _marking_output(cls.__call__)  # type: ignore[attr-defined]

    @kinds.checked(name=kinds.text, activation=ACTIVATION)
    def __init__(self, name: str, activation: Callable[[Any], Any] | None = None) -> None:
        self.name = name
        self.owner = f"{type(self).__name__} {name!r}"
        self.activation = activation
        self._params: list[SharedVariable] = []
        self._state: list[SharedVariable] = []

    def get_params(self) -> list[SharedVariable]:
        """The parameters (shared variables), in the order in which they were made."""
        return list(self._params)

    def get_state(self) -> list[SharedVariable]:
        """What a training changes without training it (shared variables), such as running means."""
        return list(self._state)

    @kinds.checked(
        role=kinds.text,
        shape=kinds.anything,
        fan_in=kinds.anything,
        fan_out=kinds.anything,
        initializer=INITIALIZER,
        rng=kinds.anything,
    )
    def add_parameter(
        self,
        role: str,
        shape: Sequence[int],
        fan_in: float,
        fan_out: float,
        initializer: Callable[..., Any],
        rng: Any,
    ) -> SharedVariable:
        """Make the float32 shared variable ``<name>.<role>`` from ``initializer(shape, fan_in, fan_out, rng)``."""
        value = np.asarray(initializer(shape, fan_in, fan_out, rng))
        if value.shape != tuple(shape) or value.dtype != np.float32:
            raise ConfigurationError(
                f"{self.owner}: the initialiser {initializer!r} of {role} returned {value.dtype} {value.shape}, "
                f"not float32 {tuple(shape)}"
            )
        parameter = theano.shared(value, name=f"{self.name}.{role}")
        self._params.append(parameter)
        return parameter

    @kinds.checked(role=kinds.text, value=kinds.anything)
    def add_state(self, role: str, value: np.ndarray) -> SharedVariable:
        """Make the shared variable ``<name>.<role>`` of a value; it is no parameter."""
        state = theano.shared(value, name=f"{self.name}.{role}")
        self._state.append(state)
        return state

    @kinds.checked(x=expressions.tensor, ndim=NDIM)
    def checked_input(self, x: Any, ndim: int | Sequence[int]) -> tt.TensorVariable:
        """`x` as a float32 expression of `ndim` dimensions, or of one of several numbers of them.

        Raises
        ------
        ConfigurationError
            If it is anything else.
        """
        x = tt.as_tensor_variable(x)
        admissible = ndim if isinstance(ndim, Sequence) else (ndim,)
        if x.ndim not in admissible or x.dtype != "float32":
            wanted = " or ".join(map(str, admissible))
            raise ConfigurationError(
                f"{self.owner}: the input {x} is {x.dtype} of {x.ndim} dimensions, not float32 of {wanted}: reshape "
                'it, or cast it with .astype("float32")'
            )
        return x

    @kinds.checked(input_shape=INPUT_SHAPE, expected=kinds.anything)
    def checked_shape(self, input_shape: Sequence[int], expected: Sequence[int | None]) -> tuple[int, ...]:
        """`input_shape` as a tuple of ints; ConfigurationError unless it is as expected, where None means any size."""
        shape = tuple(input_shape)
        if len(shape) != len(expected) or any(
            size < 1 or (wanted is not None and size != wanted) for size, wanted in zip(shape, expected)
        ):
            wanted = ", ".join("any" if size is None else str(size) for size in expected)
            raise ConfigurationError(f"{self.owner}: the input shape {shape} does not fit ({wanted})")
        return shape
