"""C modules that a bundle carries, which then need no compiler (`bench/make_bundle.py`).

Theano's cache recognises a module by everything around it too: the compiler's version, and where headers are. Its name,
which is a hash of its source, is the same on every machine. So a file of that name in the environment's own folder
takes the compiler's place.
"""

from __future__ import annotations

import functools
import os
import shutil
import sys

from theano.gof.cmodule import GCC_compiler, dlimport, get_lib_extension

FOLDER = os.path.join("share", "fastvae", "modules")  # below sys.prefix


def folder() -> str:
    """Where this environment's modules are, if it carries any."""
    return os.path.join(sys.prefix, FOLDER)


def install() -> bool:
    """Take modules from the folder, if there is one, and say whether there is."""
    if not os.path.isdir(folder()):
        return False
    home, compile_str = folder(), GCC_compiler.compile_str

    @functools.wraps(compile_str)
    def take_or_compile(module_name, src_code, location=None, *args, py_module=True, **kwargs):
        file = f"{module_name}.{get_lib_extension()}"
        if not os.path.isfile(os.path.join(home, file)):
            return compile_str(module_name, src_code, location, *args, py_module=py_module, **kwargs)
        shutil.copy(os.path.join(home, file), location)
        open(os.path.join(location, "__init__.py"), "w").close()
        return dlimport(os.path.join(location, file)) if py_module else None

    GCC_compiler.compile_str = staticmethod(take_or_compile)
    return True
