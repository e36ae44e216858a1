"""What activations are, in numpy: the oracle of the tests of all that computes them."""

import numpy as np
from scipy.special import erfc, expit

from fastvae.backends.abstract.activations import Clip, Elu, Gelu, GeluTanh, LeakyRelu, SignedRelu, Swish

ROOT = np.sqrt(2 / np.pi)
FORMULAS = {
    LeakyRelu(0.25, 0.5): lambda x: np.where(x > 0, x, 0.25 * x),
    SignedRelu(0.5): lambda x: np.maximum(x, 0),
    Elu(0.5, 2.0): lambda x: np.where(x > 0, 2 * x, np.expm1(np.minimum(x, 0))),
    Gelu(): lambda x: 0.5 * x * erfc(-x / np.sqrt(2)),
    GeluTanh(): lambda x: x * expit(2 * ROOT * (x + 0.044715 * x**3)),
    Swish(1.5): lambda x: x * expit(1.5 * x),
    Clip(-1.0, 2.0): lambda x: np.clip(x, -1, 2),
}
ALL = {
    None: lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": expit,
    **FORMULAS,
}
