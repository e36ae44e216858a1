"""Put a function in the place of one that many modules of PyMC3 have imported by its name."""

import sys


def replace(stock, new):
    """Let every module of PyMC3 that has `stock` have `new`."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "pymc3":
            for attribute, value in list(vars(module).items()):
                if value is stock:
                    setattr(module, attribute, new)
