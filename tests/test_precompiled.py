"""Precompiled headers change how long a cold start takes, and nothing else."""
import pytest

COMPILE = """
import fastvae, glob, theano, numpy as np, theano.tensor as tt
from theano.gof.cmodule import GCC_compiler
commands = []
run = theano.gof.cmodule.output_subprocess_Popen
theano.gof.cmodule.output_subprocess_Popen = lambda command: (commands.append(command), run(command))[1]
x = tt.fvector()
for expression in (tt.exp(x) + 1, tt.sin(x) * x, tt.sqr(x) / 3):
    theano.function([x], expression)(np.ones(2, "f"))
print(sum("-include" in command for command in commands), len(commands))
print(len(glob.glob(theano.config.compiledir + "/fastvae_*.h.gch")))
print(float(theano.function([x], tt.exp(x).sum())(np.zeros(3, "f"))))
"""


@pytest.fixture
def cold(python, tmp_path, clean_environ):
    return lambda code: python(code, THEANO_FLAGS=f"base_compiledir={tmp_path / 'cold'}", FASTVAE_PROFILE="cpu-blas")


def test_from_the_third_module_on_the_headers_are_precompiled(cold):
    done = cold(COMPILE)
    assert done.returncode == 0, done.stderr
    counts, headers, value = done.stdout.splitlines()
    with_header, modules = map(int, counts.split())
    assert 1 <= with_header < modules and int(headers) >= 1
    assert float(value) == 3.0
    # what is compiled now is there for the next process, and so is the header
    again = cold(COMPILE.replace("tt.exp(x) + 1", "tt.exp(x) + 2"))
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("more, taken", [([], True), (["-fno-exceptions"], False)])
def test_gcc_really_takes_it(cold, more, taken):
    # The first flag makes gcc fail when a header lies there and cannot be used; the second makes it unusable.
    flags = ["-Werror=invalid-pch", *more]
    insert = f"('-include' in command and command.__setitem__(slice(1, 1), {flags!r}), commands.append(command))"
    done = cold(COMPILE.replace("commands.append(command)", insert))
    assert (done.returncode == 0) is taken, done.stderr


def test_a_header_that_does_not_compile_is_said_and_done_without(cold):
    broken = "import fastvae\nfrom fastvae import precompiled\nprecompiled.HEADERS = ('<no_such_header.h>',)\n"
    done = cold(broken + COMPILE)
    assert done.returncode == 0 and "headers are not precompiled" in done.stderr, done.stderr
    assert done.stdout.splitlines()[-1] == "3.0"
