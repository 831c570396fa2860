"""A lock and a condition for requests: a worker of the thread pool that waits makes room for another."""

import threading
from collections import deque
from typing import Any, Self

from blockflow.request.request import Request
from blockflow.request.strand import Wakeup, here, park

__all__ = ["RequestLock", "SimpleRequestCondition"]


class _Turn:
    """One that waits for a lock."""

    __slots__ = ("given", "wakeup")

    def __init__(self) -> None:
        self.wakeup = Wakeup()
        self.given = False


class RequestLock:
    """A lock, not reentrant, for requests and threads alike; given to those that wait in the order they came.

    Another request or thread than the one that holds it may release it. A request that is cancelled while it
    waits raises CancellationException there and does not get the lock.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._held = False
        self._turns: deque[_Turn] = deque()

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take the lock; false where that would mean to wait (`blocking=False`) or takes `timeout` seconds."""
        Request.raise_if_cancelled()
        given = self._take(here().request, blocking, None if timeout is None or timeout < 0 else timeout)
        if Request.current_request_is_cancelled():
            if given:
                self.release()
            Request.raise_if_cancelled()
        return given

    def _take(
        self, request: Request[Any] | None, blocking: bool = True, timeout: float | None = None
    ) -> bool:
        """Wait for the lock, as long as `request`, where one is given, is not cancelled; whether it was given."""
        with self._mutex:
            if not self._held:
                self._held = True
                return True
            if not blocking:
                return False
            turn = _Turn()
            self._turns.append(turn)
        if request is not None:
            request._parked = turn.wakeup
        try:
            if request is None or not request.cancelled:
                park(here(), turn.wakeup, timeout)
        finally:
            if request is not None:
                request._parked = None
            with self._mutex:
                if not turn.given:
                    self._turns.remove(turn)
        return turn.given

    def release(self) -> None:
        """Give it to the one that waits longest, or free it.

        Raises
        ------
        RuntimeError
            If nobody holds it.
        """
        with self._mutex:
            if not self._held:
                raise RuntimeError("a lock that nobody holds cannot be released")
            if self._turns:
                turn = self._turns.popleft()
                turn.given = True
                turn.wakeup.put(None)
            else:
                self._held = False

    def locked(self) -> bool:
        """Whether somebody holds it."""
        return self._held

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class SimpleRequestCondition:
    """A condition for one that waits: `with condition: condition.wait()`, and `condition.notify()` elsewhere."""

    def __init__(self) -> None:
        self._lock = RequestLock()
        self._waiting: RequestLock | None = None
        self.acquire = self._lock.acquire
        self.release = self._lock.release

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def wait(self) -> None:
        """Release the lock until `notify` is called; then hold it again.

        Raises
        ------
        RuntimeError
            If the lock is not held, or another one waits already.
        """
        if not self._lock.locked():
            raise RuntimeError("hold the condition while you wait for it: `with condition: condition.wait()`")
        if self._waiting is not None:
            raise RuntimeError("another one waits for this condition already; only one may")
        gate = self._waiting = RequestLock()
        gate.acquire()
        self.release()
        try:
            gate.acquire()  # until `notify` opens it
        finally:
            self._waiting = None
            self._lock._take(None)

    def notify(self) -> None:
        """Wake the one that waits, if one does. Hold the condition."""
        if not self._lock.locked():
            raise RuntimeError("hold the condition while you notify it: `with condition: condition.notify()`")
        gate, self._waiting = self._waiting, None
        if gate is not None:
            gate.release()
