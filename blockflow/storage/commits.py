"""Commits that can be listened to: a write of a ROI that has reached the store, whole units renamed into place."""

from collections.abc import Callable

from funlib.geometry import Roi

__all__ = ["committed", "on_commit"]

_listeners: list[Callable[[str, Roi, Roi], None]] = []


def on_commit(listener: Callable[[str, Roi, Roi], None]) -> Callable[[], None]:
    """Call `listener(path, extent, roi)` after each write of a ROI has reached the store; returns how to stop it.

    `path` and `extent` are those of the array that was written.
    """
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)


def committed(path: str, extent: Roi, roi: Roi) -> None:
    """Tell the listeners that `roi` has reached the store of the array at `path`, which covers `extent`."""
    for listener in _listeners:
        listener(path, extent, roi)
