"""What runs through a graph downstream: metadata, readiness, dirtiness."""

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from blockflow.graph.data import SlotData
from blockflow.graph.edits import editing
from blockflow.request.strand import deeper, here
from blockflow.rtype import Roi

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable

    from blockflow.graph.slot import Slot

__all__ = ["SlotChanges"]

#: of so many root requests that change a slot is known how often each did
MOST_ROOTS = 64


class SlotChanges(SlotData):
    """How a slot hears of changes and passes them on. Each method runs within an edit."""

    is_input: ClassVar[bool]

    _optional: bool

    def __init__(self) -> None:
        super().__init__()
        self._downstream: list[weakref.ref[Slot]] = []
        self._announced = False  # as ready
        self._changes = 0
        self._changes_by: dict[int, int] | None = None  # of these, how many by which root request

    @property
    def downstream_slots(self) -> "list[Slot]":
        """The slots that are connected to this one."""
        return [slot for slot in (ref() for ref in self._downstream) if slot is not None]

    # ready

    @property
    def optional(self) -> bool:
        """Whether the operator works without it."""
        return self._optional

    def ready(self) -> bool:
        """Whether it can be asked for data. A list of slots is ready when it has some and all of them are."""
        if self.level:
            return bool(self._subslots) and all(slot.ready() for slot in self._subslots)
        return bool(self.meta.get("_ready"))

    # changes

    def _changed(self) -> None:
        """Metadata or readiness are other than before: take them over and pass them on."""
        if self.upstream_slot is not None and self.upstream_slot.level == self.level:
            upstream = self.upstream_slot.meta
            self.meta.assignFrom(upstream)
            if self.level == 0:
                self.meta["_ready"] = upstream.get("_ready", False)
        self._count_change()
        if self.upstream_slot is not None or self.level:
            self._note_ready()  # what an operator computes is announced when its metadata are
        self._each_downstream(SlotChanges._changed)
        if self._parent is not None:
            self._parent._note_ready()
        if self.is_input and self.operator is not None:
            self.operator._setupOutputs()
        self._tell("meta_changed")

    def _each_downstream(self, pass_on: "Callable[..., None]", *args: Any) -> None:
        for slot in self.downstream_slots:
            if slot.is_input is self.is_input:  # operators count levels, but none is between these two
                deeper(here(), partial(pass_on, slot, *args))
            else:
                pass_on(slot, *args)

    def _note_ready(self) -> None:
        if not self._announced and self.ready():
            self._announced = True
            self._tell("ready")

    def _set_unready(self) -> None:
        """It cannot be asked any more: first those downstream hear of it."""
        if self.level == 0:
            self.meta["_ready"] = False
        if not self._announced or self.ready():
            return
        self._announced = False
        self._count_change()
        self._each_downstream(SlotChanges._set_unready)
        if self._parent is not None:
            self._parent._set_unready()
        if self.is_input and self.operator is not None and not self._optional:
            self.operator._lose_outputs()
        self._tell("unready")

    def setDirty(self, *args: Any, **kwargs: Any) -> None:
        """Tell that a region of its data is not what it was: a roi, a slicing, `start` and `stop`, or all of it."""
        with editing():
            if self.level:
                for slot in self._subslots:
                    slot.setDirty(*args, **kwargs)
                return
            if self.stype.isConfigured():
                self._make_dirty(self._clipped(self._roi(*args, **kwargs)))

    def _make_dirty(self, roi: Roi) -> None:
        self._count_change()
        self._each_downstream(SlotChanges._make_dirty, roi)
        self._tell("dirty", roi)
        if self.is_input and self.operator is not None:
            self.operator._propagateDirty(self, roi)  # type: ignore[arg-type]

    def _count_change(self) -> None:
        self._changes += 1
        request = here().request
        if request is not None:
            by = self._changes_by = self._changes_by or {}
            by[request._root] = by.pop(request._root, 0) + 1
            if len(by) > MOST_ROOTS:
                del by[next(iter(by))]  # most likely over; if it is not, it is overtaken by itself once

    def changes(self, root: int) -> int:
        """How often its data or metadata were changed, but for changes that root request `root` made itself."""
        return self._changes if self._changes_by is None else self._changes - self._changes_by.get(root, 0)
