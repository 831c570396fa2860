"""Requests: lazy pieces of work, worked on by a pool of threads, waited for without keeping a thread busy."""

from blockflow.request.errors import (
    CancellationException,
    CircularWaitException,
    InvalidRequestException,
    TimeoutException,
)
from blockflow.request.locks import RequestLock, SimpleRequestCondition
from blockflow.request.pool import RequestPool
from blockflow.request.request import Request
from blockflow.request.thread_pool import ThreadPool

__all__ = [
    "CancellationException",
    "CircularWaitException",
    "InvalidRequestException",
    "Request",
    "RequestLock",
    "RequestPool",
    "SimpleRequestCondition",
    "ThreadPool",
    "TimeoutException",
]
