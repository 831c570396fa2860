"""Traces: a line when code is entered, a line when it is left, nothing where nobody listens."""

import inspect
import logging

import pytest

from blockflow.utility import Tracer, traceLogged

LOGGER = logging.getLogger("blockflow.test_tracer")


def test_a_context_is_logged_with_who_enters_it(caplog):
    """Entering and leaving are logged under the name of the function that does it, with the message."""
    with caplog.at_level(logging.DEBUG, LOGGER.name), Tracer(LOGGER, msg="block 7"):
        pass
    me = "test_a_context_is_logged_with_who_enters_it"
    assert caplog.messages == [f"(enter) {me} block 7", f"(exit) {me} block 7"]


def test_a_function_that_raises_is_left_too(caplog):
    """A decorated function keeps its name and its exception, and its end is logged however it ends."""

    @traceLogged(LOGGER.name, level=logging.INFO)
    def fail():
        raise ZeroDivisionError

    with caplog.at_level(logging.INFO, LOGGER.name), pytest.raises(ZeroDivisionError):
        fail()
    assert caplog.messages == ["(enter) fail", "(exit) fail"]
    assert fail.__name__ == "fail"
    assert inspect.isfunction(fail.__wrapped__)


def test_a_name_can_be_given(caplog):
    """A given name stands in place of the function's."""
    with caplog.at_level(logging.DEBUG, LOGGER.name), Tracer(LOGGER, caller_name="load"):
        pass
    assert caplog.messages == ["(enter) load", "(exit) load"]


def test_a_trace_that_nobody_reads_looks_at_no_frame(monkeypatch):
    """Where the logger is not enabled, the caller's name is not looked for."""

    def refuse():
        raise AssertionError("the stack was looked at")

    monkeypatch.setattr("blockflow.utility.tracer.inspect.currentframe", refuse)
    LOGGER.setLevel(logging.WARNING)
    with Tracer(LOGGER):
        pass
    with Tracer(LOGGER, level=logging.ERROR, determine_caller=False, caller_name=""):
        pass
