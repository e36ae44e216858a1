"""The arguments of every command."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from fastvae.cli import options


class Parser(argparse.ArgumentParser):
    """One whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"fastvae: error: {message}; see `{self.prog} --help`\n")
        raise AssertionError  # not reached


def make() -> Parser:
    """The parser of the whole command line; the name of the command is `.name` of what it parses."""
    parser = Parser(prog="fastvae", description="Train variational auto-encoders in PyMC3 + Theano, fast.")
    _add_verbosity(parser, False)
    commands = parser.add_subparsers(title="commands", dest="name", required=True, parser_class=Parser)
    _add_train(commands)
    _add_evaluate(commands)
    _add_plot(commands)
    _add_report(commands)
    _add_bench(commands)
    _add_profiles(commands)
    _add_devices(commands)
    _add_build_pygpu(commands)
    return parser


def _add_train(commands: Any) -> None:
    train = commands.add_parser("train", help="train a VAE on images")
    _add_verbosity(train)
    options.add_to(train)
    train.add_argument("--out", help="a new folder for the run (default: runs/MODEL-DATE-TIME)")
    *first, last = map(options.on_command_line, options.changeable())
    anew = f"{', '.join(first)} and {last}".replace("--iterations", "--iterations (of the whole run)")
    text = f"go on with the run in this folder, as it was configured; {anew} may be given anew"
    train.add_argument("--resume", metavar="RUN", help=text)
    _add_device_options(train)


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser("evaluate", help="measure a trained run on held-out images")
    _add_verbosity(evaluate)
    _add_run(evaluate)
    text = "importance samples an image for log p(x) (default: %(default)s)"
    evaluate.add_argument("--samples", type=options.count.parse, default=50, help=text)
    _add_device_options(evaluate)


def _add_plot(commands: Any) -> None:
    plot = commands.add_parser("plot", help="draw a run's pictures again")
    _add_verbosity(plot)
    _add_run(plot)
    _add_device_options(plot)


def _add_report(commands: Any) -> None:
    report = commands.add_parser("report", help="one HTML file on a run, or on several side by side")
    _add_verbosity(report)
    report.add_argument("runs", metavar="RUN", nargs="+", help="a folder that `fastvae train` wrote")
    report.add_argument("--out", metavar="FILE", help="the file (default: report.html in the folder of the first RUN)")
    _add_device_options(report)


def _add_bench(commands: Any) -> None:
    bench = commands.add_parser("bench", help="iterations a second of the seed model here, and in stock PyMC3")
    _add_verbosity(bench)
    text = "conv, the seed model, or mlp (default: conv)"
    bench.add_argument("--model", type=options.one_of(*options.MODELS).parse, default="conv", help=text)
    bench.add_argument("--quick", action="store_true", help="a toy model, only to see that it works")
    _add_device_options(bench)


def _add_profiles(commands: Any) -> None:
    profiles = commands.add_parser("profiles", help="list the device profiles, or explain one")
    verbs = profiles.add_subparsers(dest="verb", parser_class=Parser)
    show = verbs.add_parser("show", help="every effective key and the layer it came from")
    _add_verbosity(show)
    show.add_argument("profile", metavar="NAME", help="for example cuda, or cpu:debug")


def _add_devices(commands: Any) -> None:
    devices = commands.add_parser("devices", help="what this machine offers, and what to install for the rest")
    _add_verbosity(devices)
    _add_cuda_path(devices)


def _add_build_pygpu(commands: Any) -> None:
    build = commands.add_parser("build-pygpu", help="compile and install what a GPU needs beside CUDA, 0.7.6, here")
    _add_verbosity(build)
    text = "the source archive, if it was downloaded in another way (default: fetch it)"
    build.add_argument("--source", metavar="FILE", help=text)


def _add_verbosity(parser: argparse.ArgumentParser, default: Any = argparse.SUPPRESS) -> None:
    """-v and --quiet, which may stand before the name of the command or behind it."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument("-v", "--verbose", action="store_true", default=default, help="say more, such as what takes long")
    how.add_argument("--quiet", action="store_true", default=default, help="say only results, warnings and errors")


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="the folder that `fastvae train` wrote")


def _add_device_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", help="device profile (default: FASTVAE_PROFILE, else auto)")
    text = "CPU threads (default: OMP_NUM_THREADS, else all allowed)"
    parser.add_argument("--threads", type=options.count.parse, help=text)
    _add_cuda_path(parser)


def _add_cuda_path(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cuda-path",
        metavar="FOLDERS",
        help="where CUDA's libraries are, folders separated by colons: with libraries, a toolkit's root, or another "
        "Python's site-packages (default: FASTVAE_CUDA_PATH, else this environment and the system)",
    )
