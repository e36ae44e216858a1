"""PyMC3's full-rank Normal of each row (`local_rv={z: dict(mu=, L_tril=)}`) without scan.

Stock PyMC3 computes log q by a `theano.scan` over `pm.MvNormal`, whose triangular solves run in Python, and fills L by
an indexing that also does. Here draws and log q are those of `fastvae.posteriors`.
"""

from pymc3.variational.approximations import FullRankGroup
from pymc3.variational.opvi import node_property

from fastvae import posteriors


def install() -> None:
    """Replace the row-wise branches of PyMC3's `FullRankGroup`; groups of global variables stay stock's."""
    stock_random, stock_logq = (
        prop.fget for prop in (FullRankGroup.symbolic_random, FullRankGroup.symbolic_logq_not_scaled)
    )

    def symbolic_random(self):
        if not self.batched:
            return stock_random(self)
        return posteriors.of_params(self.params_dict, self.ddim).draw(self.symbolic_initial)

    def symbolic_logq_not_scaled(self):
        if not self.batched:
            return stock_logq(self)
        return posteriors.of_params(self.params_dict, self.ddim).log_density(self.symbolic_initial).sum(axis=1)

    FullRankGroup.symbolic_random = node_property(symbolic_random)
    FullRankGroup.symbolic_logq_not_scaled = node_property(symbolic_logq_not_scaled)
