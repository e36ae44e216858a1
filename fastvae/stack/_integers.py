"""Whole numbers in PyMC3 models of float32 keep their values.

With floatX float32, stock PyMC3 converts whole numbers to int16, and 40,000 becomes -25,536. Here they are int64,
except for constants so small (`SMALL`) that no sum or difference of two of them leaves int16.

Theano computes in float64 where int64 meets float32. A training step must not, so there int64 becomes float32: in the
log-density of a discrete distribution, and in what a model computes from integers in `pm.Data`. A warning names numbers
that float32 does not hold. The log-density of a free discrete variable, which cannot be fitted anyway, stays float64.
"""

from __future__ import annotations

import copy
import functools
import numbers
import warnings
from typing import Any

import numpy as np
import pymc3 as pm
import scipy.sparse
import theano
import theano.tensor as tt
from pymc3 import model as pm_model
from pymc3.data import Data, Minibatch
from pymc3.distributions import Categorical, Discrete, Distribution, discrete, multivariate
from pymc3.vartypes import isgenerator
from theano.gof.graph import ancestors

from fastvae.errors import DataError
from fastvae.stack._replace import replace

SMALL = 2**14 - 1  # two such numbers plus 1 are the largest int16
EXACT = 2**24  # float32 holds every whole number up to this one
WIDE = ("int32", "uint32", "int64", "uint64")  # together with float32, theano turns them into float64


def install() -> None:
    """Replace the code of PyMC3 that converts whole numbers, and that of theano which computes with `pm.Data`."""
    pm.theanof._conversion_map["float32"] = "int64"
    replace(pm.theanof.intX, int_x)
    replace(pm.theanof.floatX, _float_x(pm.theanof.floatX))
    replace(pm_model.pandas_to_array, pandas_to_array)
    replace(pm_model.as_tensor, _as_tensor(pm_model.as_tensor))
    replace(pm_model.set_data, _set_data(pm_model.set_data))
    pm_model.ObservedRV.__init__ = _typed_as_data(pm_model.ObservedRV.__init__)
    Distribution.default = _default(Distribution.default)
    Discrete.__init__ = _int64(Discrete.__init__)
    for module in (discrete, multivariate):
        for kind in vars(module).values():
            if isinstance(kind, type) and issubclass(kind, Discrete) and "logp" in vars(kind):
                if not issubclass(kind, Categorical):  # its values are indices
                    kind.logp = _in_float32(kind.logp)
    Data.__new__ = _marked(Data.__new__)
    Minibatch.__init__ = _minibatch(Minibatch.__init__)
    Minibatch.set_value = _minibatch_values(Minibatch.set_value)
    for op in (tt.Elemwise, tt.Dot, tt.blas.BatchedDot, tt.Join, tt.opt.MakeVector):
        op.make_node = _without_float64(op.make_node)
    tt.mean = tt.basic.mean = _mean(tt.basic.mean)


def whole(values: Any, what: str) -> Any:
    """Numbers as int64, with fractions cut off as in PyMC3; DataError if int64 does not hold one of them.

    Parameters
    ----------
    values : numpy.ndarray or numpy.ma.MaskedArray
        What is masked is ignored.
    what : str
        What they are, for the message.
    """
    with np.errstate(invalid="ignore"):
        held = values.dtype.kind in "bi" or (values >= -(2**63)) & (values < 2**63)  # not NaN
    if not np.all(held):
        raise DataError(
            f"{what} holds {values[~held].ravel()[0] if values.ndim else values}, which is not a whole number of int64 "
            "(-2**63 to 2**63 - 1): mask what is missing, subtract an offset or divide"
        )
    if isinstance(values, np.ma.MaskedArray):
        values = np.ma.MaskedArray(values.filled(0), values.mask)
    return values.astype("int64")


def narrowed(values: Any) -> Any:
    """int64 as int16, if all values are small."""
    small = not isinstance(values, np.ma.MaskedArray) and np.all((values >= -SMALL) & (values <= SMALL))
    return values.astype("int16") if small else values


def converted(values: Any, dtype: str, what: str) -> Any:
    """Numbers in the type that was asked for; DataError names the first that does not fit an integer type."""
    if np.dtype(dtype).kind not in "iu":
        if dtype == "float32" and is_whole(values):
            warn_if_rounded(values, what)
        return values.astype(dtype)
    values = whole(values, what)
    outside = np.ravel(values[values.astype(dtype) != values])
    if outside.size:
        raise DataError(f"{what} holds {outside[0]}, which is outside {dtype}: take a wider type, such as int64")
    return values.astype(dtype)


def warn_if_rounded(values: Any, what: str) -> None:
    """Warn about the first whole number that float32 does not hold."""
    values = values.compressed() if isinstance(values, np.ma.MaskedArray) else np.ravel(values)
    with np.errstate(invalid="ignore"):
        changed = values[values.astype("float32").astype(values.dtype) != values]
    if changed.size:
        warnings.warn(
            f"fastvae: {what} holds {changed[0]}, which becomes {np.float32(changed[0]):.0f}: float32 holds every "
            f"whole number only up to {EXACT}; subtract an offset or divide first",
            stacklevel=3,
        )


def is_whole(values: Any) -> bool:
    """Whether the numbers are of an integer type."""
    return np.asarray(values).dtype.kind in "iu"


def int_x(X: Any) -> Any:
    """In place of PyMC3's `intX`: int64, or int16 for small constants."""
    if isinstance(X, theano.Variable) and not isinstance(X, theano.Constant):
        return X.astype(_symbolic_dtype(X))
    values = X.data if isinstance(X, theano.Constant) else X
    values = narrowed(whole(values if hasattr(values, "dtype") else np.asarray(values), "an integer parameter"))
    return tt.constant(values) if isinstance(X, theano.Constant) else values


def _symbolic_dtype(variable):
    return "int16" if variable.dtype in ("bool", "int8", "uint8") else "int64"


def _float_x(stock):
    @functools.wraps(stock)
    def float_x(X):
        values = X.data if isinstance(X, theano.Constant) else X
        if isinstance(values, (numbers.Integral, np.ndarray, list, tuple)) and is_whole(values):
            warn_if_rounded(np.ma.asanyarray(values), "a parameter")
        return stock(X)

    return float_x


def pandas_to_array(data: Any) -> Any:
    """In place of PyMC3's: any data as a variable or an array, of int64 for whole numbers and otherwise of floatX."""
    if isgenerator(data):
        data = pm.generator(data)
    if isinstance(data, theano.Variable):
        return data if data.dtype in tt.integer_dtypes else pm.floatX(data)
    if scipy.sparse.issparse(data):
        if data.dtype.kind not in "iu":
            return pm.floatX(data)
        data = data.copy()
        data.data = whole(data.data, "data")
        return data
    data = _array(data)
    return whole(data, "data") if is_whole(data) else pm.floatX(data)


def _array(data):
    """An array, masked where pandas or a mask says that values are missing."""
    missing = np.ma.nomask
    if hasattr(data, "isnull"):  # pandas
        missing = np.asarray(data.isnull())
        data = np.array(data.values, object) if not isinstance(data.values, np.ndarray) else data.values
    elif hasattr(data, "mask"):
        missing = np.ma.getmaskarray(data)
        data = data.data
    data = np.asarray(data)
    if data.dtype == object:
        data = np.where(missing, 0, data)
        if all(isinstance(value, numbers.Integral) for value in data.ravel()):
            data = whole(data, "data")
    return np.ma.MaskedArray(data, missing) if np.any(missing) else data


def _as_tensor(stock):
    @functools.wraps(stock)
    def as_tensor(data, name, model, distribution):
        data = _observed(data, distribution.dtype, name)
        if data.dtype != distribution.dtype:
            distribution = copy.copy(distribution)
            distribution.dtype = str(data.dtype)
        return stock(data, name, model, distribution)

    return as_tensor


def _observed(data, dtype, name):
    """Observed data in the type that their log-density takes."""
    data, what = pandas_to_array(data), f"the observed data of {name!r}"
    is_symbolic, is_discrete = isinstance(data, theano.Variable), dtype in pm.discrete_types
    if is_symbolic and is_discrete:
        return data.astype(_symbolic_dtype(data))
    if is_symbolic:
        return _float32(data, what).astype(dtype) if data.dtype in WIDE else data.astype(dtype)
    if is_discrete and not scipy.sparse.issparse(data):
        return narrowed(whole(data, what))
    if data.dtype.kind in "iu":
        warn_if_rounded(data.data if scipy.sparse.issparse(data) else data, what)
    return data.astype(dtype)


def _typed_as_data(stock):
    @functools.wraps(stock)
    def init(self, *args, **kwargs):
        stock(self, *args, **kwargs)
        if self.owner is not None:
            self.type = self.owner.inputs[0].type

    return init


def _set_data(stock):
    @functools.wraps(stock)
    def set_data(new_data, model=None):
        model, values = pm.modelcontext(model), {}
        for name, value in new_data.items():
            value = pandas_to_array(value)
            dtype = getattr(model.named_vars.get(name), "dtype", "")
            if dtype.startswith("float") and is_whole(value):
                value = converted(value, dtype, f"the data {name!r}")
            elif dtype in WIDE and not is_whole(value):
                raise DataError(
                    f"pm.set_data: {name!r} holds whole numbers ({dtype}), found {value.dtype}: give whole numbers, or "
                    "make pm.Data with floats"
                )
            values[name] = value
        return stock(values, model)

    return set_data


def _default(stock):
    @functools.wraps(stock)
    def default(self):
        if self.dtype not in pm.discrete_types:
            return stock(self)
        start = np.asarray(self.get_test_val(self.testval, self.defaults))
        return converted(start, self.dtype, f"the start of a {type(self).__name__}")

    return default


def _int64(stock):
    @functools.wraps(stock)
    def init(self, shape=(), dtype=None, *args, **kwargs):
        stock(self, shape, dtype or "int64", *args, **kwargs)

    return init


def _in_float32(stock):
    """The log-density of a discrete distribution at observed values."""

    @functools.wraps(stock)
    def logp(self, value):
        wide = {
            name: parameter
            for name, parameter in [(None, value), *vars(self).items()]
            if isinstance(parameter, theano.Variable) and parameter.dtype in WIDE and name not in self.defaults
        }
        if not wide or any(isinstance(variable, pm_model.FreeRV) for variable in ancestors(wide.values())):
            return stock(self, value)
        narrow = copy.copy(self)
        for name, parameter in wide.items():
            parameter = _float32(parameter, f"an observed {type(self).__name__} or a parameter of it")
            if name is None:
                value = parameter
            else:
                vars(narrow)[name] = parameter
        return stock(narrow, value)

    return logp


def _float32(variable, what):
    """Wide integers as float32, with a warning about those that are rounded, if their values are known."""
    root = variable
    while root.owner is not None and root.owner.inputs:  # through views, rows and casts to the data themselves
        root = root.owner.inputs[0]
    if root.dtype in WIDE and isinstance(root, (theano.Constant, theano.compile.SharedVariable)):
        warn_if_rounded(root.data if isinstance(root, theano.Constant) else root.get_value(borrow=True), what)
    return tt.cast(variable, "float32")


def _marked(stock):
    @functools.wraps(stock)
    def new(cls, *args, **kwargs):
        data = stock(cls, *args, **kwargs)
        data.tag.is_integer_data = data.dtype in WIDE
        return data

    return staticmethod(new)


def _minibatch(stock):
    @functools.wraps(stock)
    def init(self, data, batch_size=128, dtype=None, *args, **kwargs):
        Minibatch.RNG[id(self)]  # makes the entry that __del__ deletes, even after an error here
        if dtype is not None:
            data = converted(np.asarray(data), dtype, "the data of pm.Minibatch")
        stock(self, data, batch_size, dtype, *args, **kwargs)

    return init


def _minibatch_values(stock):
    @functools.wraps(stock)
    def set_value(self, value):
        stock(self, converted(np.asarray(value), self.dtype, "the data of pm.Minibatch"))

    return set_value


def _without_float64(stock):
    """An Op's `make_node` that casts integers of `pm.Data` to float32 if only they would make the result float64."""

    @functools.wraps(stock)
    def make_node(self, *inputs):
        node = stock(self, *inputs)
        if node.outputs[0].dtype != "float64" or isinstance(getattr(self, "scalar_op", None), theano.scalar.Cast):
            return node
        given = [tt.as_tensor_variable(value) for value in inputs]
        if any(v.dtype == "float64" for v in given):
            return node
        cast = [_float32(v, "the data") if _is_integer_data(v) else v for v in given]
        if cast == given:
            return node
        return stock(tt.opt.MakeVector("float32") if isinstance(self, tt.opt.MakeVector) else self, *cast)

    return make_node


def _mean(stock):
    @functools.wraps(stock)
    def mean(input, *args, **kwargs):
        if isinstance(input, theano.Variable) and _is_integer_data(input):
            input = _float32(input, "the data")
        return stock(input, *args, **kwargs)

    return mean


def _is_integer_data(variable):
    return variable.dtype in WIDE and any(getattr(v.tag, "is_integer_data", False) for v in ancestors([variable]))
