"""What theano is told in the place of `distutils`: the same as by that of setuptools."""

import importlib
import sys

import pytest

from fastvae.stack import _setuptools

DISTUTILS = "distutils" if sys.version_info < (3, 12) else "setuptools._distutils"
ASKED = (
    ("spawn", "find_executable", ("g++",), {}),
    ("spawn", "find_executable", (sys.executable,), {}),
    ("spawn", "find_executable", ("no-such-program",), {}),
    ("sysconfig", "get_config_var", ("EXT_SUFFIX",), {}),
    ("sysconfig", "get_config_var", ("LDLIBRARY",), {}),
    ("sysconfig", "get_config_var", ("LIBDIR",), {}),
    ("sysconfig", "get_config_h_filename", (), {}),
    ("sysconfig", "get_python_version", (), {}),
    ("sysconfig", "get_python_inc", (), {}),
    ("sysconfig", "get_python_inc", (), dict(plat_specific=True)),
    ("sysconfig", "get_python_lib", (), dict(plat_specific=1, standard_lib=1)),
)


@pytest.mark.parametrize(("module", "function", "arguments", "options"), ASKED)
@pytest.mark.filterwarnings("ignore:Setuptools is replacing", "ignore:Distutils was", "ignore:Use shutil.which")
@pytest.mark.filterwarnings("ignore:The distutils")
def test_theano_is_told_what_distutils_says(module, function, arguments, options):
    package = _setuptools._by_sysconfig()["distutils"]
    real = importlib.import_module(f"{DISTUTILS}.{module}")
    answer = getattr(getattr(package, module), function)(*arguments, **options)
    assert answer == getattr(real, function)(*arguments, **options)
