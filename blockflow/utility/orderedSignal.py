"""A signal: functions that are called, in order, when something happens."""

from collections.abc import Callable
from functools import partial
from typing import Any

__all__ = ["OrderedSignal"]


class OrderedSignal:
    """Calls its subscribers in the order they subscribed.

    Parameters
    ----------
    hide_cancellation_exceptions : bool
        A `CancellationException` of a subscriber ends that subscriber's call and nothing else.
    """

    def __init__(self, hide_cancellation_exceptions: bool = False) -> None:
        self._hide = hide_cancellation_exceptions
        self._subscribers: tuple[Callable[..., object], ...] = ()

    def __bool__(self) -> bool:
        return bool(self._subscribers)

    def __len__(self) -> int:
        return len(self._subscribers)

    def subscribe(self, fn: Callable[..., object], **kwargs: Any) -> Callable[[], None]:
        """Call `fn(*args, **kwargs)` from now on, after all others, also if it was subscribed before.

        Returns what unsubscribes it.
        """
        called = partial(fn, **kwargs) if kwargs else fn
        self.unsubscribe(called)
        self._subscribers = (*self._subscribers, called)
        return partial(self.unsubscribe, called)

    def unsubscribe(self, fn: Callable[..., object]) -> None:
        """Do not call `fn` any more; nothing if it is not subscribed."""
        self._subscribers = tuple(one for one in self._subscribers if one != fn)

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Call all who are subscribed now. The first exception ends it and is raised."""
        for subscriber in self._subscribers:
            if not self._hide:
                subscriber(*args, **kwargs)
                continue
            from blockflow.request import CancellationException

            try:
                subscriber(*args, **kwargs)
            except CancellationException:
                continue

    def clean(self) -> None:
        """Let go of all subscribers."""
        self._subscribers = ()
