"""The command line: `fastvae train | evaluate | plot | report | bench | profiles | devices | build-pygpu`.

Arguments are parsed, and everything that can be wrong with them is found, before theano is imported; the images of a
training are read while it is. An error is one line and exit status 2 (3 if loss or parameters stopped being finite,
130 after Ctrl-C, 143 after SIGTERM), and the profile is set before the stack starts.

    parser          the arguments of every command
    options         the options of a training run
    run_folder      the folder of a run
    reports         what a report says of a run beside its results
    commands        train, evaluate, plot and report, once the stack has started
    bench           the comparison with stock PyMC3
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import os
import pathlib
import sys
from typing import Any, Callable, Sequence

from fastvae import messages, parallel
from fastvae.cli import options, parser
from fastvae.errors import ConfigurationError, FastvaeError, NonFiniteError
from fastvae.interrupts import Terminated, termination_raises


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    try:
        args = parser.make().parse_args(argv)
        if args.verbose and args.quiet:  # one before the name of the command, one behind it
            raise ConfigurationError("-v and --quiet were given together: leave one of them out")
        if args.verbose or args.quiet:
            messages.LOGGER.setLevel(logging.DEBUG if args.verbose else logging.WARNING)
        if getattr(args, "cuda_path", None):
            os.environ["FASTVAE_CUDA_PATH"] = args.cuda_path
        with termination_raises():
            status = COMMANDS[args.name](args)
        sys.stdout.flush()
        return status or 0
    except NonFiniteError as error:
        return _fail(error, 3)
    except FastvaeError as error:
        return _fail(error, 2)
    except Terminated:
        return _fail("terminated", 143)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        from fastvae.profiles import memory

        if not memory.ran_out(error):
            raise
        return _fail(memory.message(f"fastvae {args.name}", error), 2)
    return 0


def _fail(error: object, status: int) -> int:
    if not getattr(error, "is_repeated", False):  # by a rank, of what the first one says
        print(f"fastvae: error: {' '.join(str(error).split())}", file=sys.stderr)
    return status


def _train(args: argparse.Namespace) -> int:
    ranks = parallel.join()
    with ranks.together():
        return _train_on(ranks, args)


def _train_on(ranks: parallel.Ranks, args: argparse.Namespace) -> int:
    """Train on the ranks of a launcher, of which the first has the run's folder, or on this process alone."""
    from concurrent.futures import ThreadPoolExecutor

    from fastvae import profiles
    from fastvae.cli import run_folder
    from fastvae.datasets import NAMES
    from fastvae.devices import threads
    from fastvae.report.sessions import Clock

    clock = Clock()
    run = _options_of(args)
    path = os.path.abspath(os.path.expanduser(run.data))
    if run.data not in NAMES and os.path.exists(path):
        run.data = path  # so that the run is evaluated from anywhere
    if run.log_dir is not None:
        run.log_dir = os.path.abspath(os.path.expanduser(run.log_dir))
    folder = ranks.from_first(pathlib.Path(args.resume or args.out or run_folder.default(run.model)))
    created = False
    with ThreadPoolExecutor(1) as beside:
        images = beside.submit(_images, run.data, run.channels_last)
        profiles.resolve(args.profile)
        threads.requested(args.threads)
        if images.done():  # such as without the file: that is said before a folder is made
            images.result()
        try:
            with contextlib.ExitStack() as holding:
                ranks.on_first(lambda: holding.enter_context(run_folder.locked(folder)))
                if args.resume is None:
                    ranks.on_first(lambda: run_folder.create(folder, run))
                    created = ranks.is_first
                _start(args)
                from fastvae import compilation

                compilation.begin()
                from fastvae.cli import commands

                return commands.train(folder, images.result(), run, args.resume is not None, clock, ranks)
        except BaseException:
            if created:
                run_folder.discard_untrained(folder)
            raise


def _images(data: str, channels_last: bool) -> Any:
    """The images to train on, after a look at the held-out ones: what is wrong with these is better known before."""
    from fastvae.datasets import held_out, load

    images: Any = load(data, channels_last=channels_last)
    held_out(data, images.shape[1:], labels=False, channels_last=channels_last)
    return images


def _options_of(args: argparse.Namespace) -> options.TrainOptions:
    """The options of a new run, or of one that goes on as it was configured."""
    from fastvae.cli import run_folder

    given = options.given(args)
    if args.resume is None:
        return options.TrainOptions(**given)
    changed = [options.on_command_line(name) for name in given if name not in options.changeable()]
    fixed = changed + ["--out"] * (args.out is not None)
    if fixed:
        raise ConfigurationError(f"{fixed[0]} cannot be given with --resume: the run goes on as it was configured")
    return dataclasses.replace(run_folder.configuration(args.resume), **given)


def _evaluate(args: argparse.Namespace) -> None:
    from fastvae.cli import run_folder

    folder = run_folder.existing(args.run)
    _start(args)
    from fastvae.cli import commands

    commands.evaluate(folder, args.samples)


def _plot(args: argparse.Namespace) -> None:
    from fastvae.cli import run_folder

    folder = run_folder.existing(args.run)
    _start(args)
    from fastvae.cli import commands

    commands.plot(folder)


def _report(args: argparse.Namespace) -> None:
    from fastvae.cli import reports, run_folder

    folders = [run_folder.existing(run) for run in args.runs]
    if len(folders) > reports.MOST:
        raise ConfigurationError(f"report: {len(folders)} runs are too many for a page: give {reports.MOST} at most")
    out = pathlib.Path(args.out or reports.NAME)
    if out.is_dir() or not out.parent.is_dir():
        raise ConfigurationError(f"report: --out {args.out!r} is not a file in an existing folder: give such a file")
    _start(args)
    from fastvae.cli import commands

    commands.report(folders, args.out)


def _bench(args: argparse.Namespace) -> None:
    from fastvae import profiles
    from fastvae.cli import bench
    from fastvae.devices import threads

    profiles.resolve(args.profile)  # what is wrong with it is better known before the programs start
    bench.compare(args.model, threads.requested(args.threads).count, args.profile, args.quick)


def _profiles(args: argparse.Namespace) -> None:
    from fastvae import profiles

    print(profiles.explain(args.profile) if args.verb == "show" else profiles.listing())


def _devices(args: argparse.Namespace) -> None:
    from fastvae import devices, profiles

    print(devices.describe())
    print(f"vector instructions: {profiles.vector_instructions()}")


def _build_pygpu(args: argparse.Namespace) -> None:
    from fastvae.devices import build_pygpu

    build_pygpu.build(args.source)


def _start(args: argparse.Namespace) -> None:
    from fastvae.stack import start

    start(args.profile, threads=args.threads)


COMMANDS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "train": _train,
    "evaluate": _evaluate,
    "plot": _plot,
    "report": _report,
    "bench": _bench,
    "profiles": _profiles,
    "devices": _devices,
    "build-pygpu": _build_pygpu,
}
