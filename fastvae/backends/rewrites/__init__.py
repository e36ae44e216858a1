"""Graph rewrites that all backends share.

recognise  spelled patterns of an expression -> abstract Ops, before its gradient is taken
lift       stock convolutions of anybody's graph -> abstract ones
fuse       a bias and an activation behind a convolution or product -> part of it
normalise  an activation behind a batch normalisation -> part of it
"""

from theano.gof import EquilibriumOptimizer, MergeOptimizer


def equilibrium(*rewrites):
    """Apply the rewrites, merging equal nodes in between, until nothing changes."""
    return EquilibriumOptimizer(
        [*rewrites], max_use_ratio=20, ignore_newtrees=False, cleanup_optimizers=[MergeOptimizer()]
    )
