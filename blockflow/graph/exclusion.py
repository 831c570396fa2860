"""Methods of an operator that must not run while it computes."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from blockflow.request import RequestLock

__all__ = ["Exclusion"]


class Exclusion:
    """Many share it, or one has it alone. Who wants it alone comes before newcomers.

    A root request that shares it already is no newcomer: what it computes within may need the operator again.
    """

    def __init__(self) -> None:
        self._mutex = Lock()
        self._sharing: dict[int, int] = {}  # root request -> how often
        self._free = RequestLock()  # held while some share, or by the one that is alone
        self._turnstile = RequestLock()  # the one who wants to be alone stops newcomers

    @contextmanager
    def shared(self, root: int) -> Iterator[None]:
        """Beside others that share."""
        if not self._share(root, again=True):
            with self._turnstile:
                if not self._share(root, again=False):
                    self._free.acquire()
                    with self._mutex:
                        self._sharing[root] = 1
        try:
            yield
        finally:
            with self._mutex:
                self._sharing[root] -= 1
                if not self._sharing[root]:
                    del self._sharing[root]
                last = not self._sharing
            if last:
                self._free.release()

    def _share(self, root: int, *, again: bool) -> bool:
        """Join those that share, if there are any; with `again`: if this root is among them."""
        with self._mutex:
            if root in self._sharing if again else self._sharing:
                self._sharing[root] = self._sharing.get(root, 0) + 1
                return True
            return False

    @contextmanager
    def alone(self) -> Iterator[None]:
        """When nobody shares."""
        with self._turnstile, self._free:
            yield
