"""What has moved since checkpoints describe runs by full names: the name that it has now, and the one they know.

A description goes on with the former name, so that a run that an older version began is still known for the same.

Examples
--------
>>> former("fastvae.backends.abstract.dense.Dense")
'fastvae.backends.abstract.Dense'
>>> former("theano.tensor.basic.Dot")
'theano.tensor.basic.Dot'
"""

_CONVOLUTIONS = ("Conv", "ConvTransposed", "ConvWeightsGradient")
_LOGISTIC = "fastvae.backends.abstract.discretized_logistic.DiscretizedLogisticLogProb"
_CATEGORICAL = "fastvae.backends.abstract.categorical.CategoricalLogProb"

FORMER = {
    "fastvae.minibatch.samplers.ShuffledRow": "fastvae.minibatch.orders.ShuffledRow",
    "fastvae.backends.abstract.adam.AdamStep": "fastvae.backends.abstract.AdamStep",
    "fastvae.backends.abstract.dense.Dense": "fastvae.backends.abstract.Dense",
    "fastvae.backends.abstract.unflatten.Unflatten": "fastvae.backends.abstract.Unflatten",
    **{f"fastvae.backends.abstract.conv.{name}": f"fastvae.backends.convolutions.{name}" for name in _CONVOLUTIONS},
    "fastvae.backends.abstract.relu.Relu": "fastvae.backends.relu.Relu",
    "fastvae.backends.abstract.relu.ReluGradient": "fastvae.backends.relu.ReluGradient",
    _CATEGORICAL: "fastvae.backends.levels.LogProbability",
    f"{_CATEGORICAL}Gradient": "fastvae.backends.levels.LogProbabilityGradient",
    _LOGISTIC: "fastvae.backends.logistic.LogisticLogProbability",
    f"{_LOGISTIC}Gradient": "fastvae.backends.logistic.LogisticLogProbabilityGradient",
}


def former(name: str) -> str:
    """The name of a class or function in the descriptions of checkpoints: its first one."""
    return FORMER.get(name, name)
