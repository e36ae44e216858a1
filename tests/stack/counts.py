"""A model of whole numbers beyond int16 and int32's reach of float32, for fastvae and for stock PyMC3 with float64.

    python -m tests.stack.counts     print stock's log-density of each observed variable, as JSON

Its processes never import fastvae.
"""

import json
import sys

import numpy as np

ROWS = 50


def model():
    """Counts, trials, prices, indices and a covariate, all above 32,767."""
    import pymc3 as pm
    import theano
    import theano.tensor as tt

    rng = np.random.default_rng(0)
    counts, trials = rng.poisson(70_000, ROWS), rng.integers(40_000, 50_000, ROWS)
    with pm.Model() as model:
        years = pm.Data("years", np.arange(40_000, 40_000 + ROWS))
        a, b = (pm.Normal(name, 0, 1, testval=0.1) for name in "ab")
        effect = pm.Normal("effect", 0, 1, shape=40_000 + ROWS, testval=0.2)
        pm.Poisson("poisson", tt.exp(11 + a), observed=counts)
        pm.Poisson("shared", tt.exp(11 + a), observed=theano.shared(counts))
        pm.NegativeBinomial("negative", tt.exp(11 + a), 3.0, observed=counts)
        pm.Geometric("geometric", pm.math.sigmoid(a - 11), observed=counts)
        pm.DiscreteUniform("uniform", 0, 10**6, observed=counts)
        pm.Binomial("binomial", n=trials, p=pm.math.sigmoid(a), observed=trials // 2)
        pm.BetaBinomial("beta", n=trials, alpha=tt.exp(a), beta=3.0, observed=trials // 2)
        pm.ZeroInflatedBinomial("inflated", n=trials, p=pm.math.sigmoid(a), psi=0.5, observed=trials // 2)
        category = tt.nnet.softmax(effect.dimshuffle("x", 0))[0]
        pm.Categorical("category", category, observed=np.arange(40_000, 40_000 + ROWS))
        pm.Normal("prices", b * 1e4, 1e4, observed=counts)
        trend = b * years + (years - years.mean()) / years.std() + effect[years] + tt.dot(years, b.repeat(ROWS)) / ROWS
        pm.Normal("trend", trend, 1e4, observed=counts)
    return model


def log_densities(model):
    """By name, at the model's test point."""
    return {rv.name: float(rv.logp(model.test_point)) for rv in model.observed_RVs}


def main():
    from bench.stock import repair_stack

    repair_stack()
    sys.modules["theano.scan_module.scan_perform_ext"] = None
    import theano

    theano.config.cxx = ""  # each density is computed once
    print(json.dumps(log_densities(model())))
    assert "fastvae" not in sys.modules


if __name__ == "__main__":
    main()
