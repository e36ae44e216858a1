"""The browser of `tests.report`, for the tests of the site."""

from tests.report.conftest import browser  # noqa: F401
