"""pytest plugin: under CI=true a skipped test is a failure, since CI installs every part that tests need."""

import os
from collections.abc import Iterator

import pytest

_skipped: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note a skipped test; an expected failure is none."""
    if report.skipped and not hasattr(report, "wasxfail"):
        _skipped.append(report.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Note a module that skipped itself."""
    if report.skipped:
        _skipped.append(report.nodeid)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """Fail the run; before the summary is written, so that it says so."""
    if _skipped and os.environ.get("CI") == "true" and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what was skipped."""
    if _skipped and os.environ.get("CI") == "true":
        terminalreporter.section("skipped although CI=true: this fails the run", red=True)
        for nodeid in _skipped:
            terminalreporter.line(nodeid)
