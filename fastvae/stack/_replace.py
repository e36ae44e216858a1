"""Replace a function that many modules of PyMC3 have imported by its name."""

from __future__ import annotations

import sys
from typing import Any


def replace(stock: Any, new: Any) -> None:
    """Replace `stock` by `new` in every module of PyMC3 that has it."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "pymc3":
            for attribute, value in list(vars(module).items()):
                if value is stock:
                    setattr(module, attribute, new)
