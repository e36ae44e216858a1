"""Every likelihood with an oracle of its log-density, by numpy and scipy in float64."""

import numpy as np
import scipy.special
import scipy.stats

from fastvae.likelihoods import Bernoulli, Categorical, DiscretizedLogistic, Normal

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


CASES = {
    "normal": (Normal(sd=0.3), lambda x, output: scipy.stats.norm(output, 0.3).logpdf(x)),
    "bernoulli": (Bernoulli(), bernoulli),
    "categorical": (Categorical(), categorical),
    "logistic": (DiscretizedLogistic(), logistic(1)),
    "mixture": (DiscretizedLogistic(components=2), logistic(2)),
}
