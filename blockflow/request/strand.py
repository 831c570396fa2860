"""A strand is one line of execution: a stack of calls that may be continued on the stack of another thread.

Requests compute their inputs inside of themselves, operators pass changes on to the next ones. A graph of a
thousand operators is so a call stack of a thousand levels, more than a Python thread can take (and raising the
recursion limit crashes). So `deeper` counts levels, and every `LEVELS` of them goes on with the work on another
thread while this one waits: the strand moves to a fresh stack. What a thread would know of itself (the request
it works on, the locks it holds) therefore belongs to the strand.

A strand that must wait for another one parks: a worker of the thread pool makes room for another, and the
locks on graphs are lent to whoever the strand waits for, so that waiting never closes a circle through them.
"""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from blockflow.request import threads

if TYPE_CHECKING:
    from blockflow.request.request import Request

__all__ = ["LEVELS", "MOST_STACKS", "Strand", "Wakeup", "deeper", "here", "on_fresh_stack", "park"]

#: levels of requests or propagation on one stack; with the frames of operators between them they stay well
#: below Python's limit of 1000 frames
LEVELS = 40

#: stacks of one strand; who needs more never ends
MOST_STACKS = 1000

#: what a parked strand waits for; may be put to more than once
Wakeup = SimpleQueue[None]

T = TypeVar("T")


class Lendable(Protocol):
    """A lock that a strand gives back while it is parked."""

    def lend(self) -> Any:
        """Release it wholly; what is returned tells `take_back` what to restore."""

    def take_back(self, held: Any) -> None:
        """Wait for it, and hold it as before."""


class Workers(Protocol):
    """The thread pool, as seen by its workers."""

    def leave(self) -> None:
        """The caller parks; another may work in its place."""

    def enter(self) -> None:
        """The caller works again."""


class Strand:
    """What is known of a line of execution."""

    __slots__ = ("level", "locks", "request", "stacks", "workers")

    def __init__(self) -> None:
        self.request: Request[Any] | None = None
        self.level = 0
        self.stacks = 1
        self.workers: Workers | None = None
        self.locks: list[Lendable] = []


class _Here(threading.local):
    strand: Strand | None = None


_here = _Here()


def here() -> Strand:
    """The strand that calls."""
    strand = _here.strand
    if strand is None:
        strand = _here.strand = Strand()
    return strand


def deeper(strand: Strand, work: Callable[[], T]) -> T:
    """`work()`, one level deeper: on this stack, or on a fresh one where this one has `LEVELS` already."""
    if strand.level < LEVELS:
        strand.level += 1
        try:
            return work()
        finally:
            strand.level -= 1
    return on_fresh_stack(strand, work)


def on_fresh_stack(strand: Strand, work: Callable[[], T]) -> T:
    """`work()` on the stack of another thread, which is this strand until then.

    Raises
    ------
    RecursionError
        Without doing it, if there are `MOST_STACKS` already, or the system gives no other thread.
    """
    if strand.stacks >= MOST_STACKS:
        raise RecursionError(
            f"{MOST_STACKS * LEVELS} requests or changes within each other; does an operator need its own output?"
        )
    level = strand.level
    outcome: list[tuple[T, None] | tuple[None, BaseException]] = []
    done = Wakeup()

    def job() -> None:
        _here.strand = strand
        strand.level = 0
        strand.stacks += 1
        try:
            outcome.append((work(), None))
        except BaseException as error:  # noqa: BLE001 - raised by the thread that waits for it
            outcome.append((None, error))
        finally:
            strand.level = level
            strand.stacks -= 1
            _here.strand = None
            done.put(None)

    try:
        threads.start(job)
    except RuntimeError as refused:
        raise RecursionError(
            f"no thread for more than {strand.stacks * LEVELS} levels: {refused}"
        ) from refused
    try:
        done.get()
    except (
        BaseException
    ):  # an interrupt: the work goes on without this thread, which so starts a strand of its own
        _here.strand = None
        raise
    result, error = outcome.pop()
    if error is not None:
        try:
            raise error
        finally:
            del error
    return result  # type: ignore[return-value]


def park(strand: Strand, wakeup: Wakeup, timeout: float | None = None) -> bool:
    """Wait until something is put to `wakeup`; false if that took more than `timeout` seconds."""
    workers, lent = strand.workers, [(lock, lock.lend()) for lock in strand.locks]
    if workers is not None:
        workers.leave()
    try:
        wakeup.get(timeout=timeout)
    except Empty:
        return False
    else:
        return True
    finally:
        if workers is not None:
            workers.enter()
        for lock, held in lent:
            lock.take_back(held)
