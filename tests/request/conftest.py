"""A thread pool of two workers for each test, and a way to hold requests where a test wants them."""

import threading

import pytest

from blockflow.request import Request

#: seconds after which a test that waits is wrong
SOON = 20


@pytest.fixture(autouse=True)
def _two_workers():
    Request.reset_thread_pool(2)
    yield
    Request.reset_thread_pool()


@pytest.fixture
def held():
    """Make a function that tells when it runs (`started`) and goes on when it may (`gate`)."""
    made = []

    class Held:
        def __init__(self, result=None):
            self.started, self.gate, self.result, self.runs = threading.Event(), threading.Event(), result, 0
            made.append(self)

        def __call__(self):
            self.runs += 1
            self.started.set()
            assert self.gate.wait(SOON)
            return self.result

    yield Held
    for one in made:
        one.gate.set()
