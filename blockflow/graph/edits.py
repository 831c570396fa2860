"""One edit of graphs at a time: connecting, values, sizes of slots, and what follows of metadata and dirtiness.

An edit runs through all operators that it concerns. So that two of them never meet half way, they take the one
lock of this module, again and again from within an edit: it belongs to a strand. It is never held by a strand
that waits for a request: it is lent, so that a request may itself edit the graph it is part of, and no circle
closes. Computing does not take it. A request that was overtaken by an edit is done again (see `requests`);
one that is overtaken again and again closes the gate, and edits from outside of requests wait for it.

An operator whose set-up raises may be one that the edit has not reached from all sides: one input has its new
shape, another does not yet. So only what stands at the end of the edit is raised.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from blockflow.request import RequestLock
from blockflow.request.strand import Strand, Wakeup, here, park

if TYPE_CHECKING:
    from blockflow.graph.operator import Operator

__all__ = [
    "call_when_edited",
    "editing",
    "gate",
    "is_failed",
    "note_failure",
    "note_success",
    "settled",
    "wait_until_settled",
    "within_graph",
]


class _Edit:
    """What is known of one edit, from its outermost call to its end."""

    __slots__ = ("afterwards", "depth", "failed", "unheard")

    def __init__(self) -> None:
        self.depth = 1
        self.afterwards: deque[Callable[[], object]] = deque()
        self.failed: dict[Operator, Exception] = {}
        self.unheard: set[Operator] = set()  # of these, those that dirtiness passed by

    def finish(self, *, failed: bool = False) -> None:
        """Call what was deferred; raise what a set-up raised and none put right, unless the edit itself failed."""
        while self.afterwards:
            self.afterwards.popleft()()
        errors = list(self.failed.values())
        for operator in list(self.failed):
            operator._lose_outputs()
        self.failed.clear()
        if errors and not failed:
            try:
                raise errors[0]
            finally:
                del errors


class _EditLock:
    """Held by one strand, as often as it likes; given on in the order of asking."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self.owner: Strand | None = None
        self.edit = _Edit()
        self._turns: deque[tuple[Strand, Wakeup]] = deque()

    def acquire(self, strand: Strand) -> None:
        if self.owner is strand:
            self.edit.depth += 1
            return
        self._take(strand, _Edit())
        strand.locks.append(self)

    def release(self, strand: Strand) -> None:
        self.edit.depth -= 1
        if self.edit.depth == 0:
            strand.locks.remove(self)
            self._give_on()

    def forget_others(self) -> None:
        """In a forked child: of all threads only the one that forked is there."""
        self._mutex = threading.Lock()
        self._turns.clear()
        if self.owner is not here():
            self.owner = None

    def lend(self) -> tuple[Strand, _Edit]:
        assert self.owner is not None
        held = self.owner, self.edit
        self._give_on()
        return held

    def take_back(self, held: tuple[Strand, _Edit]) -> None:
        self._take(*held, parked=True)

    def _take(self, strand: Strand, edit: _Edit, parked: bool = False) -> None:
        with self._mutex:
            if self.owner is None:
                self.owner, self.edit = strand, edit
                return
            wakeup = Wakeup()
            self._turns.append((strand, wakeup))
        if parked:
            wakeup.get()  # `park` is what takes it back
        else:
            park(strand, wakeup)
        self.edit = edit

    def _give_on(self) -> None:
        with self._mutex:
            if self._turns:
                self.owner, wakeup = self._turns.popleft()
                wakeup.put(None)
            else:
                self.owner = None


_lock = _EditLock()
os.register_at_fork(after_in_child=_lock.forget_others)

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
    edit = _lock.edit
    try:
        try:
            yield
        except BaseException:
            if edit.depth == 1:
                edit.finish(failed=True)
            raise
        if edit.depth == 1:
            edit.finish()
    finally:
        _lock.release(strand)


def call_when_edited(fn: Callable[[], object]) -> None:
    """Call `fn()` at the end of the edit that the caller is in, or now if it is in none."""
    if _lock.owner is here():
        _lock.edit.afterwards.append(fn)
    else:
        fn()


def note_failure(operator: "Operator", error: Exception) -> None:
    """An operator's set-up raised; it is raised at the end of the edit, if it still stands."""
    _lock.edit.failed[operator] = error


def note_success(operator: "Operator") -> bool:
    """An operator was set up; whether dirtiness passed it by before, so that all of it is dirty now."""
    edit = _lock.edit
    if not edit.failed or edit.failed.pop(operator, None) is None or operator not in edit.unheard:
        return False
    edit.unheard.remove(operator)
    return True


def is_failed(operator: "Operator") -> bool:
    """Whether the set-up of an operator that is told of dirtiness has failed in this edit."""
    edit = _lock.edit
    if operator not in edit.failed:
        return False
    edit.unheard.add(operator)
    return True


def settled() -> bool:
    """Whether nobody but the caller edits."""
    return _lock.owner is None or _lock.owner is here()


def within_graph() -> bool:
    """Whether the graph made the call: an edit, the making of an operator, or a request."""
    strand = here()
    return strand.request is not None or _lock.owner is strand


def wait_until_settled() -> None:
    """Return when no edit is half way, but those that wait for a request themselves."""
    strand = here()
    _lock.acquire(strand)
    _lock.release(strand)
