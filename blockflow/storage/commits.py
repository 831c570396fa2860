"""Commits that can be listened to: a write of a ROI that has reached the store, whole units renamed into place."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from funlib.geometry import Roi

if TYPE_CHECKING:
    from blockflow.storage.array import Array

__all__ = ["committed", "on_commit"]

_listeners: "list[Callable[[Array, Roi], None]]" = []


def on_commit(listener: "Callable[[Array, Roi], None]") -> Callable[[], None]:
    """Call `listener(array, roi)` after each write of a ROI has reached the store; returns how to stop it."""
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)


def committed(array: "Array", roi: Roi) -> None:
    """Tell the listeners that `roi` of `array` has reached the store."""
    for listener in _listeners:
        listener(array, roi)
