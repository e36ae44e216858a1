"""Start the stack once a process: profile, repairs, theano, pymc3, threads, in this order.

`import fastvae` calls `start()`; the command line calls it after it has parsed `--profile`.
"""

from __future__ import annotations

import importlib
import os
import sys

from fastvae import backends, kinds, profiles
from fastvae.devices import forks, instructions
from fastvae.devices.threads import MOST, limit, requested
from fastvae.errors import ProfileError, StackError
from fastvae.messages import say
from fastvae.stack import _any_processor, _compile_folder, _deferred, _gone, _legacy, _mpi, _setuptools


@kinds.checked(profile=kinds.optional(kinds.text), threads=kinds.optional(kinds.integer(1, MOST)))
def start(profile: str | None = None, threads: int | None = None) -> profiles.Profile:
    """Activate a profile and import theano and pymc3 under it; a second call must ask for the same profile.

    Parameters
    ----------
    profile : str, optional
        A profile expression such as ``"cpu"`` or ``"cuda:deterministic"``. By default the
        environment's FASTVAE_PROFILE, else ``auto``.
    threads : int, optional
        Number of threads that compute. By default OMP_NUM_THREADS, else every available core.

    Returns
    -------
    fastvae.profiles.Profile
        The profile in force.

    Raises
    ------
    StackError
        If theano was imported first, g++ or Python's headers are missing, or theano's compile folder is full, cannot be
        written, or can be written by others.
    ProfileError
        If the profile is not available, or differs from the one already in force.
    ConfigurationError
        If `threads` or OMP_NUM_THREADS is not a number of threads.
    """
    request = requested(threads)
    active = profiles.active()
    if active is not None:
        if profile is not None and profile not in (active.requested, active.name):
            raise ProfileError(
                f"profile {profile!r} was asked for, but this process already runs {active.name!r}: theano reads "
                "its configuration once; start a new process (in a notebook: restart the kernel)"
            )
        if threads is not None:
            limit(request.count, active.blas_path, active.backend)
        return active
    if _theano_was_imported():
        raise StackError(
            "theano was imported before fastvae, so no profile and no repair can take effect: put `import fastvae` "
            "before `import theano` and `import pymc3` (in a notebook: restart the kernel first)"
        )
    active = profiles.resolve(profile)
    instructions.limit_openblas(active.isa)
    _gone.before_theano(of_scipy_signal=False)
    _any_processor.install()
    base = active.settings.get("base_compiledir", ("~/.theano",))[0]
    compiledir = active.settings.get("compiledir", (None,))[0]
    _compile_folder.check_owner(base, compiledir)
    with (
        profiles.activated(active, request.count),
        _compile_folder.failures_in_one_line(lambda: compiledir or os.path.expanduser(base)),
        _compile_folder.private(),
    ):
        with _mpi.not_started(), _setuptools.not_imported(), _deferred.deferred():
            importlib.import_module("theano")
        _gone.after_theano()
        with _deferred.deferred():
            _deferred.load_plots_when_asked_for(importlib.import_module("pymc3"))
    _legacy.after_pymc3()
    importlib.import_module("fastvae.compilation.precompiled").install()
    importlib.import_module("fastvae.compilation").install(min(request.count, request.available))
    if active.backend != "stock":
        backends.load(active.backend).register(active)
    limit(request.count, active.blas_path, active.backend)
    forks.survive()
    if active.reason:
        say(f"fastvae: {active.reason}")
    return active


def _theano_was_imported():
    """Whether any of it is: an import that fails, as with a current numpy, leaves only submodules behind."""
    return any(name.split(".")[0] == "theano" and module is not None for name, module in sys.modules.items())
