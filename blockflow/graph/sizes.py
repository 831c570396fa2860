"""How lists of slots grow and shrink together."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blockflow.graph.slot import Slot

__all__ = ["insert_slot", "remove_slot", "resize"]


def resize(slot: "Slot", size: int) -> None:
    """Give a list of slots a size, and those that are connected; then connect what is new."""
    _check_list(slot)
    if size < 0:
        raise ValueError(f"{slot.path} cannot have {size} slots")
    if slot._resizing or len(slot) == size:
        return
    before = len(slot)
    grown = _resize_all(slot, size)
    for one, first in grown:
        for position in range(first, len(one)):
            _connect_new(one, position)
    if len(slot) != before:
        slot._changed()


def _resize_all(slot: "Slot", size: int) -> "list[tuple[Slot, int]]":
    if slot._resizing or len(slot) == size:
        return []
    slot._resizing = True
    try:
        before = len(slot)
        slot._tell("resize", before, size)
        while len(slot) > size:
            _take_out(slot, len(slot) - 1, len(slot) - 1)
        while len(slot) < size:
            _put_in(slot, len(slot), len(slot) + 1)
        grown = [(slot, before)] if size > before else []
        upstream = slot.upstream_slot
        if upstream is not None and upstream.level == slot.level and len(upstream) < size:
            grown = _resize_all(upstream, size) + grown
        for downstream in slot.downstream_slots:
            if downstream.level == slot.level:
                grown += _resize_all(downstream, size)
        slot._tell("resized", before, size)
    finally:
        slot._resizing = False
    return grown


def insert_slot(slot: "Slot", position: int, finalsize: int) -> "Slot":
    """Insert a slot at a position into a list that then has `finalsize` slots, and into those connected to it."""
    _check_list(slot)
    if not 0 <= position <= len(slot):
        raise IndexError(f"{slot.path} has {len(slot)} slots; one cannot be inserted at {position}")
    inserted = _insert_all(slot, position, finalsize)
    for one in inserted:
        _connect_new(one, position)
    if inserted:
        slot._changed()
    return slot._subslots[position]


def _insert_all(slot: "Slot", position: int, finalsize: int) -> "list[Slot]":
    if slot._resizing or len(slot) >= finalsize:
        return []
    slot._resizing = True
    try:
        _put_in(slot, position, finalsize)
        inserted = [slot]
        upstream = slot.upstream_slot
        if upstream is not None and upstream.level == slot.level:
            inserted = _insert_all(upstream, position, finalsize) + inserted
        for downstream in slot.downstream_slots:
            if downstream.level == slot.level:
                inserted += _insert_all(downstream, position, finalsize)
    finally:
        slot._resizing = False
    return inserted


def remove_slot(slot: "Slot", position: int, finalsize: int) -> None:
    """Take a slot out of a list that then has `finalsize` slots, and out of those connected to it."""
    _check_list(slot)
    if not 0 <= position < len(slot):
        raise IndexError(f"{slot.path} has {len(slot)} slots; there is none at {position} to be removed")
    if slot._resizing or len(slot) <= finalsize:
        return
    slot._resizing = True
    try:
        _take_out(slot, position, finalsize)
        upstream = slot.upstream_slot
        if upstream is not None and upstream.level == slot.level and len(upstream) > finalsize:
            remove_slot(upstream, position, finalsize)
        for downstream in slot.downstream_slots:
            if downstream.level == slot.level and len(downstream) > finalsize:
                remove_slot(downstream, position, finalsize)
    finally:
        slot._resizing = False
    slot._changed()


def _check_list(slot: "Slot") -> None:
    if slot.level == 0:
        raise ValueError(f"{slot.path} is one slot, not a list of slots: declare it with level=1")


def _put_in(slot: "Slot", position: int, finalsize: int) -> None:
    slot._tell("insert", position, finalsize)
    slot._subslots.insert(position, slot._declared(slot.operator, slot, position))
    _number(slot)
    slot._tell("inserted", position, finalsize)


def _take_out(slot: "Slot", position: int, finalsize: int) -> None:
    slot._tell("remove", position, finalsize)
    gone = slot._subslots.pop(position)
    _number(slot)
    for downstream in gone.downstream_slots:
        downstream.disconnect()
    gone._parent = None
    gone.operator = None
    gone.disconnect()
    slot._tell("removed", position, finalsize)


def _connect_new(slot: "Slot", position: int) -> None:
    new, upstream = slot._subslots[position], slot.upstream_slot
    if upstream is not None:
        new.connect(upstream if upstream.level < slot.level else upstream._subslots[position])
    elif slot._value is not None:
        new.setValue(slot._value, extra_meta=slot._extra_meta)
    elif slot._default is not None:
        new.setValue(slot._default)


def _number(slot: "Slot") -> None:
    for place, one in enumerate(slot._subslots):
        one._index = place
