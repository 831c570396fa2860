"""A thread pool of two workers for each test."""

import pytest

from blockflow.request import Request


@pytest.fixture(autouse=True)
def _two_workers():
    Request.reset_thread_pool(2)
    yield
    Request.reset_thread_pool()
