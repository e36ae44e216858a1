"""The seed models' steps beside busy processes: how many times the fair share they take."""

import pathlib
import tempfile

from .common import ROUNDS, SECONDS, THREADS, TOY, Measured, if_available

BUSY = (0, 1, 2)


def measured():
    """By model and number of busy processes: milliseconds of fastvae's step, by its fair share of the cores."""
    from bench.pairing import INSTALLED, closing, program, theano_workers, write_problem
    from bench.under_load import fair_share, times

    figures = {}
    for model in ("conv", "mlp"):
        with tempfile.TemporaryDirectory() as folder, closing([]) as workers:
            path = pathlib.Path(folder, "problem.npz")
            environ = write_problem(path, model, TOY, how=INSTALLED)
            workers += theano_workers(
                path, program(model), program(model), THREADS, environ, how=INSTALLED, stock=False
            )
            (ours,) = workers
            ours.start()
            found = times(workers, BUSY, ROUNDS, 4 * SECONDS)
            figures[model] = {k: ms / found[0][0] / fair_share(k, THREADS) for k, (ms,) in found.items()}
    return figures


class UnderLoad(Measured):
    """Times of the fair share, beside one busy process and two."""

    params = (["conv", "mlp"], [1, 2])
    param_names = ["model", "busy processes"]
    timeout = 600

    def setup_cache(self):
        return if_available(measured)

    def track_fair_shares(self, figures, model, processes):
        return figures[model][processes]

    track_fair_shares.unit = "of the fair share"
