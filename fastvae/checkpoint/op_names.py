"""Names of Ops in digests of graphs: they stay when an Op moves to another module, so that older runs go on.

Theano's and a user's Ops go by their full names. fastvae's go by the name of their class, and those that checkpoints of
format 1 know by the full name that they had then. An Op that gets a new name keeps its name here.
"""

from __future__ import annotations

FORMER = {
    "AdamStep": "fastvae.backends.abstract.AdamStep",
    "CategoricalLogProb": "fastvae.backends.levels.LogProbability",
    "CategoricalLogProbGradient": "fastvae.backends.levels.LogProbabilityGradient",
    "CompiledAdam": "fastvae.backends.abstract.CompiledAdam",
    "Conv": "fastvae.backends.convolutions.Conv",
    "ConvTransposed": "fastvae.backends.convolutions.ConvTransposed",
    "ConvWeightsGradient": "fastvae.backends.convolutions.ConvWeightsGradient",
    "Dense": "fastvae.backends.abstract.Dense",
    "DiscretizedLogisticLogProb": "fastvae.backends.logistic.LogisticLogProbability",
    "DiscretizedLogisticLogProbGradient": "fastvae.backends.logistic.LogisticLogProbabilityGradient",
    "PixelOp": "fastvae.backends.pixels.PixelOp",
    "Relu": "fastvae.backends.relu.Relu",
    "ReluGradient": "fastvae.backends.relu.ReluGradient",
    "ShuffledRow": "fastvae.minibatch.orders.ShuffledRow",
    "Unflatten": "fastvae.backends.abstract.Unflatten",
}


def of_class(op_class: type) -> str:
    """The name of a class of Ops.

    Examples
    --------
    >>> from fastvae.backends.abstract.relu import Relu
    >>> import theano.tensor as tt
    >>> of_class(Relu), of_class(tt.Dot)
    ('fastvae.backends.relu.Relu', 'theano.tensor.basic.Dot')
    """
    name = op_class.__qualname__
    if op_class.__module__.split(".")[0] == "fastvae":
        return FORMER.get(name, f"fastvae.{name}")
    return f"{op_class.__module__}.{name}"
