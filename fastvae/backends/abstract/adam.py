"""The abstract Op of an Adam step, and what the backends' Ops of it have in common.

Examples
--------
>>> one = np.ones(1, "float32")
>>> p, m, v = AdamStep()(np.float32(0.1), one, one, 0 * one, 0 * one)
>>> p.eval().round(3), m.eval().round(3), v.eval().round(4)
(array([0.684], dtype=float32), array([0.1], dtype=float32), array([0.001], dtype=float32))
"""

import numpy as np
import theano.tensor as tt
from theano.gof import Apply, Op

from fastvae.backends.abstract.op import AbstractOp


class AdamStep(AbstractOp):
    """One Adam update of some parameters: rate (), then p, gradient, m, v of each -> the new p, m and v of each.

    ``m = beta1 m + (1 - beta1) g``, ``v = beta2 v + (1 - beta2) g**2``, ``p -= rate m / (sqrt(v) + epsilon)``; `rate`
    is the learning rate times the step's bias correction. Kingma and Ba, 2014, arXiv:1412.6980, end of section 2.
    """

    __props__ = ("beta1", "beta2", "epsilon")

    def __init__(self, beta1=0.9, beta2=0.999, epsilon=1e-8):
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon

    def make_node(self, rate, *parameters):
        rate, *parameters = map(tt.as_tensor_variable, (rate, *parameters))
        return Apply(self, [rate, *parameters], [v.type() for v in self.updated(parameters)])

    @staticmethod
    def updated(parameters):
        """p, m and v of each, without the gradients."""
        return [v for i, v in enumerate(parameters) if i % 4 != 1]

    @staticmethod
    def is_compilable(rate, *parameters):
        """Whether the backends' Ops take these inputs: float32, p, gradient, m and v of each broadcastable alike."""
        alike = all(len({v.broadcastable for v in parameters[i : i + 4]}) == 1 for i in range(0, len(parameters), 4))
        return alike and rate.ndim == 0 and all(v.dtype == "float32" for v in (rate, *parameters))

    def _next(self, rate, parameters, sqrt):
        new = []
        for p, g, m, v in zip(*(parameters[i::4] for i in range(4))):
            beta1, beta2, epsilon, one = (np.array(c, p.dtype) for c in (self.beta1, self.beta2, self.epsilon, 1))
            m = beta1 * m + (one - beta1) * g
            v = beta2 * v + (one - beta2) * g**2
            new += [p - rate * m / (sqrt(v) + epsilon), m, v]
        return new

    def perform(self, node, inputs, outputs):
        for cell, value, variable in zip(outputs, self._next(inputs[0], inputs[1:], np.sqrt), node.outputs):
            cell[0] = np.asarray(value, variable.dtype)

    def stock(self, rate, *parameters):
        return self._next(rate, parameters, tt.sqrt)

    def infer_shape(self, node, shapes):
        return self.updated(shapes[1:])


class CompiledAdam(Op):
    """What the backends' Ops of an `AdamStep` have in common; the variant in place overwrites every p, m and v."""

    __props__ = ("abstract_op", "n_parameters", "inplace")

    def __init__(self, abstract_op, n_parameters):
        self.abstract_op, self.n_parameters = abstract_op, n_parameters

    @property
    def overwrites(self):
        """Which input becomes which output."""
        return dict(enumerate(self.abstract_op.updated(range(1, 4 * self.n_parameters + 1))))

    def settings(self, node):
        return (self.inplace, self.abstract_op.beta1, self.abstract_op.beta2, self.abstract_op.epsilon)

    def infer_shape(self, node, shapes):
        return self.abstract_op.infer_shape(node, shapes)
