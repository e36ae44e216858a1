"""Expressions in evaluation form, after a look at whether each row of them is its own.

Examples
--------
>>> import theano.tensor as tt
>>> from fastvae import nn
>>> x = tt.fmatrix("x")
>>> in_evaluation([nn.BatchNorm(3)(x), nn.Dropout(0.5)(x)], [x])[1] is x
True
"""

from __future__ import annotations

import logging
from typing import Any

from theano.tensor.nnet.bn import AbstractBatchNormTrain

from fastvae.elbo.rowwise import first_shared
from fastvae.nn import for_evaluation


def in_evaluation(outputs: Any, rows: list) -> Any:
    """The evaluation form of expressions (`fastvae.nn.for_evaluation`).

    A line of the log names what still makes a row depend on the others or on chance, such as a batch normalisation that
    is written out in means and variances.

    Parameters
    ----------
    outputs : theano variable or list of them
    rows : list of theano variables
        The inputs, each with the batch as its first axis.

    Returns
    -------
    theano variable or list of them
    """
    outputs = for_evaluation(outputs)
    shared = first_shared(outputs if isinstance(outputs, list) else [outputs], rows)
    if shared is not None and not shared.startswith(AbstractBatchNormTrain.__name__):  # which that has named already
        logging.getLogger("fastvae").warning(
            "evaluation: what the network returns for an image depends on the rest of the batch or on random numbers, "
            "by %s: take fastvae.nn.BatchNorm or fastvae.nn.Dropout, which have an evaluation form",
            shared,
        )
    return outputs
