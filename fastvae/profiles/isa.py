"""The key ``fastvae.isa``, which limits the vector instructions of a run: "avx2", or "native" for all that there are.

C code is compiled for the limit in a compile folder of its own, for not all of Theano's modules carry the compiler's
flags in their names. The libraries are told when they start (`fastvae.devices.instructions`).

    limit      make settings obey it
    describe   what is in force, as text
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping

from fastvae.devices import instructions
from fastvae.errors import ProfileError

KEY, FLAGS, FOLDER = "fastvae.isa", "gcc.cxxflags", "compiledir_format"
DEFAULT_FOLDER = "compiledir_%(short_platform)s-%(processor)s-%(python_version)s-%(python_bitwidth)s"  # Theano's


def limit(settings: MutableMapping[str, tuple[str, str]]) -> None:
    """Add the compiler's flag and the compile folder of the limit to settings.

    Raises
    ------
    ProfileError
        If there is no such limit, the processor has less, or the compiler's flags choose the instructions too.
    """
    isa, layer = settings.get(KEY, ("native", ""))
    if isa not in instructions.MARCH:
        raise ProfileError(f"{KEY}={isa} (from {layer}): write {' or '.join(instructions.MARCH)}")
    if isa == "native":
        return
    if instructions.widest(instructions.flags()) == "SSE":
        raise ProfileError(f"{KEY}={isa} (from {layer}): this processor lacks AVX2; leave the limit out")
    flags, source = settings.get(FLAGS, ("", ""))
    if march := _march(settings):
        raise ProfileError(
            f"{KEY}={isa} (from {layer}) and {march} in {FLAGS} (from {source}) both choose the vector instructions: "
            "keep one of them"
        )
    settings[FLAGS] = (f"{flags} {instructions.MARCH[isa]}".strip(), "resolved here")
    if not {"compiledir", FOLDER} & set(settings):
        settings[FOLDER] = (f"{DEFAULT_FOLDER}-{isa}", "resolved here")


def describe(settings: Mapping[str, tuple[str, str]]) -> str:
    """The vector instructions that settings stand for on this processor, and what limits them."""
    isa, layer = settings.get(KEY, ("native", ""))
    text = own = instructions.widest(instructions.flags())
    if isa != "native":
        text = "AVX2" + f" ({KEY}={isa} from {layer}; the processor has {own})" * (own != "AVX2")
    elif march := _march(settings):
        text = f"{own}; C code by {march} ({FLAGS} from {settings[FLAGS][1]})"
    theirs = os.environ.get(instructions.ONEDNN)
    return text + f"; oneDNN by {instructions.ONEDNN}={theirs}" * bool(theirs)


def _march(settings: Mapping[str, tuple[str, str]]) -> str | None:
    """The compiler's flag that names a processor, if there is one."""
    flags = settings.get(FLAGS, ("",))[0].split()
    return next((flag for flag in flags if flag.lstrip("-").startswith("march=")), None)
