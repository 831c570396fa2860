"""Which slots may be connected."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blockflow.graph.slot import Slot

__all__ = ["check_connection"]


def check_connection(slot: "Slot", upstream: "Slot", permit_distant: bool) -> None:
    """Raise ValueError, or TypeError for what is no slot, if `slot` cannot be connected to `upstream`."""
    from blockflow.graph.slot import Slot

    if not isinstance(upstream, Slot):
        raise TypeError(f"{slot.path}: connect takes a slot, not {upstream!r}; use setValue for a value")
    if upstream.level > slot.level:
        raise ValueError(
            f"{slot.path} (level {slot.level}) cannot be connected to {upstream.path} (level {upstream.level}); "
            "connect to one of its slots"
        )
    step: Slot | None = upstream
    while step is not None:
        if step is slot:
            raise ValueError(
                f"{slot.path} cannot be connected to {upstream.path}, which takes its data from it"
            )
        step = step.upstream_slot
    one, other = slot.operator, upstream.operator
    if permit_distant or one is None or other is None or one is other:
        return
    if one.parent is not other.parent and one.parent is not other and other.parent is not one:
        raise ValueError(
            f"{slot.path} and {upstream.path} belong to operators that are neither siblings nor parent and child; "
            "connect through their parents' slots, or pass permit_distant_connection=True"
        )
