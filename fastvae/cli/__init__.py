"""The command line: `fastvae train | evaluate | plot | bench | profiles | devices | build-pygpu`.

Arguments are parsed, and everything that can be wrong with them is found, before theano is imported: an error is one
line and exit status 2 (3 if loss or parameters stopped being finite, 130 after Ctrl-C, 143 after SIGTERM), and the
profile is set before the stack starts.
"""

import argparse
import math
import os
import pathlib
import sys

from fastvae.errors import ConfigurationError, FastvaeError, NonFiniteError
from fastvae.interrupts import Terminated, termination_raises


def main(argv=None):
    """Run one command and return its exit status."""
    try:
        args = _parser().parse_args(argv)
        if getattr(args, "cuda_path", None):
            os.environ["FASTVAE_CUDA_PATH"] = args.cuda_path
        with termination_raises():
            status = args.command(args)
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


def _fail(error, status):
    print(f"fastvae: error: {' '.join(str(error).split())}", file=sys.stderr)
    return status


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"fastvae: error: {message}; see `{self.prog} --help`\n")


def _parser():
    parser = _Parser(prog="fastvae", description="Train variational auto-encoders in PyMC3 + Theano, fast.")
    commands = parser.add_subparsers(title="commands", dest="name", required=True, parser_class=_Parser)

    train = commands.add_parser("train", help="train a VAE on images")
    for name, (kind, default, text) in TRAIN.items():
        train.add_argument(_option(name), type=kind, help=f"{text} (default: {default})")
    train.add_argument("--out", help="a new folder for the run (default: runs/MODEL-DATE-TIME)")
    train.add_argument(
        "--resume",
        metavar="RUN",
        help="go on with the run in this folder, as it was configured; --iterations (of the whole run), "
        "--learning-rate and --checkpoint-every may be given anew",
    )
    _add_device_options(train)
    train.set_defaults(command=_train)

    for name, command, text in (
        ("evaluate", _evaluate, "measure a trained run on held-out images"),
        ("plot", _plot, "draw a run's pictures again"),
    ):
        sub = commands.add_parser(name, help=text)
        sub.add_argument("run", metavar="RUN", help="the folder that `fastvae train` wrote")
        if name == "evaluate":
            text = "importance samples an image for log p(x) (default: %(default)s)"
            sub.add_argument("--samples", type=_count, default=50, help=text)
        _add_device_options(sub)
        sub.set_defaults(command=command)

    bench = commands.add_parser("bench", help="iterations a second of the seed model here, and in stock PyMC3")
    text = "conv, the seed model, or mlp (default: conv)"
    bench.add_argument("--model", type=_one_of(*MODELS), default="conv", help=text)
    bench.add_argument("--quick", action="store_true", help="a toy model, only to see that it works")
    _add_device_options(bench)
    bench.set_defaults(command=_bench)

    profiles = commands.add_parser("profiles", help="list the device profiles, or explain one")
    verbs = profiles.add_subparsers(dest="verb", parser_class=_Parser)
    show = verbs.add_parser("show", help="every effective key and the layer it came from")
    show.add_argument("profile", metavar="NAME", help="for example cuda, or cpu:debug")
    profiles.set_defaults(command=_profiles)

    devices = commands.add_parser("devices", help="what this machine offers, and what to install for the rest")
    _add_cuda_path(devices)
    devices.set_defaults(command=_devices)

    build = commands.add_parser("build-pygpu", help="compile and install what a GPU needs beside CUDA, 0.7.6, here")
    text = "the source archive, if it was downloaded in another way (default: fetch it)"
    build.add_argument("--source", metavar="FILE", help=text)
    build.set_defaults(command=_build_pygpu)
    return parser


def _add_device_options(parser):
    parser.add_argument("--profile", help="device profile (default: FASTVAE_PROFILE, else auto)")
    parser.add_argument("--threads", type=_count, help="CPU threads (default: OMP_NUM_THREADS, else all allowed)")
    _add_cuda_path(parser)


def _add_cuda_path(parser):
    parser.add_argument(
        "--cuda-path",
        metavar="FOLDERS",
        help="where CUDA's libraries are, folders separated by colons: with libraries, a toolkit's root, or another "
        "Python's site-packages (default: FASTVAE_CUDA_PATH, else this environment and the system)",
    )


def _count(text):
    return _number(int, text, lambda value: value >= 1, "a whole number of at least 1")


def _seed(text):
    return _number(int, text, lambda value: 0 <= value < 2**32, "a whole number from 0 to 4294967295")


def _positive(text):
    return _number(float, text, lambda value: 0 < value < math.inf, "a number above 0")


def _number(kind, text, admissible, wanted):
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not admissible(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return value


def _one_of(*choices):
    def choice(text):
        if text not in choices:
            raise argparse.ArgumentTypeError(f"invalid choice: {text!r} (choose from {', '.join(choices)})")
        return text

    return choice


MODELS = ("conv", "mlp")
LIKELIHOODS = ("normal", "bernoulli", "categorical", "discretized-logistic", "beta-binomial")
POSTERIORS = ("mean-field", "full-covariance")
TRAIN = {  # option: kind, default, help
    "data": (str, "fashion-mnist-sample", "a data set's name, an IDX, .npy, .npz or HDF5 file, or a folder of images"),
    "model": (_one_of(*MODELS), "conv", "conv, the seed model, or mlp"),
    "likelihood": (_one_of(*LIKELIHOODS), "normal", f"of pixels: {', '.join(LIKELIHOODS)}"),
    "posterior": (_one_of(*POSTERIORS), "mean-field", f"of an image's latents: {', '.join(POSTERIORS)}"),
    "objective": (_one_of("elbo", "iwae"), "elbo", "the bound on log p(x): elbo, or iwae, which needs --n-samples"),
    "kl": (_one_of("monte-carlo", "analytic"), "monte-carlo", "how the elbo takes the KL: monte-carlo or analytic"),
    "n_samples": (_count, 1, "latents drawn for each image in a step"),
    "iterations": (_count, 1000, "gradient steps"),
    "batch_size": (_count, 64, "images in a minibatch"),
    "learning_rate": (_positive, 1e-4, "learning rate of Adam"),
    "latent": (_count, 2, "latent dimensions"),
    "seed": (_seed, 1, "of parameters, minibatches and noise: one seed makes a run repeat exactly"),
    "checkpoint_every": (_count, 1000, "steps from one checkpoint to the next, of which the last three are kept"),
}
MAY_CHANGE = ("iterations", "learning_rate", "checkpoint_every")  # when a run is resumed


def _option(name):
    return "--" + name.replace("_", "-")


def _train(args):
    from fastvae import profiles
    from fastvae.cli import run_folder
    from fastvae.datasets import NAMES, held_out, load
    from fastvae.devices import threads

    given = {name: getattr(args, name) for name in TRAIN if getattr(args, name) is not None}
    if args.resume is None:
        options = {name: given.get(name, default) for name, (_, default, _) in TRAIN.items()}
    else:
        fixed = [_option(name) for name in given if name not in MAY_CHANGE] + ["--out"] * (args.out is not None)
        if fixed:
            raise ConfigurationError(f"{fixed[0]} cannot be given with --resume: the run goes on as it was configured")
        options = {**run_folder.configuration(args.resume), **given}
    path = os.path.abspath(os.path.expanduser(options["data"]))
    if options["data"] not in NAMES and os.path.exists(path):
        options["data"] = path  # so that the run is evaluated from anywhere
    images = load(options["data"])
    held_out(options["data"], images.shape[1:], labels=False)  # what is wrong is better known before the training
    profiles.resolve(args.profile)
    threads.requested(args.threads)
    folder = pathlib.Path(args.resume or args.out or run_folder.default(options["model"]))
    created = False
    try:
        with run_folder.locked(folder):
            if args.resume is None:
                run_folder.create(folder, options)
                created = True
            _start(args)
            from fastvae.cli import commands

            return commands.train(folder, images, options, resume=args.resume is not None)
    except BaseException:
        if created:
            run_folder.discard_untrained(folder)
        raise


def _evaluate(args):
    from fastvae.cli import run_folder

    folder = run_folder.existing(args.run)
    _start(args)
    from fastvae.cli import commands

    commands.evaluate(folder, args.samples)


def _plot(args):
    from fastvae.cli import run_folder

    folder = run_folder.existing(args.run)
    _start(args)
    from fastvae.cli import commands

    commands.plot(folder)


def _bench(args):
    from fastvae import profiles
    from fastvae.cli import bench
    from fastvae.devices import threads

    profiles.resolve(args.profile)  # what is wrong with it is better known before the programs start
    bench.compare(args.model, threads.requested(args.threads).count, args.profile, args.quick)


def _profiles(args):
    from fastvae import profiles

    print(profiles.explain(args.profile) if args.verb == "show" else profiles.listing())


def _devices(args):
    from fastvae import devices

    print(devices.describe())


def _build_pygpu(args):
    from fastvae.devices import build_pygpu

    build_pygpu.build(args.source)


def _start(args):
    from fastvae.stack import start

    start(args.profile, threads=args.threads)
