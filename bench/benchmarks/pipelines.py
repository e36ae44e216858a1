"""A batch of 64 images from each pipeline, in turn with pm.Minibatch."""

import tempfile

from .common import ROUNDS, SECONDS, Measured, if_available

PIPELINES = [
    "resident, float32, replacement",
    "resident, float32, epochs",
    "resident, uint8, replacement",
    "resident, uint8, epochs",
    "resident, uint8, binarized",
    "streamed .npy, uint8, epochs",
]


def measured():
    """By pipeline: microseconds a batch, and the ratio to pm.Minibatch."""
    from bench.pairing import Local, in_turn, ratio
    from bench.pipelines import feeds_of, minibatches

    def step(batch, advance):
        return lambda: (advance(), batch(), 0.0)[-1]

    with tempfile.TemporaryDirectory() as folder:
        try:
            batches = minibatches(folder)
        except TypeError as error:
            return f"this commit lacks a pipeline: {error}"
        try:
            stock, *ours = [Local(name, step(*feed)) for name, feed in feeds_of(batches).items()]
            for each in (stock, *ours):
                each.start()
            in_turn([stock, *ours], ROUNDS, SECONDS)
        finally:
            for x in batches.values():
                getattr(getattr(x.tag, "pipeline", None), "close", lambda: None)()
    return {each.name: (1000 * each.milliseconds, ratio(each, stock)[0]) for each in ours}


class Minibatch(Measured):
    """60,000 images of 28x28; n/a before the pipelines."""

    params = [PIPELINES]
    param_names = ["pipeline"]

    def setup_cache(self):
        return if_available(measured)

    def track_microseconds(self, figures, pipeline):
        return figures[pipeline][0]

    def track_ratio_to_stock(self, figures, pipeline):
        return figures[pipeline][1]

    track_microseconds.unit = "us"
    track_ratio_to_stock.unit = "of pm.Minibatch's time"
