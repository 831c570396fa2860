"""The callbacks of a slot."""

from collections.abc import Callable
from functools import partial
from typing import Any

from blockflow.graph.edits import call_when_edited
from blockflow.utility.orderedSignal import OrderedSignal

__all__ = ["SlotSignals"]

Callback = Callable[..., object]


def _notify(signal: str, when: str) -> Callable[..., Callable[[], None]]:
    def notify(
        self: "SlotSignals", function: Callback, *, defer: bool = False, **kwargs: Any
    ) -> Callable[[], None]:
        subscribers = self._signals.setdefault(signal, _new_signal())
        self._unsubscribe(signal, function)
        called: Callback = partial(_deferred, function) if defer else function
        if kwargs:
            called = partial(called, **kwargs)
        self._subscribed.append((signal, function, called))
        subscribers.subscribe(called)
        return partial(self._unsubscribe, signal, function)

    what, _, arguments = when.partition(", ")
    called_with = ", ".join(filter(None, ["slot", arguments, "**kwargs"]))
    notify.__doc__ = (
        f"Call `function({called_with})` when {what}; with `defer`, at the end of the edit. "
        "Returns what ends that."
    )
    return notify


def _unregister(signal: str) -> Callable[..., None]:
    def unregister(self: "SlotSignals", function: Callback) -> None:
        self._unsubscribe(signal, function)

    unregister.__doc__ = f"Do not call `function` any more for: {signal}. Nothing if it is not."
    return unregister


class SlotSignals:
    """Whom a slot tells of what happens to it. Callbacks are called in the order they were given."""

    def __init__(self) -> None:
        self._signals: dict[str, OrderedSignal] = {}
        self._subscribed: list[tuple[str, Callback, Callback]] = []

    def _tell(self, signal: str, *args: Any) -> None:
        subscribers = self._signals.get(signal)
        if subscribers:
            subscribers(self, *args)

    def _unsubscribe(self, signal: str, function: Callback) -> None:
        for entry in reversed(self._subscribed):
            if entry[0] == signal and entry[1] == function:
                self._subscribed.remove(entry)
                self._signals[signal].unsubscribe(entry[2])
                return

    notifyDirty = _notify("dirty", "a region of it changed, roi")
    notifyMetaChanged = _notify("meta_changed", "its metadata were set anew")
    notifyValueChanged = _notify("value_changed", "another value was set")
    notifyReady = _notify("ready", "it became ready")
    notifyUnready = _notify("unready", "it is not ready any more")
    notifyConnect = _notify("connect", "it was connected or a value was set")
    notifyDisconnect = _notify("disconnect", "it was disconnected")
    notifyResize = _notify("resize", "its size is about to change, old, new")
    notifyResized = _notify("resized", "its size has changed, old, new")
    notifyInsert = _notify("insert", "a subslot is about to be inserted, position, finalsize")
    notifyInserted = _notify("inserted", "a subslot was inserted, position, finalsize")
    notifyRemove = _notify("remove", "a subslot is about to be removed, position, finalsize")
    notifyRemoved = _notify("removed", "a subslot was removed, position, finalsize")

    unregisterDirty = _unregister("dirty")
    unregisterMetaChanged = _unregister("meta_changed")
    unregisterValueChanged = _unregister("value_changed")
    unregisterReady = _unregister("ready")
    unregisterUnready = _unregister("unready")
    unregisterConnect = _unregister("connect")
    unregisterDisconnect = _unregister("disconnect")
    unregisterResize = _unregister("resize")
    unregisterResized = _unregister("resized")
    unregisterInsert = _unregister("insert")
    unregisterInserted = _unregister("inserted")
    unregisterRemove = _unregister("remove")
    unregisterRemoved = _unregister("removed")


def _new_signal() -> OrderedSignal:
    return OrderedSignal(hide_cancellation_exceptions=True)


def _deferred(function: Callback, *args: Any, **kwargs: Any) -> None:
    call_when_edited(partial(function, *args, **kwargs))
