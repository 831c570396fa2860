"""A set of requests that are worked on a few at a time."""

from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from blockflow.request.errors import InvalidRequestException
from blockflow.request.outcome import CREATED
from blockflow.request.request import Request

__all__ = ["RequestPool"]


class RequestPool:
    """Requests to be done together: at most `max_active` at one time, in the order they were added.

    The thread that waits for the pool works on them too. A request is let go of as soon as it is done, so that
    results which nobody else holds do not pile up. The first that fails cancels the rest. A pool is used once.

    Parameters
    ----------
    max_active : int, optional
        By default the number of workers of the thread pool.
    """

    def __init__(self, max_active: int | None = None) -> None:
        if max_active is not None and max_active < 1:
            raise ValueError(f"max_active is {max_active}; give 1 or more, or None for the number of workers")
        self._max_active = max_active
        self._queue: deque[Request[Any]] = deque()
        self._active: set[Request[Any]] = set()
        self._error: BaseException | None = None
        self._cancelled = False
        self._started = False

    def __len__(self) -> int:
        """How many requests are not done yet."""
        return len(self._queue) + len(self._active)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.wait()
        else:
            self.clean()

    def add(self, request: Request[Any]) -> None:
        """Add a request that was not started; not after `wait` or `cancel`.

        Raises
        ------
        RuntimeError
        """
        if self._started:
            raise RuntimeError("this pool was waited for or cancelled already; make another one")
        if request._state != CREATED:
            raise RuntimeError(f"{request!r} was started already; a pool starts its requests itself")
        self._queue.append(request)

    def request(self, fn: Callable[[], Any]) -> Request[Any]:
        """Add a request for `fn()`, and return it."""
        request = Request(fn)
        self.add(request)
        return request

    def wait(self) -> None:
        """Do all requests, and return when each is done and its callbacks have returned.

        Raises
        ------
        what the first failed request raised
        InvalidRequestException
            If the pool was cancelled meanwhile.
        """
        if self._started:
            raise RuntimeError("this pool was waited for or cancelled already; make another one")
        self._started = True
        threads = Request.thread_pool().num_workers
        wanted = min(self._max_active or max(threads, 1), len(self._queue))
        runners = [Request(self._work).submit() for _ in range(wanted - 1)] if threads else []
        try:
            self._work()
            for runner in runners:
                runner.wait()
        except BaseException:
            self._stop()
            raise
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None
        if self._cancelled:
            raise InvalidRequestException("this pool was cancelled before all of its requests were done")

    def _work(self) -> None:
        queue, active = self._queue, self._active
        while True:
            try:
                request = queue.popleft()
            except IndexError:
                return
            active.add(request)
            try:
                request.block()
            except BaseException as error:  # noqa: BLE001 - raised by who waits for the pool
                if not self._cancelled:
                    self._error = error
                    self._stop()
            active.discard(request)

    def _stop(self) -> None:
        """Cancel what is not done."""
        self._cancelled = True
        while self._queue:
            try:
                self._queue.popleft()._cancel()
            except IndexError:
                return
        for request in list(self._active):
            request._cancel()

    def cancel(self) -> None:
        """Cancel all requests that are not done; none is started any more."""
        self._started = True
        self._stop()

    def clean(self) -> None:
        """Let go of all requests, without doing them."""
        self.cancel()
        self._active.clear()
