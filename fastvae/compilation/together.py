"""Several C modules compiled as one: a g++ that reads the headers once for all of them.

Of the third of a second that g++ takes for one of theano's modules, most goes into what all of them include. Here each
module's code goes into a namespace of its own, in one file, and the library that comes of it has the functions by which
Python starts each of them. It then lies, under each module's name, where that module would: one file with many names
where the file system has hard links.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from theano import config
from theano.gof.cmodule import get_gcc_shared_library_arg, std_include_dirs, std_lib_dirs, std_libs

from .precompiled import FIRST

INCLUDE = re.compile(r"^[ \t]*#[ \t]*include\b.*$", re.MULTILINE)
MACRO = re.compile(r"^[ \t]*#[ \t]*(?:define|undef)[ \t]+(\w+)", re.MULTILINE)
# What would also be in force for the code behind it.
LASTING = re.compile(r"^[ \t]*#[ \t]*pragma[ \t]+(?!omp\b|GCC[ \t]+(?:ivdep|unroll)\b)", re.MULTILINE)
OF_STD = ("#include <iostream>", "#include <vector>", "#include <algorithm>")  # half of all that is read
STD = re.compile(r"\b(?:std|cout|cerr|endl)\b|\busing namespace\b")
_common: list[str] = []  # what `common` was told, without the headers that it includes


def common(code: str) -> str:
    """Code that many modules begin with, each the same, as it is: it is compiled once for all of them.

    Parameters
    ----------
    code : str
        Functions, types and macros of names that nothing else has.
    """
    known = INCLUDE.sub("", code).strip()
    if known not in _common:
        _common.append(known)
    return code


def can_be(source: str) -> bool:
    """Whether a module's code affects nothing that is compiled behind it, once its macros are forgotten."""
    return not LASTING.search(source) and "_Pragma" not in source


def source(modules: dict[str, str]) -> str:
    """One file of several modules' code.

    Parameters
    ----------
    modules : dict of str to str
        The code of each, by its name.

    Examples
    --------
    >>> code = source({"a": "#include <math.h>\\nint f;", "b": "#define N 1\\n#include <math.h>\\nint f = N;"})
    >>> print(code.removeprefix("".join(f"#include {header}\\n" for header in FIRST)))  # what numpy 2 needs
    #include <math.h>
    namespace together_a {
    <BLANKLINE>
    int f;
    }
    #pragma push_macro("N")
    namespace together_b {
    #define N 1
    <BLANKLINE>
    int f = N;
    }
    #pragma pop_macro("N")
    """
    includes = dict.fromkeys(line.strip() for code in modules.values() for line in INCLUDE.findall(code))
    rest = {name: INCLUDE.sub("", code) for name, code in modules.items()}
    if not any(STD.search(code) for code in rest.values()):
        includes = {line: None for line in includes if line not in OF_STD}
    used = [shared for shared in _common if any(shared in code for code in rest.values())]
    lines = [*(f"#include {header}" for header in FIRST), *includes, *used]
    for name, code in rest.items():
        for shared in used:
            code = code.replace(shared, "")
        macros = list(dict.fromkeys(MACRO.findall(code)))
        lines += [f'#pragma push_macro("{macro}")' for macro in macros]
        lines += [f"namespace together_{name} {{", code, "}"]
        lines += [f'#pragma pop_macro("{macro}")' for macro in macros]
    return "\n".join(lines)


def shared_out(sizes: dict[str, int], parts: int) -> list[list[str]]:
    """Names in at most so many parts of about the same total size.

    Examples
    --------
    >>> shared_out({"a": 5, "b": 3, "c": 3}, 2)
    [['a'], ['b', 'c']]
    """
    shares: list[list[str]] = [[] for _ in range(min(parts, len(sizes)))]
    totals = [0] * len(shares)
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        smallest = totals.index(min(totals))
        shares[smallest].append(name)
        totals[smallest] += sizes[name]
    return shares


def compiled(
    sources: dict[str, str],
    folder: str,
    *,
    include_dirs: list[str],
    lib_dirs: list[str],
    libs: list[str],
    preargs: list[str],
) -> str | None:
    """The library of several modules, compiled in a new folder with theano's flags; None if the compiler refuses.

    Parameters
    ----------
    sources : dict of str to str
        The code of each, by its name.
    folder : str
    include_dirs, lib_dirs, libs, preargs : list of str
        As theano's `GCC_compiler.compile_str` takes them.
    """
    os.mkdir(folder)
    file, library = os.path.join(folder, "together.cpp"), os.path.join(folder, "together.so")
    with open(file, "w", encoding="utf-8") as written:
        written.write(source(sources))
    flags = [flag for flag in preargs if not (config.cmodule.remove_gxx_opt and flag.startswith("-O"))]
    command = [config.cxx, get_gcc_shared_library_arg(), *flags, "-fvisibility=hidden", "-o", library, file]
    command[-3:-3] = [f"-I{path}" for path in (*include_dirs, *std_include_dirs()) if path]
    command[-3:-3] = [f"-L{path}" for path in (*lib_dirs, *std_lib_dirs()) if path]
    command += [f"-l{name}" for name in (*libs, *std_libs())]
    done = subprocess.run(command, capture_output=True)
    return library if done.returncode == 0 else None


def hand_out(library: str, folder: str, name: str) -> None:
    """Put a library into a folder, as the file of a module."""
    path = os.path.join(folder, name)
    try:
        os.link(library, path)
    except OSError:  # a file system without hard links
        shutil.copy(library, path)
