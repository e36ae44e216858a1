"""Device-free Ops of a VAE's layers: what is computed, its gradient, and what it means in stock Theano.

    conv2d, conv_transpose2d, dense    the layers: product, bias and activation in one Op
    Conv, ConvTransposed, ConvWeightsGradient, Dense    their Ops
    Unflatten                          rows as images, without broadcastable axes
    relu_gradient                      the gradient of ReLU from its output: g where y > 0, else 0
    AdamStep                           one Adam update of some parameters

Other Ops are imported from their files: activations with parameters (`activations`), batch normalisation
(`batch_norm`), pooling (`pool`), upsampling (`upsample` to the nearest pixel, and `bilinear`), zeros around and between
pixels (`pad`), and the likelihoods of pixels (`categorical`, `discretized_logistic`), which have `pixels` in common.
How users spell what they compute is in these files too, or beside them (`activation_spellings`).

A backend's rewrites lower them to its own Ops; what no backend takes becomes stock Ops (`op.local_stock`), so a model
runs on every device. Images are (N, C, H, W).

Examples
--------
>>> import numpy as np, theano, theano.tensor as tt
>>> from fastvae.backends import abstract
>>> x, w = tt.tensor4("x", "float32"), tt.tensor4("w", "float32")
>>> y = abstract.conv2d(x, w, stride=2, padding=1, activation="relu")
>>> y.eval({x: np.ones((1, 1, 4, 4), "float32"), w: np.ones((1, 1, 3, 3), "float32")})[0, 0].tolist()
[[4.0, 6.0], [6.0, 9.0]]
"""

from fastvae.backends.abstract.adam import AdamStep
from fastvae.backends.abstract.conv import Conv, ConvTransposed, ConvWeightsGradient
from fastvae.backends.abstract.dense import Dense
from fastvae.backends.abstract.layers import conv2d, conv_transpose2d, dense
from fastvae.backends.abstract.op import ACTIVATIONS, AbstractOp, activate
from fastvae.backends.abstract.relu import relu_gradient
from fastvae.backends.abstract.unflatten import Unflatten

__all__ = [
    "ACTIVATIONS",
    "AbstractOp",
    "AdamStep",
    "Conv",
    "ConvTransposed",
    "ConvWeightsGradient",
    "Dense",
    "Unflatten",
    "activate",
    "conv2d",
    "conv_transpose2d",
    "dense",
    "relu_gradient",
]
