"""Every likelihood with an oracle of its log-density, by numpy and scipy in float64."""

import numpy as np
import scipy.special
import scipy.stats

from fastvae.likelihoods import Bernoulli, BetaBinomial, Categorical, DiscretizedLogistic, LowRankNormal, Normal

LEVELS = np.arange(256, dtype=np.float32) / 255


def bernoulli(x, output):
    return x * scipy.special.log_expit(output) + (1 - x) * scipy.special.log_expit(-output)


def categorical(x, output):
    n, _, rows, columns = output.shape
    logits = scipy.special.log_softmax(output.reshape(n, -1, 256, rows, columns), axis=2)
    level = np.rint(255 * x).astype(int)[:, :, None]
    return np.take_along_axis(logits, level, axis=2)[:, :, 0]


def logistic(k):
    def log_prob(x, output):
        n, _, rows, columns = output.shape
        parts = output.reshape(n, -1, 2 if k == 1 else 3 * k, rows, columns)
        centre, scale = parts[:, :, :k], np.exp(np.clip(parts[:, :, k : 2 * k], -7, 7))
        weight = scipy.special.softmax(parts[:, :, 2 * k :], axis=2) if k > 1 else 1.0
        y = 2 * x[:, :, None].astype(float) - 1
        upper = np.where(x[:, :, None] == 1, 1, scipy.special.expit((y + 1 / 255 - centre) / scale))
        lower = np.where(x[:, :, None] == 0, 0, scipy.special.expit((y - 1 / 255 - centre) / scale))
        return np.log((weight * (upper - lower)).sum(axis=2))

    return log_prob


def beta_binomial(x, output):
    n, _, rows, columns = output.shape
    log_odds, log_s = output.reshape(n, -1, 2, rows, columns).swapaxes(0, 2).swapaxes(1, 2)
    alpha, beta = (np.exp(log_s) * scipy.special.expit(sign * log_odds) for sign in (1, -1))
    return scipy.stats.betabinom(255, alpha, beta).logpmf(np.rint(255 * x))


def low_rank_normal(x, output):
    """By dense covariance matrices: one value an image."""
    parts = output.reshape(len(output), -1, x[0].size)
    mean, sd, factors = scipy.special.expit(parts[:, 0]), 0.01 + np.logaddexp(0, parts[:, 1] - 2), 0.1 * parts[:, 2:]
    covariances = [np.diag(d**2) + w.T @ w for d, w in zip(sd, factors)]
    flat = x.reshape(len(x), -1)
    return np.array([scipy.stats.multivariate_normal(*q).logpdf(v) for *q, v in zip(mean, covariances, flat)])


CASES = {
    "normal": (Normal(sd=0.3), lambda x, output: scipy.stats.norm(output, 0.3).logpdf(x)),
    "bernoulli": (Bernoulli(), bernoulli),
    "categorical": (Categorical(), categorical),
    "logistic": (DiscretizedLogistic(), logistic(1)),
    "beta-binomial": (BetaBinomial(), beta_binomial),
    "low-rank-normal": (LowRankNormal(rank=2), low_rank_normal),
    "mixture": (DiscretizedLogistic(components=2), logistic(2)),
}
