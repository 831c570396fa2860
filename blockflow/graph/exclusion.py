"""Methods of an operator that must not run while it computes."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from blockflow.request import RequestLock

__all__ = ["Exclusion"]


class Exclusion:
    """Many share it, or one has it alone."""

    def __init__(self) -> None:
        self._mutex = Lock()
        self._sharing = 0
        self._free = RequestLock()  # held while some share, or by the one that is alone
        self._turnstile = RequestLock()  # the one who wants to be alone stops newcomers

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Beside others that share."""
        with self._turnstile:
            with self._mutex:
                self._sharing += 1
                first = self._sharing == 1
            if first:
                self._free.acquire()
        try:
            yield
        finally:
            with self._mutex:
                self._sharing -= 1
                last = self._sharing == 0
            if last:
                self._free.release()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """When nobody shares."""
        with self._turnstile, self._free:
            yield
