"""Steps of PyMC3 models: stock's own, on drawn or on given batches and noise, and those of the user's program."""


def pm_step(inference, **options):
    """The step that stock `pm.fit` takes."""
    return inference.objective.step_function(score=True, **options)


def with_given(inference, problem, more_replacements, **options):
    """`pm.fit`'s options with the problem's own batches and noise, one after another, in place of drawn ones."""
    import numpy as np
    import theano

    number = theano.shared(np.int64(0))
    (xs,) = more_replacements
    (local,) = [group for group in inference.approx.groups if group.local]
    replacements = {
        xs: theano.shared(problem.images)[theano.shared(problem.batches)[number]],
        local.symbolic_initial: theano.shared(problem.noise[:, None])[number],
    }
    return dict(options, more_replacements=replacements, more_updates={number: number + 1})


def users_step(problem, given, take):
    """The step of the user's program (`user_vae.py`), as `take(inference, **options)` makes it."""
    import pymc3 as pm

    from bench import user_vae

    def fit(n, local_rv, **options):
        inference = pm.ADVI(local_rv=local_rv)
        return take(inference, **(with_given(inference, problem, **options) if given else options))

    return user_vae.train(problem.images, problem.weights, problem.batch_size, fit)
