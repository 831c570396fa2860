"""What a request came to, and who is told of it."""

import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from blockflow.request.errors import InvalidRequestException
from blockflow.request.strand import here

if TYPE_CHECKING:
    from types import TracebackType

__all__ = [
    "ANY",
    "CANCELLED",
    "CREATED",
    "FAILED",
    "FINISHED",
    "QUEUED",
    "RUNNING",
    "SETTLED",
    "SETTLING",
    "Settled",
]

T = TypeVar("T")

# the life of a request: CREATED -> (QUEUED) -> RUNNING -> SETTLING (callbacks run) -> SETTLED
CREATED, QUEUED, RUNNING, SETTLING, SETTLED = range(5)

# what became of it, and to which callbacks that matters
FINISHED, FAILED, CANCELLED, ANY = "finished", "failed", "cancelled", "any"


class _Unseen:
    """Tells of an exception that nobody ever asked for, when the last who could have is gone."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error: BaseException | None = error

    def __del__(self) -> None:
        if self.error is not None:
            sys.excepthook(type(self.error), self.error, self.error.__traceback__)


class Settled(Generic[T]):
    """The end of a request: its state, its result or exception, and its callbacks."""

    __slots__ = (
        "_callbacks",
        "_cancelled",
        "_error",
        "_lock",
        "_outcome",
        "_result",
        "_state",
        "_trace",
        "_unseen",
    )

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state = CREATED
        self._outcome: str | None = None
        self._result: T | None = None
        self._error: BaseException | None = None
        self._trace: TracebackType | None = None
        self._cancelled = False
        self._unseen: _Unseen | None = None
        self._callbacks: list[tuple[str, Callable[[Any], object]]] | None = None

    @property
    def exception(self) -> BaseException | None:
        """What its function raised."""
        return self._error

    @property
    def result(self) -> T:
        """The result of a request that has one; InvalidRequestException otherwise."""
        if self._outcome != FINISHED or self._state < SETTLING:
            raise InvalidRequestException(f"{self!r} has no result")
        return self._result  # type: ignore[return-value]

    def _fail(self, error: BaseException) -> None:
        self._result = None
        self._error = error
        self._trace = error.__traceback__
        if not self._cancelled:
            self._unseen = _Unseen(error)

    def _raise_error(self) -> None:
        error = self._error
        if error is not None:
            if self._unseen is not None:
                self._unseen.error = None
                self._unseen = None
            try:
                raise error.with_traceback(self._trace)  # without the frames of others who waited
            finally:
                del error

    # callbacks

    def submit(self) -> Self:
        """Have the work done."""
        raise NotImplementedError

    def notify(self, callback: Callable[[Any], object]) -> Self:
        """Call `callback(request)` when it is over, at once if it is already; submits. Returns the request."""
        self.add_done_callback(callback)
        return self.submit()

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Call `callback(request)` when it is over, whatever it came to; at once if it is already."""
        self._add_callback(ANY, callback)

    def notify_finished(self, callback: Callable[[T], object]) -> None:
        """Call `callback(result)` when there is a result; at once if there is one already. Does not submit.

        Callbacks are called one by one, in order, where the work was done. Those that were given before a
        `wait` have returned when it does. One that raises makes the request a failed one.
        """
        self._add_callback(FINISHED, lambda request: callback(request._result))

    def notify_failed(self, callback: Callable[[BaseException, tuple[Any, Any, Any]], object]) -> None:
        """Call `callback(exception, exc_info)` when the function raised; at once if it did already."""
        self._add_callback(FAILED, lambda request: callback(request._error, _info(request._error)))

    def notify_cancelled(self, callback: Callable[[], object]) -> None:
        """Call `callback()` when it is cancelled; at once if it was already."""
        self._add_callback(CANCELLED, lambda _: callback())

    def _add_callback(self, kind: str, callback: Callable[[Any], object]) -> None:
        with self._lock:
            if self._state != SETTLED:
                if self._callbacks is None:
                    self._callbacks = []
                self._callbacks.append((kind, callback))
                return
        if kind in (ANY, self._outcome):
            self._see()
            callback(self)

    def _call(self, callbacks: "list[tuple[str, Callable[[Any], object]]]") -> None:
        strand: Any = here()
        outer, strand.request = strand.request, self
        try:
            for kind, callback in callbacks:
                if kind not in (ANY, self._outcome):
                    continue
                self._see()
                try:
                    callback(self)
                except BaseException as error:  # noqa: BLE001 - raised by all who wait
                    if self._outcome is FINISHED:
                        self._outcome = FAILED
                        self._fail(error)
                    elif error is not self._error:
                        sys.excepthook(type(error), error, error.__traceback__)
        finally:
            strand.request = outer

    def _see(self) -> None:
        if self._unseen is not None:
            self._unseen.error = None
            self._unseen = None


def _info(error: BaseException | None) -> tuple[Any, Any, Any]:
    return (type(error), error, None if error is None else error.__traceback__)
