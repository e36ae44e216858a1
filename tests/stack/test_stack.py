"""The stack starts once, in one order, and says what keeps it from starting."""

import sys

import pytest

import fastvae
from fastvae import profiles, stack
from fastvae.errors import ConfigurationError, ProfileError


def test_a_second_start_must_ask_for_the_same_profile():
    active = stack.start()
    assert stack.start(active.name) is active is stack.start(active.requested) is profiles.active()
    with pytest.raises(ProfileError, match=f"'cuda-tf32' was asked for, but this process already runs '{active.name}'"):
        stack.start("cuda-tf32")


def test_a_wrong_number_of_threads_is_refused_first():
    with pytest.raises(ConfigurationError, match="start: threads=0 must be"):
        stack.start(threads=0)


def test_theano_imported_first_is_an_error_with_the_remedy(python):
    done = python("import sys, types; sys.modules['theano'] = types.ModuleType('theano')\nimport fastvae")
    last = done.stderr.splitlines()[-1]
    assert "StackError: theano was imported before fastvae" in last and "restart the kernel" in last


def test_theano_imported_by_half_is_the_same_error(python):
    code = "try: import theano\nexcept (AttributeError, ImportError) as error: print(error)\nimport fastvae"
    done = python(code)
    assert "StackError: theano was imported before fastvae" in done.stderr.splitlines()[-1]
    assert done.stdout == "" or "numpy.distutils" in done.stdout


def test_without_a_compiler_the_error_names_the_package(python, tmp_path):
    done = python("import fastvae", PATH=str(tmp_path))
    last = done.stderr.splitlines()[-1]
    assert "StackError: " in last and "apt-get install g++" in last and "import theano" not in done.stderr


def test_import_is_all_it_takes_and_leaves_the_environment_alone_and_all_public_names_exist(python):
    code = (
        "import os; before = dict(os.environ)\nimport fastvae, theano, pymc3\n"
        "assert theano.config.floatX == 'float32'\nassert dict(os.environ) == before\n"
        "for name in fastvae.__all__: getattr(fastvae, name)\n"
        "print(set(fastvae.__all__) <= set(dir(fastvae)))"
    )
    done = python(code, FASTVAE_PROFILE="cpu")
    assert done.stdout == "True\n", done.stderr


def test_the_command_line_starts_nothing_by_itself(python):
    done = python("import sys; sys.argv = ['fastvae']; import fastvae; print({'theano', 'numpy'} & {*sys.modules})")
    assert done.stdout == "set()\n", done.stderr


@pytest.mark.parametrize("options", [["-um", "fastvae"], ["-mfastvae"], ["-X", "utf8", "-m", "fastvae"]])
def test_every_spelling_of_python_m_is_the_command(run, options):
    done = run(sys.executable, *options, "--help", FASTVAE_PROFILE="nonsense")
    assert done.returncode == 0 and "usage: fastvae" in done.stdout, done.stderr


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(AttributeError, match="no attribute 'ConvVea'; it has datasets, ConvVAE"):
        fastvae.ConvVea  # noqa: B018
