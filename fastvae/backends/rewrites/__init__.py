"""Graph rewrites that lower abstract and stock Ops to a backend, registered in Theano's optdb.

lift       stock convolutions of anybody's graph -> abstract ones
fuse       a bias and a ReLU behind a convolution or product -> part of it
onednn     abstract Ops and BLAS products -> oneDNN's, and the register of all rewrites of that backend
layout     activations stay NHWC from convolution to convolution
gpu        abstract Ops move to the GPU with the rest of the graph
cudnn      abstract convolutions -> those that wait for that, and then are cuDNN's
resident   what keeps a step on the GPU
"""

from theano.gof import EquilibriumOptimizer, MergeOptimizer


def equilibrium(*rewrites):
    """Apply the rewrites, merging equal nodes in between, until nothing changes."""
    return EquilibriumOptimizer(
        [*rewrites], max_use_ratio=20, ignore_newtrees=False, cleanup_optimizers=[MergeOptimizer()]
    )
