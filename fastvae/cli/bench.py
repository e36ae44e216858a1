"""`fastvae bench`: the seed model in the user's profile against stock PyMC3, in turn, in processes of their own.

The programs are those of the repository's `bench/`. Stock's must not import fastvae, so they are no part of this
package's namespace: an installed package keeps them in its folder `comparison`, which only their processes look into.
"""

from __future__ import annotations

import importlib
import pathlib
import sys

from fastvae.errors import BenchmarkError

ROUNDS, SECONDS = 5, 1.0


def folder() -> pathlib.Path:
    """Where `bench` is: inside the installed package, or the checkout."""
    package = pathlib.Path(__file__).resolve().parent.parent
    installed = package / "comparison"
    return installed if installed.is_dir() else package.parent


def compare(model: str, threads: int, profile: str | None = None, quick: bool = False) -> None:
    """Print how fast a seed model trains here, and in stock PyMC3.

    Parameters
    ----------
    model : {"conv", "mlp"}
    threads : int
        Of fastvae; stock runs with one and with as many, and the better counts.
    profile : str, optional
        By default the environment's.
    quick : bool
        Take a toy model, only to see that it works.

    Raises
    ------
    BenchmarkError
        If a program fails, or the two do not agree on the loss.
    """
    sys.path.insert(0, str(folder()))
    measure, pairing = (importlib.import_module(f"bench.{name}") for name in ("measure", "pairing"))
    try:
        measure.measure(model, threads, ROUNDS, SECONDS, quick, profile)
    except pairing.WorkerFailed as error:
        what, _, log = str(error).partition(": ")
        raise BenchmarkError(f"{what}: {log.splitlines()[-1]}") from error
    except pairing.Disagreement as error:
        raise BenchmarkError(str(error)) from error
