"""A request: work that is done once, by whoever comes first, and waited for by any number."""

import itertools
import os
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Self, TypeVar

from blockflow.request.errors import (
    CancellationException,
    CircularWaitException,
    InvalidRequestException,
    TimeoutException,
)
from blockflow.request.outcome import (
    CANCELLED,
    CREATED,
    FAILED,
    FINISHED,
    QUEUED,
    RUNNING,
    SETTLED,
    SETTLING,
    Settled,
)
from blockflow.request.strand import LEVELS, Strand, Wakeup, here, on_fresh_stack, park
from blockflow.request.thread_pool import ThreadPool, default_num_workers

__all__ = ["Request"]

T = TypeVar("T")

_numbers = itertools.count()


class Request(Settled[T]):
    """A function without arguments, called when it is first needed; its result, or what it raised, is kept.

    Nothing happens until `submit`, which has the thread pool call it, or `wait`, which calls it at once in the
    thread that waits, if nobody does so already. A request that waits for another one on a worker of the pool
    does not keep that worker from others: another thread stands in for it.

    Requests that are made while a request runs are its children: they are cancelled with it.

    Parameters
    ----------
    fn : callable without arguments
    """

    __slots__ = (
        "__weakref__",
        "_children",
        "_fn",
        "_kept",
        "_number",
        "_parent",
        "_parked",
        "_prefetched",
        "_root",
        "_runner",
        "_ticket",
        "_waiters",
        "_waits_for",
    )

    CancellationException: ClassVar = CancellationException
    CircularWaitException: ClassVar = CircularWaitException
    InvalidRequestException: ClassVar = InvalidRequestException
    TimeoutException: ClassVar = TimeoutException

    _pool: ClassVar[ThreadPool] = ThreadPool(default_num_workers())
    _answers: ClassVar[bool] = False

    def __init__(self, fn: Callable[[], T] | None) -> None:
        super().__init__()
        parent = here().request
        self._fn: Callable[[], T] | None = fn
        self._parent = parent
        self._number = next(_numbers)
        self._root: int = self._number if parent is None else parent._root
        self._kept = False  # by a thread that waits and is no request: it cannot be told of a cancellation
        self._children: set[Request[Any]] | None = None
        self._waiters: list[tuple[Request[Any] | None, Wakeup]] | None = None
        self._runner: Request[Any] | None = None  # waits for it, and works on it itself
        self._waits_for: Request[Any] | None = None
        self._parked: Wakeup | None = None
        self._ticket: list[Any] | None = None
        self._prefetched: dict[Any, Any] | None = None

    @classmethod
    def with_value(cls, value: T) -> Self:
        """A request that is done and has this result."""
        request = cls(_no_work)
        request._fn = None
        request._result = value
        request._outcome = FINISHED
        request._state = SETTLED
        request._parent = None
        return request

    @classmethod
    def reset_thread_pool(cls, num_workers: int | None = None) -> None:
        """Use a new pool, of as many workers as there are CPUs (at most 8) or of `num_workers`.

        With 0 there are no threads: `submit` does the work itself and raises what it raises, for debuggers.
        Requests that wait in the old pool are still worked on by its workers.
        """
        if num_workers is None:
            num_workers = default_num_workers()
        if num_workers < 0:
            raise ValueError(f"a thread pool has 0 workers or more, not {num_workers}")
        Request._pool = ThreadPool(num_workers)

    @classmethod
    def thread_pool(cls) -> ThreadPool:
        """The pool that `submit` uses."""
        return Request._pool

    @staticmethod
    def current_request() -> "Request[Any] | None":
        """The request that calls, or None in a thread that works on none."""
        return here().request

    @staticmethod
    def current_request_is_cancelled() -> bool:
        """Whether the request that calls was cancelled, so that long work may look and stop."""
        request = here().request
        return request is not None and request.cancelled

    @staticmethod
    def raise_if_cancelled() -> None:
        """Raise CancellationException if the request that calls was cancelled."""
        if Request.current_request_is_cancelled():
            raise CancellationException("this request was cancelled")

    # what it came to

    @property
    def started(self) -> bool:
        """Whether it was submitted or waited for."""
        return self._state != CREATED

    @property
    def finished(self) -> bool:
        """Whether it is over: with a result, an exception, or cancelled."""
        return self._state >= SETTLING

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled, by itself or before its start with the request that made it."""
        if self._cancelled:
            return True
        parent = self._parent
        return self._state == CREATED and parent is not None and parent.cancelled

    def __repr__(self) -> str:
        state = ("created", "queued", "running", self._outcome, self._outcome)[self._state]
        return f"<{type(self).__name__} {self._number}: {state}>"

    # starting and waiting

    def submit(self) -> Self:
        """Have the thread pool do the work; nothing if it is started already. Returns the request."""
        pool = Request._pool
        if pool.num_workers == 0:
            if self._state == CREATED:
                self.wait()
            return self
        with self._lock:
            if self._state != CREATED:
                return self
            self._state = QUEUED
            ticket: list[Any] = [self]
            self._ticket = ticket
        if self._parent is not None:
            self._parent._add_child(self)
        pool.submit((self._root, self._number), ticket)
        return self

    def wait(self, timeout: float | None = None) -> T:
        """The result, worked on in this very thread if nobody does so yet.

        Parameters
        ----------
        timeout : float, optional
            Seconds; the work is then left to the thread pool.

        Raises
        ------
        what the function raised
            The same exception, in every thread that waits.
        InvalidRequestException
            If the request was cancelled.
        CancellationException
            If the request that calls was cancelled.
        CircularWaitException
            If the request that calls is waited for by this one.
        TimeoutException
        """
        if self._state != SETTLED:
            self._await(timeout)
        if self._outcome is FINISHED:
            return self._result  # type: ignore[return-value]
        self._raise_error()
        Request.raise_if_cancelled()
        raise InvalidRequestException(f"{self!r} was cancelled, so it has no result; make a new request")

    def block(self, timeout: float | None = None) -> None:
        """As `wait`, without the result, so also after `clean`."""
        if self._state != SETTLED:
            self._await(timeout)
        self._raise_error()
        if self._outcome is CANCELLED:
            Request.raise_if_cancelled()
            raise InvalidRequestException(f"{self!r} was cancelled")

    def _claim(self) -> bool:
        """Whether the caller is the one that does the work."""
        with self._lock:
            if self._state not in (CREATED, QUEUED):
                return False
            self._state = RUNNING
            return True

    def _await(self, timeout: float | None) -> None:
        strand = here()
        caller = strand.request
        if caller is not None:
            if caller.cancelled:
                raise CancellationException(f"{caller!r} was cancelled")
            if caller is self:
                if self._state == SETTLING:
                    return
                raise CircularWaitException(f"{self!r} waits for itself")
        if timeout is not None and Request._pool.num_workers:
            self.submit()
        elif self._claim():
            if caller is None:
                self._kept = True
            else:
                self._runner = caller
                caller._waits_for = self  # from now on it is cancelled with the caller
            if self._cancelled or (self._parent is not None and self._parent.cancelled):
                self._settle(CANCELLED)
            else:
                self._execute(strand)
            if caller is not None:
                caller._waits_for = None
            return
        self._wait_for_other(strand, caller, timeout)

    def _wait_for_other(self, strand: Strand, caller: "Request[Any] | None", timeout: float | None) -> None:
        """Wait for a request that another strand works on, or will."""
        wakeup = Wakeup()
        with self._lock:
            if self._state == SETTLED:
                return
            if self._waiters is None:
                self._waiters = []
            self._waiters.append((caller, wakeup))
            self._kept |= caller is None
        if caller is None:
            if not park(strand, wakeup, timeout):
                raise TimeoutException(f"{self!r} took more than {timeout} s")
            return
        caller._waits_for = self
        try:
            caller._refuse_circle()
            caller._parked = wakeup
            if not caller._cancelled and not park(strand, wakeup, timeout):
                raise TimeoutException(f"{self!r} took more than {timeout} s")
        finally:
            caller._parked = caller._waits_for = None
        if caller._cancelled and self._state != SETTLED:
            raise CancellationException(f"{caller!r} was cancelled")

    def _refuse_circle(self) -> None:
        step, seen = self._waits_for, set()
        while step is not None and id(step) not in seen:
            if step is self:
                raise CircularWaitException(f"{self!r} waits for {self._waits_for!r}, which waits for it")
            seen.add(id(step))
            step = step._waits_for

    # the work

    def run_if_unclaimed(self) -> None:
        """Do the work, unless somebody else does: what a worker of the thread pool calls."""
        if self._claim():
            if self._cancelled:
                self._settle(CANCELLED)
            else:
                self._execute(here())

    def _execute(self, strand: Strand) -> None:
        if strand.level >= LEVELS:
            try:
                on_fresh_stack(strand, partial(self._execute, strand))
            except RecursionError as error:  # that it was not even begun
                self._fail(error)
                self._settle(FAILED)
            return
        outer = strand.request
        strand.request = self
        strand.level += 1
        try:
            try:
                self._result = self._work()
            except BaseException as error:  # noqa: BLE001 - raised by all who wait
                if not (isinstance(error, CancellationException) and self._cancelled):
                    self._fail(error)
                    self._settle(FAILED)
                    return
                self._settle(CANCELLED)
                return
            self._settle(CANCELLED if self._cancelled else FINISHED)
        finally:
            strand.level -= 1
            strand.request = outer

    def _work(self) -> T:
        return self._fn()  # type: ignore[misc]

    def _is_part_of_answer(self) -> bool:
        """Whether it was made while a graph answers a request, and is part of the answer."""
        parent = self._parent
        while parent is not None:
            if parent._answers and parent._state < SETTLING:
                return True
            parent = parent._parent
        return False

    def _settle(self, outcome: str) -> None:
        """Tell what it came to: first to callbacks, then to those that wait."""
        self._fn = None
        if outcome is CANCELLED:
            self._result = None
            self._cancelled = True
        self._outcome = outcome
        while True:
            with self._lock:
                callbacks, self._callbacks = self._callbacks, None
                if not callbacks:
                    self._state = SETTLED
                    waiters, self._waiters = self._waiters, None
                    break
                self._state = SETTLING
            self._call(callbacks)
        if waiters:
            for _, wakeup in waiters:
                wakeup.put(None)
        if self._ticket is not None:
            self._ticket.clear()
            if self._parent is not None:
                self._parent._drop_child(self)
        if self._prefetched:  # that nobody asked for in the end
            for request in self._prefetched.values():
                request._cancel()
        self._parent = self._runner = self._children = self._prefetched = None

    # cancelling

    def cancel(self) -> bool:
        """Cancel the request and its children, if nobody else needs them; whether it was.

        It is not where it is over, where a thread that is no request waits for it, and where the request that
        made it, or one that waits for it, is not cancelled. A function that runs hears of it where it next
        waits for a request or a lock; one that never waits runs to its end, and its result is dropped.
        """
        return self._cancelled or (not self._kept and self._is_free() and self._cancel())

    def _cancel(self) -> bool:
        concerned = self._cancel_alone()
        if concerned is None:
            return False
        while concerned:
            child = concerned.pop()
            if not child._cancelled and not child._kept and child._is_free():
                concerned += child._cancel_alone() or ()
        return True

    def _cancel_alone(self) -> "list[Request[Any]] | None":
        """Cancel it, if it is not over; the children that may now be cancelled, too."""
        with self._lock:
            if self._state >= SETTLING:
                return None
            self._cancelled = True
            unstarted = self._state in (CREATED, QUEUED)
            if unstarted:
                self._state = RUNNING  # claimed, so that nobody starts it
            children = list(self._children or ())
            running, parked = self._waits_for, self._parked
        if unstarted:
            self._settle(CANCELLED)
        if running is not None and running._parent is not None and running._parent._cancelled:
            children.append(running)
        if parked is not None:
            parked.put(None)
        return children

    def _is_free(self) -> bool:
        parent = self._parent
        if parent is not None and not parent.cancelled and parent._state < SETTLING:
            return False
        if self._runner is not None and not self._runner.cancelled:
            return False
        return all(waiter is not None and waiter.cancelled for waiter, _ in self._waiters or ())

    def _add_child(self, child: "Request[Any]") -> None:
        with self._lock:
            if self._state < SETTLING and not self._cancelled:
                if self._children is None:
                    self._children = set()
                self._children.add(child)
                return
            cancelled = self._cancelled
        if cancelled:
            child.cancel()

    def _drop_child(self, child: "Request[Any]") -> None:
        with self._lock:
            if self._children is not None:
                self._children.discard(child)

    def clean(self) -> None:
        """Drop the result, callbacks and children of a request whose result is needed no more."""
        with self._lock:
            self._callbacks = self._children = None
            if self._state == SETTLED:
                self._result = None
                if self._outcome is FINISHED:
                    self._outcome = "cleaned"


def _no_work() -> Any:
    raise InvalidRequestException("this request has a value and no work")


def _forget_threads() -> None:
    Request._pool = ThreadPool(Request._pool.num_workers)


os.register_at_fork(after_in_child=_forget_threads)
