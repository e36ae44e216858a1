"""Where oneDNN's library and headers are, and whether this processor can use them."""

from __future__ import annotations

import os
import re
import site
import sys
from typing import NamedTuple

RELEASE = "2023.2.0"  # of the wheels; oneDNN 3.2 itself


class Location(NamedTuple):
    """The oneDNN that this Python environment carries."""

    library: str
    include: str
    version: str


class Missing(NamedTuple):
    """What keeps oneDNN from being used, and the remedy."""

    why: str
    remedy: str

    def __str__(self):
        return f"{self.why}: {self.remedy}"


def locate() -> Location | Missing:
    """Find the oneDNN of this Python environment (the wheels put it into the environment's lib/ and include/).

    Returns
    -------
    Location or Missing
    """
    remedy = f"pip install onednn-cpu-gomp=={RELEASE} onednn-devel-cpu-gomp=={RELEASE}"
    prefixes = [prefix for prefix in (sys.prefix, site.getuserbase()) if prefix]
    found: dict[str, str] = {}
    for part, name in (("lib", "libdnnl.so.3"), ("include", "oneapi/dnnl/dnnl.h")):
        folders = [f"{prefix}/{part}" for prefix in prefixes]
        folder = next((folder for folder in folders if os.path.exists(f"{folder}/{name}")), None)
        if folder is None:
            return Missing(f"oneDNN's {name} is not in {' or '.join(folders)}", remedy)
        found[part] = folder
    library, include = f"{found['lib']}/libdnnl.so.3", found["include"]
    with open(os.path.join(include, "oneapi", "dnnl", "dnnl_version.h"), encoding="ascii") as header:
        numbers = dict(re.findall(r"#define DNNL_VERSION_(MAJOR|MINOR|PATCH) (\d+)", header.read()))
    version = ".".join(numbers.get(part, "?") for part in ("MAJOR", "MINOR", "PATCH"))
    if numbers.get("MAJOR") != "3":
        return Missing(f"oneDNN's headers in {include} are version {version}, and version 3 is needed", remedy)
    return Location(library, include, version)


def missing() -> Missing | None:
    """Why this machine cannot run the oneDNN backend.

    Returns
    -------
    Missing or None
        None if nothing is missing.
    """
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        flags = next((line.split() for line in cpuinfo if line.startswith("flags")), [])
    if "avx2" not in flags:
        return Missing("this processor lacks AVX2, which oneDNN's fast kernels need", "take another machine")
    found = locate()
    return found if isinstance(found, Missing) else None
