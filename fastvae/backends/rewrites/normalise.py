"""An activation that follows a batch normalisation becomes part of its Op, in training of its gradient's too.

A backend's Ops of it have an attribute `activation`, None or one of `fastvae.backends.abstract.activations.KINDS`, and
a method `with_activation`. That by the batch's statistics has x and scale as its first inputs; its outputs are the
result, mean, 1 / sqrt(variance + epsilon), variance and shift. Its gradient has the inputs x, gradient, scale, mean,
1 / sqrt(variance + epsilon), and with an activation the shift: from these it has the activation's argument again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import theano.tensor as tt

from fastvae.backends.abstract import activations
from fastvae.backends.abstract.relu import Relu, ReluGradient


def fused_activation(
    node: Any,
    norms: type | tuple[type, ...],
    gradient: type,
    described: Callable[[Any], Any] = lambda node: node.op,
    applied: Callable[[Any, list], list] = lambda op, inputs: op(*inputs, return_list=True),
) -> dict | bool:
    """What takes the place of variables around an activation of a normalisation, False where it stays as it is.

    Nothing else may look at what is between them.

    Parameters
    ----------
    node : theano Apply
        An element-wise one.
    norms, gradient : types
        The backend's Ops of normalisations, and of the gradient of that by the batch's statistics.
    described, applied : callables
        The Op of a node, and the outputs of an Op for a list of inputs, where an Op stands in another one.
    """
    activation = getattr(node.op, "scalar_op", None)
    norm = node.inputs[0].owner
    if norm is None or not isinstance(activation, activations.KINDS):
        return False
    op = described(norm)
    if not isinstance(op, norms) or op.activation:
        return False
    z, y = norm.outputs[0], node.outputs[0]
    if node.inputs[0] is not z:  # but one of the statistics
        return False
    slopes = {client for v in (z, y) for client, place in v.clients if client != "output" and place == 0}
    fused = {
        slope: _gradient_behind(slope, norm, gradient, described) for slope in slopes if _is_slope_of(slope, activation)
    }
    fused = {slope: behind for slope, behind in fused.items() if behind is not None}
    if any(client is not node and client not in fused for client, _ in z.clients):
        return False
    new = applied(op.with_activation(activation), norm.inputs)
    replaced = {y: new[0], **dict(zip(norm.outputs[1:], new[1:]))}
    for slope, behind in fused.items():
        inputs = [norm.inputs[0], slope.inputs[1], norm.inputs[1], new[1], new[2], new[4]]
        replaced.update(zip(behind.outputs, applied(described(behind).with_activation(activation), inputs)))
    return replaced


def _is_slope_of(node, activation):
    """Whether a node multiplies a gradient, its second input, by the slope of an activation."""
    op = node.op.scalar_op if isinstance(node.op, tt.Elemwise) else None
    if isinstance(activation, Relu):
        return isinstance(op, ReluGradient)
    return isinstance(op, activations.ActivationGradient) and op.activation == activation


def _gradient_behind(slope, norm, gradient, described):
    """The node of the gradient of a batch normalisation that alone uses what a node computes, else None."""
    (node, place), *others = slope.outputs[0].clients
    if others or node == "output" or not isinstance(described(node), gradient) or place != 1:
        return None
    given = [norm.inputs[0], norm.inputs[1], *norm.outputs[1:3]]
    is_bare = described(node).activation is None
    return node if is_bare and [v for i, v in enumerate(node.inputs) if i != 1] == given else None
