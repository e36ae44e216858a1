"""IWAE with five samples on the convolutional seed model, in turn with the ELBO of one sample."""

from .common import ROUNDS, SECONDS, TOY, Measured, if_available

SAMPLES = 5
OPTIONS = {
    "iwae": dict(objective="iwae", n_samples=SAMPLES),
    "iwae, dreg": dict(objective="iwae", n_samples=SAMPLES, estimator="dreg"),
}


def measured():
    """By objective: milliseconds a step, and its ratio to five times the ELBO's."""
    import fastvae
    from bench.pairing import Local, in_turn, ratio
    from bench.problem import BATCH_SIZES, QUICK_BATCH, QUICK_WIDTH
    from bench.steps import assert_engine, compiled_step

    images = fastvae.datasets.load("fashion-mnist-sample")
    batch_size = QUICK_BATCH if TOY else BATCH_SIZES["conv"]
    network = dict(filters=QUICK_WIDTH, hidden=QUICK_WIDTH) if TOY else {}
    problem = "conv", fastvae.Minibatch(images, batch_size), batch_size, len(images)
    try:
        compiled = {name: compiled_step(*problem, network=network, **options) for name, options in OPTIONS.items()}
    except TypeError as error:
        return f"this commit has no IWAE: {error}"
    elbo = Local("elbo", compiled_step(*problem, network=network))
    steps = [Local(name, step) for name, step in compiled.items()]
    for step in (elbo, *steps):
        assert_engine(step.step, fastvae.profiles.active())
        step.start()
    in_turn([elbo, *steps], ROUNDS, SECONDS)
    return {step.name: (step.milliseconds, ratio(step, elbo)[0] / SAMPLES) for step in steps}


class IWAE(Measured):
    """The step of an objective, n/a before there was one."""

    params = [list(OPTIONS)]
    param_names = ["objective"]

    def setup_cache(self):
        return if_available(measured)

    def track_milliseconds(self, figures, objective):
        return figures[objective][0]

    def track_ratio_to_elbo_per_sample(self, figures, objective):
        return figures[objective][1]

    track_milliseconds.unit = "ms"
    track_ratio_to_elbo_per_sample.unit = "of the ELBO's time"
