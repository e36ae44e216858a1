"""What every posterior q(z | x) is: `Posterior`, the family, and `Distribution`, one of it with its parameters.

The second output of `encode` is whatever the family packs beside the mean. A `Posterior` says how many columns that
has, makes them from the network's unbounded output, and turns both into a `Distribution`, an object of Theano
expressions: draws, log q, its gradient, and closed forms.

PyMC3 keeps the parameters of a group of variables in a dict and tells families apart by its keys: a family names its
two, and `of_parameters` is the family that has them. `fastvae.posteriors.of_params` is the one place where such a dict
becomes a `Distribution`.
"""

from __future__ import annotations

import abc
from collections.abc import Collection
from typing import Any

import numpy as np
import theano.tensor as tt
from pymc3.variational.opvi import Group, node_property

from fastvae import expressions, kinds
from fastvae.errors import ConfigurationError


class Distribution(abc.ABC):
    """A distribution of latents whose draws are a function of standard Normal noise, one row a datum.

    `noise` is a float32 expression (..., batch, size), and a result of its shape is by entry of the latent.
    """

    mean: tt.TensorVariable  #: (batch, size)
    has_closed_forms: bool = False  #: whether it has `variance` and `expected_log_q`, and log q is by entry

    @abc.abstractmethod
    def draw(self, noise: tt.TensorVariable) -> tt.TensorVariable:
        """Draws, (..., batch, size)."""

    @abc.abstractmethod
    def log_q(self, noise: tt.TensorVariable) -> tt.TensorVariable:
        """Terms, (..., batch, size) or (..., batch, 1), whose sum over the last axis is log q of `draw(noise)`."""

    @abc.abstractmethod
    def grad_log_q(self, noise: tt.TensorVariable) -> tt.TensorVariable:
        """Gradient of log q with respect to the draw, at `draw(noise)`, the parameters held: (..., batch, size)."""

    def log_density(self, noise: tt.TensorVariable) -> tt.TensorVariable:
        """log q of `draw(noise)` in nats, (..., batch)."""
        return self.log_q(noise).sum(axis=-1)

    @property
    def variance(self) -> tt.TensorVariable:
        """Variance of each latent, (batch, size)."""
        raise NotImplementedError

    def expected_log_q(self) -> tt.TensorVariable:
        """Expectation of `log_q`, (batch, size): the negative entropy, by entry."""
        raise NotImplementedError


_BY_PARAMETERS: dict[frozenset[str], type[Posterior]] = {}  # every family that there is, a user's too


class Posterior(abc.ABC):
    """A family of posteriors: what the second output of `encode` is, and the distribution that both outputs make.

    It has neither options nor state, so that its name, which a parameter file keeps, says all of it.
    """

    name: str  #: of ``posterior=``
    parameters: tuple[str, str]  #: names of mean and spread in PyMC3's dict: no other family has these
    group: type[Group]  #: PyMC3's class of its groups; made for a family that PyMC3 does not know
    takes_global: bool = False  #: whether it is also the family of a global group, whose parameters have no batch axis

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "parameters" not in vars(cls):
            return
        former = of_parameters(cls.parameters)
        if former is None or same_family(former, cls):
            if "group" not in vars(cls):
                cls.group = _group_of(cls) if former is None else former.group
            _BY_PARAMETERS[frozenset(cls.parameters)] = cls
        elif "group" not in vars(cls):
            raise ConfigurationError(
                f"{cls.__name__}: parameters={cls.parameters!r} are those of the posterior {former.__name__}, and by "
                "them PyMC3 tells families apart: give the spread another name"
            )

    @abc.abstractmethod
    def n_spread(self, n_latent: int) -> int:
        """Columns of the second output of `encode`."""

    @abc.abstractmethod
    def spread(self, raw: tt.TensorVariable, n_latent: int) -> tt.TensorVariable:
        """The second output of `encode`, (batch, `n_spread`), from the network's unbounded one of the same shape."""

    @abc.abstractmethod
    def distribution(self, mean: tt.TensorVariable, spread: tt.TensorVariable, n_latent: int) -> Distribution:
        """q(z | x) for the outputs of `encode`."""

    @abc.abstractmethod
    def covariance(self, spread: np.ndarray) -> np.ndarray:
        """Covariances (N, n_latent, n_latent) as an array, from an array of the second output of `encode`."""

    @kinds.checked(mean=expressions.tensor, spread=expressions.tensor)
    def params(self, mean: tt.TensorVariable, spread: tt.TensorVariable) -> dict[str, tt.TensorVariable]:
        """The outputs of `encode` as a value of PyMC3's `local_rv`."""
        return dict(zip(self.parameters, (mean, spread)))


def families() -> list[type[Posterior]]:
    """Every family that there is, with a name in `fastvae.posteriors.FAMILIES` or without."""
    return list(_BY_PARAMETERS.values())


def of_parameters(names: Collection[str]) -> type[Posterior] | None:
    """The family whose parameters PyMC3 has under these names, or None."""
    return _BY_PARAMETERS.get(frozenset(names))


def same_family(one: type[Posterior], other: type[Posterior]) -> bool:
    """Whether two classes are one, or one that was defined once more, as in a notebook."""
    return (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)


def _group_of(family: type[Posterior]) -> type[Group]:
    """PyMC3's group of a family that only fastvae has: of one local variable, whose parameters are given."""

    parameters = family.parameters

    class FamilyGroup(Group):
        __param_spec__ = dict.fromkeys(parameters, ("d",))
        short_name = f"{family.name} {' '.join(parameters)}"  # PyMC3 wants it unique

        def get_param_spec_for(self, d, **kwargs):
            return dict(zip(parameters, ((d,), (of_parameters(parameters)().n_spread(d),))))

        def __init_group__(self, group):
            super().__init_group__(group)
            self._check_user_params()
            self._finalize_init()

        def distribution(self):
            return of_parameters(parameters)().distribution(*(self.params_dict[name] for name in parameters), self.ddim)

        @node_property
        def mean(self):
            return self.params_dict[parameters[0]]

        @node_property
        def symbolic_random(self):
            return self.distribution().draw(self.symbolic_initial)

        @node_property
        def symbolic_logq_not_scaled(self):
            return self.distribution().log_density(self.symbolic_initial).sum(axis=1)

    return Group.register(FamilyGroup)
