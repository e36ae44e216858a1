"""What all benchmarks share: bench/ on the path, whether the profile is available, figures measured once."""

import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.append(str(ROOT))  # at the end: the installed fastvae comes first

ROUNDS, SECONDS = 4, 0.5  # blocks of each program, and their length
TOY = os.environ.get("FASTVAE_PROFILE") == "opencl"  # models of toy size: PoCL takes half a minute for a real step
THREADS = len(os.sched_getaffinity(0))


class Measured:
    """Benchmarks that hand out figures of `setup_cache`: a dict, or a string that says why there are none."""

    version = "1"  # by hand: a new one parts the history

    def setup(self, figures, *parameter):
        if isinstance(figures, str):
            raise NotImplementedError(figures)


def if_available(measure, *arguments):
    """`measure(*arguments)` under the profile asked for, or why not: its device is absent, or this commit lacks it."""
    try:
        import fastvae  # noqa: F401
    except Exception as error:
        if type(error).__name__ == "ProfileError":
            return str(error)
        raise
    import theano

    from fastvae.profiles import active

    profile = active()
    asked = os.environ.get("FASTVAE_PROFILE", profile.name), profile.device
    assert (profile.name, theano.config.device) == asked, f"{profile.name} on {theano.config.device} is not {asked}"
    return measure(*arguments)


def tracked(name, unit="in a step"):
    """A benchmark that hands out the figure of this name, of its parameter where it has one."""

    def track(self, figures, *parameter):
        for key in (*parameter, name):
            figures = figures[key]
        return figures

    track.unit = unit
    return track
