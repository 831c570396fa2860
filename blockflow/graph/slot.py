"""Slots: what operators are connected by. Metadata and dirtiness run through them downstream, requests upstream."""

import weakref
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

from blockflow.graph.afterwards import note_slot
from blockflow.graph.changes import SlotChanges
from blockflow.graph.connecting import check_connection
from blockflow.graph.data import SlotNotReadyError, dtype_name
from blockflow.graph.edits import editing
from blockflow.graph.metadict import MetaDict
from blockflow.graph.sizes import insert_slot, remove_slot, resize
from blockflow.rtype import Roi, SubRegion
from blockflow.stype import ArrayLike, SlotType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blockflow.graph.operator import Operator

__all__ = ["InputSlot", "OutputSlot", "Slot", "SlotNotReadyError", "Slots"]


class Slot(SlotChanges):
    """An input or output of an operator; declared on the class, made anew for each operator.

    Parameters
    ----------
    name : str
        By default the name of the attribute.
    stype : type
        What it carries: `ArrayLike` (also for any string, as old files have it) or `Opaque`.
    rtype : type
        How it is asked: `SubRegion`, `List` or `Everything`.
    value : object
        An input's value where it is not connected.
    optional : bool
        The operator works without this input.
    level : int
        0 for one slot, n for a list of slots of level n - 1.
    nonlane : bool
        For lists of operators: this slot is shared by all of them.
    allow_mask : bool
        Masked arrays are taken.
    """

    SlotNotReadyError: ClassVar[type[SlotNotReadyError]] = SlotNotReadyError
    is_input: ClassVar[bool] = False

    def __init__(
        self,
        name: str = "",
        operator: "Operator | None" = None,
        stype: type[SlotType] | str = ArrayLike,
        rtype: type[Roi] = SubRegion,
        value: Any = None,
        optional: bool = False,
        level: int = 0,
        nonlane: bool = False,
        allow_mask: bool = False,
        parent: "Slot | None" = None,
        index: int = 0,
    ) -> None:
        super().__init__()
        if level < 0:
            raise ValueError(f"slot {name!r}: level is {level}; give 0 or more")
        self.name = name
        self.operator = operator
        self.rtype = rtype
        self.level = level
        self.nonlane = nonlane
        self.allow_mask = allow_mask
        self.meta = MetaDict()
        self.upstream_slot: Slot | None = None
        self._stype = ArrayLike if isinstance(stype, str) else stype
        self.stype = self._stype(self)
        self._default = value
        self._optional = optional
        self._parent = parent
        self._index = index
        self._value: Any = None
        self._extra_meta: dict[str, Any] = {}
        self._subslots: list[Slot] = []
        self._resizing = False

    def _declared(self, operator: "Operator | None", parent: "Slot | None" = None, index: int = 0) -> Self:
        """A slot as this one was declared, for an operator, or one level down in `parent`."""
        return type(self)(
            self.name,
            operator,
            self._stype,
            self.rtype,
            self._default,
            self._optional,
            self.level - (parent is not None),
            self.nonlane,
            self.allow_mask,
            parent,
            index,
        )

    # where it stands

    @property
    def top_level_slot(self) -> "Slot":
        """The slot that the operator declares, of which this is a subslot, or itself."""
        slot = self
        while slot._parent is not None:
            slot = slot._parent
        return slot

    def __repr__(self) -> str:
        kind = "InputSlot" if self.is_input else "OutputSlot"
        state = "" if self.ready() else " not ready"
        if self.level:
            return f"<{kind} {self.path}: {len(self._subslots)} slots{state}>"
        described = "" if self.meta.shape is None else f" {dtype_name(self.meta.dtype)} {self.meta.shape}"
        return f"<{kind} {self.path}:{described}{state}>"

    # connecting

    def connected(self) -> bool:
        """Whether it is connected or has a value; for a list of slots: or all of its slots are."""
        if self.upstream_slot is not None or self._value is not None:
            return True
        return bool(self._subslots) and all(slot.connected() for slot in self._subslots)

    def _all(self) -> "Iterator[Slot]":
        yield self
        for slot in self._subslots:
            yield from slot._all()

    def _leaves(self) -> "Iterator[Slot]":
        if self.level == 0:
            yield self
        for slot in self._subslots:
            yield from slot._leaves()

    def connect(self, upstream: "Slot | None", permit_distant_connection: bool = False) -> None:
        """Take data from `upstream`; None disconnects.

        The slots belong to one operator, to siblings, or to a parent and its child. Lists of slots are
        connected slot by slot, and grow to the longer of both; one slot connected to a list goes to all of it.

        Raises
        ------
        ValueError
            If the operators are no such relatives (unless `permit_distant_connection`), if `upstream` has the
            higher level, or if the connection would close a circle.
        """
        if upstream is None:
            self.disconnect()
            return
        if self.upstream_slot is not upstream:
            note_slot(self)
        with editing():
            if self.upstream_slot is upstream:
                return
            check_connection(self, upstream, permit_distant_connection)
            self.disconnect()
            if self.operator is not None and upstream.operator is not None:
                self.operator.graph.join(upstream.operator.graph)
            self.upstream_slot = upstream
            upstream._downstream.append(weakref.ref(self, partial(_forget, weakref.ref(upstream))))
            if self.level:
                self._connect_subslots(upstream)
            self._changed()
            self._tell("connect")
            if self.level == 0 and self.ready():
                self._make_dirty(self._everything())

    def _connect_subslots(self, upstream: "Slot") -> None:
        if upstream.level < self.level:
            for slot in self._subslots:
                slot.connect(upstream)
            return
        size = max(len(self), len(upstream))
        self.resize(size)
        upstream.resize(size)
        for slot, source in zip(self._subslots, upstream._subslots, strict=True):
            slot.connect(source)

    def disconnect(self) -> None:
        """End the connection, drop the value and the metadata. A default value does not come back."""
        note_slot(self)
        with editing():
            had = self.upstream_slot is not None or self._value is not None
            for slot in self._subslots:
                slot.disconnect()
            if self.upstream_slot is not None:
                self.upstream_slot._downstream.remove(weakref.ref(self))
            self.upstream_slot = self._value = None
            self._extra_meta = {}
            cleaning = self.operator is not None and self.operator._cleaning
            if self.level and not cleaning and self.is_input and had:
                self.resize(0)
            self.meta = MetaDict()
            if had:
                self._tell("disconnect")
            if had or self._announced:
                self._changed()
            else:
                self._count_change()
            self._set_unready()

    def setValue(
        self,
        value: Any,
        notify: bool = True,
        check_changed: bool = True,
        extra_meta: dict[str, Any] | None = None,
    ) -> None:
        """Give the slot a value; any object, for arrays anything with `shape`, `dtype` and slicing.

        An array is not copied and not read: change it only with `setDirty` after. Nobody is told if the value
        is the same object or equal. None makes the slot not ready.

        Parameters
        ----------
        notify : bool
            Tell those downstream that everything is dirty.
        check_changed : bool
            False: an equal value counts as another one.
        extra_meta : dict
            Metadata beside those that the value gives.

        Raises
        ------
        ValueError
            If the slot is connected, or the value is a slot (`connect` it) or none that the slot carries.
        """
        if isinstance(value, Slot):
            raise ValueError(f"{self.path}: {value!r} is a slot, not a value; use connect")  # noqa: TRY004
        if not self.stype.isCompatible(value):
            raise ValueError(f"{self.path}: a masked array needs a slot with allow_mask=True")
        note_slot(self.source)  # which takes the value, if this one passes it on
        with editing():
            if self.upstream_slot is not None:
                if self.operator is None or not self.operator.backpropagate_values:
                    raise ValueError(
                        f"{self.path} is connected to {self.upstream_slot.path}; disconnect it before you set a value"
                    )
                self.upstream_slot.setValue(value, notify, check_changed, extra_meta)
                return
            if value is None:
                self.disconnect()
                return
            if check_changed and not extra_meta and self._has(value):
                self._keep(value)
                return
            if self._value is not None:
                self._tell("disconnect")
            self._value = value
            self._extra_meta = dict(extra_meta or {})
            if self.level:
                for slot in self._subslots:
                    slot.setValue(value, notify, check_changed, extra_meta)
            else:
                self.meta = MetaDict(_ready=True)
                self.stype.setupMetaForValue(value)
                self.meta.update(self._extra_meta)
            self._note_ready()
            self._tell("connect")
            self._changed()
            self._tell("value_changed")
            if notify and self.level == 0:
                self._make_dirty(self._everything())

    def _has(self, value: Any) -> bool:
        """Whether it has this value, or an equal one, already."""
        if self._value is None:
            return False
        return value is self._value or self.stype.is_equal(self._value, value)

    def _keep(self, value: Any) -> None:
        """Have an equal value in place of the one that is there."""
        self._value = value
        for slot in self._subslots:
            if slot._value is not None:
                slot._keep(value)

    def setValues(self, values: Any) -> None:
        """Give each slot of a list its value; the list gets as many slots as there are values."""
        values = list(values)
        with editing():
            self.resize(len(values))
            for slot, value in zip(self._subslots, values, strict=True):
                slot.setValue(value)

    def setOrConnect(self, value: Any) -> None:
        """`connect` for a slot, `setValue` for anything else."""
        if isinstance(value, Slot):
            self.connect(value)
        else:
            self.setValue(value)

    def setOrConnectIfAvailable(self, value: Any) -> None:
        """As `setOrConnect`; nothing for None."""
        if value is not None:
            self.setOrConnect(value)

    # pushing data down

    def __setitem__(self, key: Any, value: Any) -> None:
        """Push data of a bounded slicing down into caches."""
        if self.level:
            raise ValueError(f"{self.path} is a list of slots; set data in one of them")
        roi = self._roi(key)
        if isinstance(value, Slot):
            value = value.get(roi).wait()
        self.stype.check_result_valid(roi, value)
        with editing():
            self._set_in(roi, value)

    def _set_in(self, roi: Roi, value: Any) -> None:
        if self._value is not None:
            self._value[roi.toSlice()] = value  # type: ignore[attr-defined]
            self.setDirty(roi)
        if self.is_input and self.operator is not None:
            self.operator._setInSlot(self, roi, value)
        self._each_downstream(Slot._set_in, roi, value)

    # lists of slots

    def __len__(self) -> int:
        return len(self._subslots) if self.level else (self.shape or (0,))[0]

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> "Iterator[Slot]":
        if not self.level:
            raise TypeError(
                f"{self.path} is one slot, not a list of slots; ask it for its data: {self.name}[...].wait()"
            )
        return iter(list(self._subslots))

    def index(self, slot: "Slot") -> int:
        """The place of a subslot."""
        return next(i for i, one in enumerate(self._subslots) if one is slot)

    def resize(self, size: int) -> None:
        """Give a list of slots this size; what is connected follows: downstream always, upstream when it grows."""
        note_slot(self)
        with editing():
            resize(self, size)

    def insertSlot(self, position: int, finalsize: int | None = None) -> "Slot":
        """Insert a slot into a list, here and in all lists that are connected; returns it."""
        note_slot(self)
        with editing():
            return insert_slot(self, position, len(self) + 1 if finalsize is None else finalsize)

    def removeSlot(self, position: "int | Slot", finalsize: int | None = None) -> None:
        """Take a slot out of a list, here and in all lists that are connected."""
        note_slot(self)
        with editing():
            place = self.index(position) if isinstance(position, Slot) else position
            remove_slot(self, place, len(self) - 1 if finalsize is None else finalsize)


class InputSlot(Slot):
    """An input of an operator: connected to another slot, or given a value."""

    is_input = True


class OutputSlot(Slot):
    """An output of an operator: computed by it, or connected to an output of one of its children."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self._default is not None or self._optional:
            raise ValueError(f"slot {self.name!r}: value and optional are for inputs")


class Slots(dict[str, Slot]):
    """The inputs or outputs of an operator, by name, in the order they were declared."""

    def __init__(self, owner: str, kind: str) -> None:
        super().__init__()
        self._what = f"{owner} has no {kind}"

    def __missing__(self, name: str) -> Slot:
        raise KeyError(f"{self._what} {name!r}; it has {', '.join(self) or 'none'}")


def _forget(upstream: "weakref.ref[Slot]", gone: "weakref.ref[Slot]") -> None:
    """Called by the garbage collector in any thread, beside an edit: so in one step, without another list."""
    slot = upstream()
    if slot is not None:
        with suppress(ValueError):
            slot._downstream.remove(gone)
