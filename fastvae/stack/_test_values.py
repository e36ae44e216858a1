"""PyMC3 models without test values: the user need not set them, and they are computed only where PyMC3 reads them.

Stock PyMC3 builds a model under `compute_test_value = raise`. Every expression is then evaluated once as it is written
down: an input without `tag.test_value` is an error, and a convolutional decoder takes seconds in theano's Python
convolution. Here expressions between random variables are not evaluated. A random variable is built in theano's
`ignore` mode by numpy alone, and if PyMC3 needs the value of one of its parameters (such as the starting point of a
free variable), only that value is computed.

Models that ask for another mode (`pm.Model(theano_config={"compute_test_value": ...})`), and all models under a profile
that does (`debug`), are left as they are.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import numpy as np
import theano
import theano.tensor as tt
from pymc3 import model as pm_model
from pymc3 import sampling, theanof
from pymc3.distributions import posterior_predictive
from pymc3.distributions.distribution import Distribution
from pymc3.model_graph import ModelGraph
from pymc3.variational.flows import HouseholderFlow
from theano.configparser import change_flags

from fastvae.stack._replace import replace

# A test value is computed only once, and compiling C for it would cost a second for each Op.
BY_NUMPY = {"compute_test_value": "ignore", "cxx": ""}


def install() -> None:
    """Replace the code of PyMC3 that insists on test values."""
    pm_model.Model.__new__ = staticmethod(_new_model(pm_model.Model.__new__))
    pm_model.Model.Var = _new_variable(pm_model.Model.Var)
    Distribution.getattr_value = _value_of_parameter(Distribution.getattr_value)
    Distribution.__new__ = staticmethod(_new_random_variable(Distribution.__new__))
    pm_model.ObservedRV.__init__ = _init_observed(pm_model.ObservedRV.__init__)
    HouseholderFlow.__init__ = HouseholderFlow.__init__.__wrapped__  # which does not set the flag to `raise`
    replace(theanof.join_nonshared_inputs, join_nonshared_inputs)
    sampling._check_start_shape = change_flags(BY_NUMPY)(sampling._check_start_shape)
    ModelGraph.get_plates = _knowing_deterministics(ModelGraph.get_plates, lambda self: self.model)
    param_shape = posterior_predictive._param_shape
    replace(param_shape, _knowing_deterministics(param_shape, lambda variable, model: model))


def _new_model(stock):
    @functools.wraps(stock)
    def new(cls, *args, theano_config=None, **kwargs):
        theano_config = {"compute_test_value": theano.config.compute_test_value, **(theano_config or {})}
        return stock(cls, *args, theano_config=theano_config, **kwargs)

    return new


def _new_random_variable(stock):
    @functools.wraps(stock)
    def new(cls, *args, **kwargs):
        if theano.config.compute_test_value != "off":
            return stock(cls, *args, **kwargs)
        with _by_numpy_alone():
            try:
                return stock(cls, *args, **kwargs)
            except (AttributeError, TypeError):  # TypeError: AR computes with the length of a parameter
                parameters = [value for value in (*args, *kwargs.values()) if isinstance(value, theano.Variable)]
                missing = [value for value in parameters if not hasattr(value.tag, "test_value")]
                if not missing:
                    raise
                for value in missing:
                    value.tag.test_value = _evaluate(value, kwargs.get("shape", ()))
            return stock(cls, *args, **kwargs)

    return new


def _value_of_parameter(stock):
    @functools.wraps(stock)
    def getattr_value(self, value):
        value = getattr(self, value) if isinstance(value, str) else value
        if isinstance(value, tt.TensorVariable) and not hasattr(value.tag, "test_value"):
            value.tag.test_value = _evaluate(value, self.shape)
        return stock(self, value)

    return getattr_value


def _new_variable(stock):
    @functools.wraps(stock)
    def new(self, *args, **kwargs):
        if theano.config.compute_test_value != "off":
            return stock(self, *args, **kwargs)
        with self, _by_numpy_alone():
            return stock(self, *args, **kwargs)

    return new


@contextlib.contextmanager
def _by_numpy_alone():
    model = pm_model.Model.get_context(error_if_none=False)
    if model is None:
        yield
        return
    # On the way PyMC3 enters the model again, which sets its configuration and overwrites the one to return to.
    before = {name: getattr(model, name) for name in ("_theano_config", "_old_theano_config")}
    model._theano_config = BY_NUMPY
    try:
        with change_flags(BY_NUMPY):
            yield
    finally:
        vars(model).update(before)


def _init_observed(stock):
    @functools.wraps(stock)
    def init(self, *args, **kwargs):
        try:
            stock(self, *args, **kwargs)
        except AttributeError:
            # Stock reads the observation's test value in its second last statement; what remains is the last one.
            if self.owner is None or hasattr(self.owner.inputs[0].tag, "test_value"):
                raise
            data = self.owner.inputs[0]
            self.scaling = pm_model._get_scaling(self.total_size, data.shape, data.ndim)

    return init


def join_nonshared_inputs(xs: Any, vars: Any, shared: Any, make_shared: bool = False) -> tuple[list[Any], Any]:
    """As PyMC3's, which Metropolis and SMC use; the joined variable's test value consists of those of its parts."""
    if not vars:
        raise ValueError("Empty list of variables.")
    start = np.concatenate([np.ravel(var.tag.test_value) for var in vars])
    joined = tt.concatenate([var.ravel() for var in vars])
    inarray = theano.shared(start.astype(joined.dtype), "inarray") if make_shared else joined.type("inarray")
    inarray.tag.test_value = start.astype(joined.dtype)
    replacements = {
        var: theanof.reshape_t(inarray[place.slc], place.shp).astype(place.dtyp)
        for var, place in zip(vars, theanof.ArrayOrdering(vars).vmap)
    }
    return [theano.clone(x, {**replacements, **shared}, strict=False) for x in xs], inarray


def _knowing_deterministics(stock, model_of):
    """A function of PyMC3 that reads the shapes of a model's deterministic variables from their test values."""

    @functools.wraps(stock)
    def function(*args):
        for variable in model_of(*args).deterministics:
            if not hasattr(variable.tag, "test_value"):
                variable.tag.test_value = _evaluate(variable, ())
        return stock(*args)

    return function


def _evaluate(variable, shape):
    """The value of a random variable's parameter at the model's test point, which is where the variable starts.

    A parameter that depends on an input has no value yet; the result is then zeros of the variable's shape.
    """
    roots = [
        root
        for root in theano.gof.graph.ancestors([variable], blockers=None)
        if hasattr(root.tag, "test_value") and not isinstance(root, theano.compile.SharedVariable)
    ]
    givens = {root: root.type.make_constant(root.tag.test_value) for root in roots}
    try:
        return theano.function([], variable, givens=givens, mode="FAST_COMPILE", on_unused_input="ignore")()
    except theano.gof.MissingInputError:
        if len(np.atleast_1d(shape)) != variable.ndim:
            raise
        return np.zeros(shape, variable.dtype)
