"""What was changed of operators after they were made, by others than the graph.

Workers make an operator anew, from its arguments and its inputs. What else was set on it, or inside of it, they would
not have; so it is noted, and a run refuses it.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from blockflow.graph.edits import within_graph

if TYPE_CHECKING:
    from blockflow.graph.operator import Operator
    from blockflow.graph.slot import Slot

__all__ = ["asking_operators", "forget_part", "note_attribute", "note_part", "note_slot"]

_PACKAGE = __name__.partition(".")[0]

#: attributes that are known to workers, or that the graph itself sets
_KNOWN = {
    "backpropagate_values",
    "changed_since",
    "externally_managed",
    "graph",
    "made_with",
    "name",
    "planned",
    "probed_regions",
    "_children",
    "_cleaning",
    "_generation",
    "_given",
    "_initialized",
    "_merged",
    "_parent",
}

_asking: ContextVar[bool] = ContextVar("asking", default=False)


@contextmanager
def asking_operators() -> Iterator[None]:
    """Operators are asked what they need, as planning does: what they keep meanwhile is their own affair."""
    token = _asking.set(True)
    try:
        yield
    finally:
        _asking.reset(token)


def note_attribute(operator: "Operator", name: str, value: Any) -> None:
    """An attribute of an operator is set."""
    if operator._initialized and name not in _KNOWN and _from_outside() and _decides(operator, name, value):
        _note(operator, f"{operator.name}.{name}")


def note_slot(slot: "Slot") -> None:
    """A slot is connected, resized, or given a value. That is noted of outputs, and of inputs of parts."""
    operator = slot.operator
    if operator is not None and (operator.parent is not None or not slot.is_input) and _from_outside():
        _note(operator, slot.path)


def note_part(operator: "Operator") -> None:
    """An operator is made. That is noted where it is a part of one that was made before."""
    if operator.parent is not None and _from_outside():
        _note(operator, operator.name)


def forget_part(operator: "Operator") -> None:
    """A part is cleaned up, and with it what was changed of it."""
    root, gone = _root(operator), set(operator._family())
    for what in [what for what, changed in root.changed_since.items() if changed in gone]:
        del root.changed_since[what]


def _from_outside() -> bool:
    return not within_graph() and not _asking.get()


def _decides(operator: "Operator", name: str, value: Any) -> bool:
    """Whether what is set may decide the voxels: with our own operators, where it takes the place of a method."""
    cls = type(operator)
    if hasattr(getattr(cls, name, None), "__set__"):
        return False  # it sets others
    return cls.__module__.partition(".")[0] != _PACKAGE or (hasattr(cls, name) and inspect.isroutine(value))


def _root(operator: "Operator") -> "Operator":
    while operator.parent is not None:
        operator = operator.parent
    return operator


def _note(operator: "Operator", what: str) -> None:
    _root(operator).changed_since[what] = operator
