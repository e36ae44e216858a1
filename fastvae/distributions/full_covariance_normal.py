"""Normals with a full covariance: the posterior `FullCovariance`, and `CholeskyNormal`, which it stands for.

The covariance is L L^T with L lower triangular, packed row by row as `numpy.tril_indices` orders it. No node runs in
Python: L is never unpacked, its products are sums of packed entries, taken by constant matrices of zeros and ones.

Examples
--------
>>> packed = np.array([[1, 2, 3]], "float32")  # L = [[1, 0], [2, 3]]
>>> q = CholeskyNormal(tt.zeros((1, 2), "float32"), tt.constant(packed), size=2)
>>> q.draw(np.array([[1, 1]], "float32")).eval()
array([[1., 5.]], dtype=float32)
"""

from __future__ import annotations

import math

import numpy as np
import theano.tensor as tt
from pymc3.variational.approximations import FullRankGroup

from fastvae import expressions, kinds
from fastvae.distributions.normal import TriangularNormal
from fastvae.distributions.posterior import Posterior


class CholeskyNormal(TriangularNormal):
    """A Normal of mean `mean` and covariance L L^T.

    Parameters
    ----------
    mean : float32 expression (batch, size)
    packed : float32 expression (batch, size (size + 1) / 2)
        The lower triangle L, its rows one after another. Entries of the diagonal may be negative, not zero.
    size : int

    Examples
    --------
    >>> q = CholeskyNormal(tt.zeros((1, 2), "float32"), tt.constant(np.array([[1, 3, 2]], "float32")), size=2)
    >>> q.grad_log_q(tt.constant(np.array([[5, 4]], "float32"))).eval()
    array([[ 1., -2.]], dtype=float32)
    """

    def __init__(self, mean: tt.TensorVariable, packed: tt.TensorVariable, size: int) -> None:
        self.mean, self.packed, self.size = mean, packed, size
        rows, columns = np.tril_indices(size)
        identity = np.eye(size, dtype=np.float32)
        # Zeros and ones, (packed entries, size): the row and the column of each entry, and of the diagonal's entries.
        self._row, self._column = identity[rows], identity[columns]
        self._diagonal = identity[rows] * (rows == columns)[:, None]

    @property
    def log_scale(self) -> tt.TensorVariable:
        return tt.log(abs(tt.dot(self.packed, self._diagonal)))

    @property
    def variance(self) -> tt.TensorVariable:
        return tt.dot(tt.sqr(self.packed), self._row)

    def draw(self, noise: tt.TensorVariable) -> tt.TensorVariable:
        return tt.dot(self.packed * tt.dot(noise, self._column.T), self._row) + self.mean

    def grad_log_q(self, noise: tt.TensorVariable) -> tt.TensorVariable:
        """-L^-T noise: L^T y = noise is solved from the last latent to the first."""
        rest, solution = noise, []
        for i in reversed(range(self.size)):
            start = i * (i + 1) // 2
            row = self.packed[:, start : start + i]
            solution.insert(0, rest[..., i] / self.packed[:, start + i])
            rest = rest[..., :i] - tt.shape_padright(solution[0]) * row
        return -tt.stack(solution, axis=-1)


class FullCovariance(Posterior):
    """Correlated latents: `encode` returns (mean, L), the covariance of an image is L L^T.

    Examples
    --------
    >>> FullCovariance().covariance(np.array([[1.0, 2.0, 3.0]]))
    array([[[ 1.,  2.],
            [ 2., 13.]]])
    """

    name = "full-covariance"
    parameters = "mu", "L_tril"
    group = FullRankGroup

    @kinds.checked(n_latent=kinds.size)
    def n_spread(self, n_latent: int) -> int:
        """Columns of the second output of `encode`: n_latent (n_latent + 1) / 2."""
        return n_latent * (n_latent + 1) // 2

    @kinds.checked(raw=expressions.tensor, n_latent=kinds.size)
    def spread(self, raw: tt.TensorVariable, n_latent: int) -> tt.TensorVariable:
        """The packed L, float32 (batch, n_latent (n_latent + 1) / 2): `raw` with softplus on the diagonal's entries."""
        rows, columns = np.tril_indices(n_latent)
        return tt.switch(tt.constant((rows == columns)[None]), tt.nnet.softplus(raw), raw)

    @kinds.checked(mean=expressions.tensor, spread=expressions.tensor, n_latent=kinds.size)
    def distribution(self, mean: tt.TensorVariable, spread: tt.TensorVariable, n_latent: int) -> CholeskyNormal:
        """q(z | x) for the outputs of `encode`, the mean (batch, n_latent) and the packed L."""
        return CholeskyNormal(mean, spread, n_latent)

    @kinds.checked(spread=expressions.tensor)
    def covariance(self, spread: np.ndarray) -> np.ndarray:
        """Covariances (N, n_latent, n_latent) as an array, from an array of the second output of `encode`."""
        n_latent = (math.isqrt(8 * spread.shape[1] + 1) - 1) // 2
        lower = np.zeros((len(spread), n_latent, n_latent), spread.dtype)
        lower[(slice(None), *np.tril_indices(n_latent))] = spread
        return lower @ lower.swapaxes(1, 2)
