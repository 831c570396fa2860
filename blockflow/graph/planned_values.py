"""What the inputs of an operator had when its graph was planned, for one that was built again where blocks are done."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blockflow.graph.operator import Operator
    from blockflow.graph.slot import Slot

__all__ = ["is_planned", "planned_value"]


def is_planned(operator: "Operator") -> bool:
    """Whether an operator, or the one that it is a part of, was built from a plan."""
    return _root(operator)[0].planned is not None


def planned_value(slot: "Slot") -> Any:
    """The plain value that an input, or the slot that it is connected to, had when its graph was planned, or None."""
    source = slot.source
    assert source.operator is not None
    root, within = _root(source.operator)
    return (root.planned or {}).get(within + source.path_in_operator)


def _root(operator: "Operator") -> "tuple[Operator, str]":
    """The operator that one is a part of, and how its part is found: as keys of `Node.parts` begin."""
    within = ""
    while operator.parent is not None:
        position = [child is operator for child in operator.parent.children].index(True)
        within, operator = f"{position}.{within}", operator.parent
    return operator, within
