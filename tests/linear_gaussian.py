"""A linear-Gaussian VAE whose losses and gradients are written by hand, and what evaluates ours beside them."""

import numpy as np
import pymc3 as pm
import theano
import theano.tensor as tt

from fastvae.elbo import step_updates

B, N, SIZE, LATENT, SD, BETA = 4, 20, 3, 2, np.float32(0.7), np.float32(0.6)
PRIOR_MEAN, PRIOR_SD = np.array([0.3, -0.5], "float32"), np.array([[0.8, 1.4]], "float32")
# What compiles nothing on the host; Ops of a GPU have no Python, so there these alone are compiled.
QUICK = theano.compile.mode.Mode(linker="py" if theano.config.device == "cpu" else "cvm", optimizer="fast_compile")


class LinearGaussian:
    """x = z w + b + noise with the encoder mean = x a, rho = x c, and every gradient by hand."""

    def __init__(self, rows=B, amortised=True):
        rng = np.random.default_rng(0)

        def shared(name, *shape):
            return theano.shared(rng.normal(0, 0.7, shape).astype("float32"), name)

        self.w, self.b = shared("w", LATENT, SIZE), shared("b", SIZE)
        self.x = rng.normal(0, 1, (rows, SIZE)).astype("float32")
        self.xs = tt.fmatrix("xs")
        if amortised:
            self.a, self.c = shared("a", SIZE, LATENT), shared("c", SIZE, LATENT)
            self.params = [self.a, self.c, self.w, self.b]
            self.mean, self.rho = tt.dot(self.xs, self.a), tt.dot(self.xs, self.c)
        else:  # one posterior a row, all rows equal: gradients with respect to rows are independent draws
            self.x[:] = self.x[0]
            self.mean = theano.shared(np.full((rows, LATENT), 0.4, "float32"), "mean")
            self.rho = theano.shared(np.full((rows, LATENT), -0.2, "float32"), "rho")
            self.params = [self.mean, self.rho]
        with pm.Model() as self.model:
            zs = pm.Normal("zs", PRIOR_MEAN, PRIOR_SD, shape=(rows, LATENT), dtype="float32", total_size=N)
            pm.Normal("xs_", tt.dot(zs, self.w) + self.b, SD, observed=self.xs, total_size=N)
        self.inference = pm.ADVI(model=self.model, local_rv={zs: dict(mu=self.mean, rho=self.rho)})

    def expressions(self, noise, **options):
        """Loss and gradients as expressions, for noise (k, rows, LATENT): an array, or an input and n_samples."""
        replacements = {self.xs: theano.shared(self.x)}
        return loss_and_gradients(self.inference, self.params, replacements, noise, n_samples=len(noise), **options)

    def by_hand(self, noise, objective, kl, estimator):
        """The same in float64, from the formulas of `fastvae.elbo.objective` differentiated on paper."""
        a, c, w, b = (param.get_value().astype("float64") for param in self.params)
        x, beta, k = self.x.astype("float64"), float(BETA), len(noise)
        mean, rho = x @ a, x @ c
        sd = np.log1p(np.exp(rho))
        z = mean + sd * noise
        residual = (x - z @ w - b) / SD**2
        log_x = np.sum(-0.5 * ((x - z @ w - b) / SD) ** 2 - np.log(SD) - 0.5 * np.log(2 * np.pi), axis=2)
        log_z = np.sum(-0.5 * ((z - PRIOR_MEAN) / PRIOR_SD) ** 2 - np.log(PRIOR_SD) - 0.5 * np.log(2 * np.pi), axis=2)
        log_q = np.sum(-0.5 * noise**2 - np.log(sd) - 0.5 * np.log(2 * np.pi), axis=2)
        by_z = residual @ w.T
        prior_by_z = -(z - PRIOR_MEAN) / PRIOR_SD**2
        closed = np.sum(np.log(PRIOR_SD / sd) + (sd**2 + (mean - PRIOR_MEAN) ** 2) / (2 * PRIOR_SD**2) - 0.5, axis=1)
        if objective == "elbo":
            v = np.full((k, len(x), 1), 1 / k)
            if kl == "analytic":
                bound = log_x.mean(0) - beta * closed
                by_mean = (v * by_z).sum(0) - beta * (mean - PRIOR_MEAN) / PRIOR_SD**2
                by_sd = (v * by_z * noise).sum(0) - beta * (sd / PRIOR_SD**2 - 1 / sd)
            else:
                bound = (log_x + beta * (log_z - log_q)).mean(0)
                by_z = by_z + beta * prior_by_z
                by_mean, by_sd = (v * by_z).sum(0), (v * by_z * noise).sum(0) + beta / sd
        else:  # the local KL has no closed form inside the logarithm
            log_w = log_x + beta * (log_z - log_q)
            bound = np.log(np.exp(log_w).mean(0))
            v = np.exp(log_w - bound)[..., None] / k
            by_z = by_z + beta * prior_by_z
            if estimator == "dreg":
                by_z = by_z + beta * noise / sd
                factor = v * (1 - beta + beta * v)
                by_mean, by_sd = (factor * by_z).sum(0), (factor * by_z * noise).sum(0)
            else:
                by_mean, by_sd = (v * by_z).sum(0), (v * by_z * noise).sum(0) + beta / sd
        by_rho = by_sd / (1 + np.exp(-rho))
        by_w = np.einsum("kbl,kbs->ls", z, v * residual)
        by_b = (v * residual).sum((0, 1))
        return [-bound.sum(), -x.T @ by_mean, -x.T @ by_rho, -by_w, -by_b]


def loss_and_gradients(inference, params, replacements, noise, **options):
    captured = {}

    def capture(gradients, params):
        captured.update(zip(params, gradients))
        return pm.updates.sgd(gradients, params, learning_rate=1e-3)

    (local,) = [group for group in inference.approx.groups if group.local]
    loss, _ = step_updates(
        inference.objective,
        obj_optimizer=capture,
        more_obj_params=[param for param in params if param not in inference.approx.params],
        more_replacements={**replacements, local.symbolic_initial: theano.shared(noise)},
        **options,
    )
    return [loss, *(captured[param] for param in params)]


def noise_of(k, rows=B, seed=1):
    return np.random.default_rng(seed).standard_normal((k, rows, LATENT)).astype("float32")


def evaluate(expressions):
    return theano.function([], expressions, mode=QUICK)()
