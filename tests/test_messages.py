"""Where messages go, and how loud they are."""

import contextlib
import io
import logging
import sys

import pytest

from fastvae import messages


@pytest.fixture
def logger():
    level = messages.LOGGER.level
    yield messages.LOGGER
    messages.LOGGER.setLevel(level)


@contextlib.contextmanager
def root_writes_to(stream, form):
    """What `logging.basicConfig` does where pytest has not been before it."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter(form))
    logging.getLogger().addHandler(handler)
    yield
    logging.getLogger().removeHandler(handler)


def test_lines_go_to_the_standard_error_of_the_moment(logger, capsys):
    messages.say("first")
    logger.warning("second of %d", 2)
    logger.debug("not shown")
    assert capsys.readouterr().err == "first\nsecond of 2\n"


def test_a_level_silences_them(logger, capsys):
    logger.setLevel(logging.WARNING)
    messages.say("first")
    logger.warning("second")
    assert capsys.readouterr().err == "second\n"


def test_a_program_that_writes_logs_there_itself_sees_them_once(logger, capsys):
    with root_writes_to(sys.stderr, "own: %(message)s"):
        messages.say("first")
    assert capsys.readouterr().err == "own: first\n"


def test_a_log_elsewhere_gets_them_too(logger, capsys):
    log = io.StringIO()
    with root_writes_to(log, "%(levelname)s %(message)s"):
        messages.say("first")
    assert (capsys.readouterr().err, log.getvalue()) == ("first\n", "INFO first\n")


def test_a_level_that_a_program_chose_stays(logger):
    logger.setLevel(logging.ERROR)
    messages.set_up()
    own = [handler for handler in logger.handlers if isinstance(handler, messages.StandardError)]
    assert logger.level == logging.ERROR and len(own) == 1
