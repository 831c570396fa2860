"""What was changed of operators after they were made, by others than the graph.

Workers make an operator anew, from its arguments and its inputs. What else was set on it, or inside of it, they would
not have; so it is noted, and a run refuses it.
"""

from typing import TYPE_CHECKING

from blockflow.graph.edits import within_graph

if TYPE_CHECKING:
    from blockflow.graph.operator import Operator
    from blockflow.graph.slot import Slot

__all__ = ["note_attribute", "note_part", "note_slot"]

_PACKAGE = __name__.partition(".")[0]


def note_attribute(operator: "Operator", name: str) -> None:
    """An attribute of an operator is set."""
    if operator._initialized and not within_graph() and _is_own(type(operator), name):
        _note(operator, f"{operator.name}.{name}")


def note_slot(slot: "Slot") -> None:
    """A slot is connected, resized, or given a value. That is noted of parts of operators."""
    if slot.operator is not None and slot.operator.parent is not None and not within_graph():
        _note(slot.operator, slot.path)


def note_part(operator: "Operator") -> None:
    """An operator is made. That is noted where it is a part of one that was made before."""
    if operator.parent is not None and not within_graph():
        _note(operator, operator.name)


def _is_own(cls: type, name: str) -> bool:
    """Whether an attribute is one that a user's class thought of, and holds something itself."""
    if any(_is_ours(base) and name in vars(base) for base in cls.__mro__):
        return False
    return not _is_ours(cls) and not hasattr(getattr(cls, name, None), "__set__")


def _is_ours(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == _PACKAGE


def _note(operator: "Operator", what: str) -> None:
    while operator.parent is not None:
        operator = operator.parent
    operator.changed_since[what] = None
