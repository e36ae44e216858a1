"""Where oneDNN's library and headers are, and whether this processor can use them."""

from __future__ import annotations

import os
import re
import site
import sys
from typing import NamedTuple

from fastvae.devices import instructions

RELEASE = "2023.2.0"  # of the wheels; oneDNN 3.2 itself


class Location(NamedTuple):
    """The oneDNN in this Python environment."""

    library: str
    include: str
    version: str


class Missing(NamedTuple):
    """Why oneDNN cannot be used, and the remedy."""

    why: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.why}: {self.remedy}"


def locate() -> Location | Missing:
    """Find the oneDNN of this Python environment; its wheels put it into the environment's lib/ and include/.

    Returns
    -------
    Location or Missing
    """
    remedy = f"pip install onednn-cpu-gomp=={RELEASE} onednn-devel-cpu-gomp=={RELEASE}"
    prefixes = [prefix for prefix in (sys.prefix, site.getuserbase()) if prefix]
    found = []
    for part, name in (("lib", "libdnnl.so.3"), ("include", "oneapi/dnnl/dnnl.h")):
        folders = [f"{prefix}/{part}" for prefix in prefixes]
        there = [folder for folder in folders if os.path.exists(f"{folder}/{name}")]
        if not there:
            return Missing(f"oneDNN's {name} is not in {' or '.join(folders)}", remedy)
        found.append(there[0])
    library, include = f"{found[0]}/libdnnl.so.3", found[1]
    with open(os.path.join(include, "oneapi", "dnnl", "dnnl_version.h"), encoding="ascii") as header:
        numbers = dict(re.findall(r"#define DNNL_VERSION_(MAJOR|MINOR|PATCH) (\d+)", header.read()))
    version = ".".join(numbers.get(part, "?") for part in ("MAJOR", "MINOR", "PATCH"))
    if numbers.get("MAJOR") != "3":
        return Missing(f"oneDNN's headers in {include} are version {version}, but version 3 is needed", remedy)
    return Location(library, include, version)


def missing() -> Missing | None:
    """Why this machine cannot run the backend of CPUs.

    Returns
    -------
    Missing or None
        None if nothing is missing.
    """
    if instructions.widest(instructions.flags()) == "SSE":
        return Missing("this processor lacks AVX2, which oneDNN's fast kernels need", "take another machine")
    found = locate()
    return found if isinstance(found, Missing) else None
