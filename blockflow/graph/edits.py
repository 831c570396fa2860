"""One edit of graphs at a time: connecting, values, sizes of slots, and what follows of metadata and dirtiness.

An edit runs through all operators that it concerns. So that two of them never meet half way, they take the one
lock of this module, again and again from within an edit: it belongs to a strand. It is never held by a strand
that waits for a request: it is lent, so that a request may itself edit the graph it is part of, and no circle
closes. Computing does not take it. A request that was overtaken by an edit is done again (see `requests`);
one that is overtaken again and again closes the gate, and edits from outside of requests wait for it.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from blockflow.request import RequestLock
from blockflow.request.strand import Strand, Wakeup, here, park

__all__ = ["call_when_edited", "editing", "gate", "settled", "wait_until_settled"]


class _EditLock:
    """Held by one strand, as often as it likes; given on in the order of asking."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self.owner: Strand | None = None
        self.depth = 0
        self._turns: deque[tuple[Strand, Wakeup]] = deque()

    def acquire(self, strand: Strand) -> None:
        if self.owner is strand:
            self.depth += 1
            return
        self._take(strand, 1)
        strand.locks.append(self)

    def release(self, strand: Strand) -> None:
        self.depth -= 1
        if self.depth == 0:
            strand.locks.remove(self)
            self._give_on()

    def lend(self) -> tuple[Strand, int]:
        assert self.owner is not None
        held = self.owner, self.depth
        self._give_on()
        return held

    def take_back(self, held: tuple[Strand, int]) -> None:
        self._take(*held, parked=True)

    def _take(self, strand: Strand, depth: int, parked: bool = False) -> None:
        with self._mutex:
            if self.owner is None:
                self.owner, self.depth = strand, depth
                return
            wakeup = Wakeup()
            self._turns.append((strand, wakeup))
        if parked:
            wakeup.get()  # `park` is what takes it back
        else:
            park(strand, wakeup)
        self.depth = depth

    def _give_on(self) -> None:
        with self._mutex:
            self.depth = 0
            if self._turns:
                self.owner, wakeup = self._turns.popleft()
                wakeup.put(None)
            else:
                self.owner = None


_lock = _EditLock()
_afterwards: deque[Callable[[], object]] = deque()

#: held by a request that was overtaken too often; edits from outside of requests wait for it
gate = RequestLock()


@contextmanager
def editing() -> Iterator[None]:
    """Nobody else edits meanwhile. What was deferred is called at the end of the outermost edit."""
    strand = here()
    if gate.locked() and strand.request is None and _lock.owner is not strand:
        with gate:
            pass
    _lock.acquire(strand)
    try:
        yield
        while _lock.depth == 1 and _afterwards:
            _afterwards.popleft()()
    finally:
        _lock.release(strand)


def call_when_edited(fn: Callable[[], object]) -> None:
    """Call `fn()` at the end of the edit that the caller is in, or now if it is in none."""
    if _lock.owner is here():
        _afterwards.append(fn)
    else:
        fn()


def settled() -> bool:
    """Whether nobody but the caller edits."""
    return _lock.owner is None or _lock.owner is here()


def wait_until_settled() -> None:
    """Return when no edit is half way, but those that wait for a request themselves."""
    strand = here()
    _lock.acquire(strand)
    _lock.release(strand)
