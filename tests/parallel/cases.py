"""What the tests of ranks on MPI run, all of it in one group of processes, for each of them starts the stack.

    mpiexec -n 2 python -m tests.parallel.cases FOLDER CASE ...

Each case returns a dict of JSON values on every rank. The last line of the first rank's output is a JSON object with
the ranks' list of these for each case; files that groups hand to each other are in the folder.
"""

import json
import os
import pathlib
import resource
import signal
import sys
import threading
import traceback

import numpy as np

import fastvae  # isort: skip  (before theano)
from mpi4py import MPI

from fastvae import checkpoint
from fastvae.checkpoint import run as checkpoint_run
from fastvae.datasets.rows import HDF5Rows, MappedRows
from fastvae.errors import FastvaeError
from fastvae.parallel import mpi
from fastvae.training.parts import Part
from tests.parallel import problem

WORLD = MPI.COMM_WORLD
RANK, SIZE = WORLD.rank, WORLD.size
FOLDER = None
CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


def equal(name):
    """The losses and parameters of ranks, and on one of them those of one process that takes all their rows."""
    reference = None
    if RANK == len(name) % SIZE:
        reference = problem.train(name, ranks=1, parallel=None)
    return {"ranks": problem.train(name, ranks=SIZE, parallel="mpi"), "alone": reference}


for name in problem.PROBLEMS:
    CASES[name] = lambda name=name: equal(name)


@case
def gradient():
    """One step of plain gradient descent on each rank's own rows and noise."""
    mu, rho = problem.hand_step(*problem.hand_data(), batch_size=2, parallel="auto")
    return {"mu": mu, "rho": rho}


@case
def batch_norm():
    """The running mean behind the first layer after one step."""
    vae = problem.MODELS["mlp"](normalization="batch")
    weights = vae.get_params()[0].get_value()
    images = np.random.default_rng(0).random((8, 1, 4, 4), dtype="float32")
    vae.fit(images, epochs=1, batch_size=8 // SIZE, seed=1, progressbar=False)
    mean = vae.get_state()[0].get_value()
    return {"mean": mean.tolist(), "expected": (images.reshape(8, 16).mean(0) @ weights).tolist()}


@case
def streams():
    """The states of random streams after two steps, of noise and of rows drawn with replacement."""
    return {
        "alone": [state.tolist() for state in problem.replacement(2, parallel=None)[1]],
        "together": [state.tolist() for state in problem.replacement(2)[1]],
    }


@case
def parameters_of_the_first():
    """Parameters differ before the training, by a seed of each rank's own."""
    vae = fastvae.MLPVAE((1, 4, 4), hidden=3, seed=RANK)
    vae.fit(problem.IMAGES, n=1, batch_size=4, learning_rate=1e-9, progressbar=False)
    first = fastvae.MLPVAE((1, 4, 4), hidden=3, seed=0).get_params()[0].get_value()
    return {"moved": float(np.abs(vae.get_params()[0].get_value() - first).max())}


@case
def held_out():
    """Training until two measurements are no better than the best."""
    vae = problem.MODELS["mlp"]()
    approx = vae.fit(
        problem.IMAGES, n=40, batch_size=4, seed=1, learning_rate=0.3, held_out=problem.IMAGES[:20], held_out_every=1,
        patience=2, progressbar=False,
    )  # fmt: skip
    return {"hist": approx.held_out_hist.tolist(), "ended_by": approx.ended_by, "bits": problem.bits(vae)}


@case
def one_stops():
    """StopIteration on the last rank, after step 5, of which there is a checkpoint."""

    def callback(approx, losses, i):
        if RANK == SIZE - 1 and i == 5:
            raise StopIteration

    approx = problem.tiny(n=100, callbacks=[callback], checkpoint=FOLDER / "stopped", checkpoint_every=5)
    return {"steps": len(approx.hist), "ended_by": approx.ended_by}


@case
def signalled():
    """SIGTERM to the last rank while losses are fetched seldom."""

    class Signal(Part):
        def enter(self, run):
            if RANK == SIZE - 1:
                threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGTERM]).start()

    approx = problem.tiny(n=10**7, fetch_every=1000, parts=[Signal()])
    return {"steps": len(approx.hist), "ended_by": approx.ended_by}


@case
def nan():
    """The last rank's loss becomes NaN at step 4; its callback fetches every loss, which alone the others do not."""
    try:
        problem.tiny(n=100, bad_at=4 if RANK == SIZE - 1 else None, fetch_every=20)
    except fastvae.NonFiniteError as error:
        return {"error": str(error), "steps": len(error.approx.hist)}


@case
def skipped():
    """The same, where such steps are skipped."""
    approx = problem.tiny(n=6, bad_at=4 if RANK == SIZE - 1 else None, bad_steps="skip")
    return {"hist": np.isnan(approx.hist).tolist()}


@case
def resumed():
    """Ten steps in one go, and six and four; of both what remains on each rank."""
    found = {}
    for name, lengths in (("one", [10]), ("two", [6, 10])):
        for n in lengths:
            options = dict(checkpoint=FOLDER / f"resumed-{name}", checkpoint_every=3, resume=True)
            vae, states, losses = problem.replacement(n, **options)
        found[name] = [problem.bits(vae), losses.tolist(), [state.tolist() for state in states]]
    return {"same": found["one"] == found["two"], "losses": found["two"][1], "bits": found["two"][0]}


class Killed(Part):
    """SIGKILL to the last rank after step 8."""

    def after_step(self, run, step):
        if RANK == SIZE - 1 and step.number == 8:
            os.kill(os.getpid(), signal.SIGKILL)


@case
def killed():
    """A run that does not come to its end."""
    problem.replacement(10, checkpoint=FOLDER / "killed", checkpoint_every=3, parts=[Killed()])


@case
def after_kill():
    """That run goes on; another takes its steps in one go."""
    found = {}
    for name in ("killed", "not-killed"):
        first = WORLD.bcast(checkpoint.newest(FOLDER / name)["step"] if (FOLDER / name).exists() else 0)
        options = dict(checkpoint=FOLDER / name, checkpoint_every=3, resume=True)
        vae, states, losses = problem.replacement(10, **options)
        found[name] = [problem.bits(vae), losses.tolist(), [state.tolist() for state in states]]
        found[f"{name} began after"] = first
    return {"same": found["killed"] == found["not-killed"], "losses": found["killed"][1], **found}


@case
def on_other_ranks():
    """Three more steps of a run in epochs, which other groups have begun: the rows that this rank took."""
    vae, read = problem.MODELS["mlp"](), []
    rows = problem.counted(MappedRows, FOLDER / "images.npy", read)
    path = FOLDER / "others"
    done = WORLD.bcast(checkpoint.newest(path)["step"] if path.exists() else 0)
    read.clear()
    approx = vae.fit(
        rows, epochs=None, n=done + 3, batch_size=2, seed=1, checkpoint=path, resume=True, progressbar=False
    )
    return {"steps": len(approx.hist), "bits": problem.bits(vae)}


class Limited(Part):
    """Limits the memory of a training once it is compiled, and tells whether all rows would fit; empties a list."""

    def __init__(self, rows, read, limit):
        self.rows, self.read, self.limit, self.whole = rows, read, problem.limited(limit), "fits"

    def enter(self, run):
        self.limit.__enter__()
        try:
            np.asarray(self.rows)
        except (MemoryError, FastvaeError):
            self.whole = "does not fit"
        self.read.clear()

    def exit(self, run, error):
        self.limit.__exit__(None, None, None)


@case
def memory():
    """An epoch of a file of twice the memory that this rank may have, from HDF5 and .npy."""
    found = {}
    for kind, limit in (("hdf5", resource.RLIMIT_AS), ("npy", resource.RLIMIT_DATA)):
        path = FOLDER / f"large.{kind}"
        if RANK == 0:
            problem.write_large(path)
        WORLD.Barrier()
        read = []
        rows = problem.counted({"hdf5": HDF5Rows, "npy": MappedRows}[kind], path, read)
        limited = Limited(rows, read, limit)
        problem.fit_mean(fastvae.Minibatch(rows, 4, seed=1, sampler="epochs"), epochs=1, parts=[limited])
        first = read[: problem.LARGE[0] // SIZE]  # it reads ahead into the next epoch
        found[kind] = {"whole": limited.whole, "rows": first}
    return found


REFUSED = {}


def refused(function):
    REFUSED[function.__name__] = function
    return function


@refused
def n():
    problem.tiny(n=5 + RANK)


@refused
def data():
    problem.tiny(n=5, x=np.arange(8.0) + RANK)


@refused
def shape():
    problem.tiny(n=5, x=np.arange(8.0 + RANK))


@refused
def optimizer():
    problem.tiny(n=5, obj_optimizer=fastvae.adam(learning_rate=1e-3 * (1 + RANK)))


@refused
def model():
    problem.tiny(n=5, sd=1.0 + RANK)


@refused
def version():
    stock = checkpoint_run.np.__version__
    checkpoint_run.np.__version__ = f"{stock}+{RANK}"
    try:
        problem.tiny(n=5)
    finally:
        checkpoint_run.np.__version__ = stock


@refused
def method():
    problem.tiny(n=5, method="svgd")


@refused
def iterator():
    problem.tiny(n=5, x=iter(np.arange(8.0)))


@refused
def uneven():
    problem.tiny(n=5, x=fastvae.Minibatch(np.arange(9.0), 2, sampler="epochs", last="keep"))


@refused
def short_epoch():
    problem.tiny(n=None, epochs=1, x=fastvae.Minibatch(np.arange(3.0), 2, sampler="epochs"))


@case
def refusals():
    """The message of each; the group goes on after it."""
    found = {}
    for name, function in REFUSED.items():
        try:
            function()
        except FastvaeError as error:
            found[name] = str(error)
    return found


def main(folder, *names):
    global FOLDER
    FOLDER = pathlib.Path(folder)
    mpi.FAILING = 60.0  # seconds: on a busy machine ranks do not fail at one time
    found = {}
    for name in names:
        try:
            mine = CASES[name]()
        except Exception:
            traceback.print_exc()
            mine = {"failed": traceback.format_exc()}
        found[name] = WORLD.gather(mine)
    if RANK == 0:
        print("\n" + json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
