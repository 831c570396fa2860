"""An operator for each item of a list."""

from collections.abc import Iterable, Mapping
from typing import Any

from blockflow.graph.graph import Graph
from blockflow.graph.operator import Operator
from blockflow.graph.slot import InputSlot, OutputSlot, Slot

__all__ = ["OperatorWrapper"]


class OperatorWrapper(Operator):
    """As many operators of a class as its lists of slots are long.

    Its outputs and its promoted inputs are those of the class, one level higher; all of these lists have one
    length, whichever of them changes. Other inputs are shared by all operators. `wrapper[i]` is the i-th operator.

    Parameters
    ----------
    operatorClass : type
    operator_args, operator_kwargs
        For each operator, beside its parent.
    parent, graph
        As for any operator.
    promotedSlotNames : iterable of str, optional
        The inputs that become lists, with their `followers`; by default all that are not declared `nonlane`.
    broadcastingSlotNames : iterable of str, optional
        In place of it: the inputs that do not.
    """

    name = "OperatorWrapper"
    backpropagate_values = True

    def __init__(
        self,
        operatorClass: type[Operator],
        operator_args: tuple[Any, ...] | None = None,
        operator_kwargs: Mapping[str, Any] | None = None,
        parent: Operator | None = None,
        graph: Graph | None = None,
        promotedSlotNames: Iterable[str] | None = None,
        broadcastingSlotNames: Iterable[str] | None = None,
    ) -> None:
        super().__init__(parent, graph)
        self.name = f"Wrapped {operatorClass.name}"
        self._class = operatorClass
        self._args = tuple(operator_args or ())
        self._kwargs = dict(operator_kwargs or {})
        self.innerOperators: list[Operator] = []
        self.promotedSlotNames = _promoted(operatorClass, promotedSlotNames, broadcastingSlotNames)
        for declared in (*operatorClass.inputSlots, *operatorClass.outputSlots):
            self._adopt(declared)
        for slot in self._lists():
            slot.notifyInserted(self._on_inserted)
            slot.notifyRemoved(self._on_removed)

    def _adopt(self, declared: Slot) -> None:
        """Take over a slot of the class, as a list if it is promoted or an output."""
        slot = declared._declared(self)
        if isinstance(slot, OutputSlot) or slot.name in self.promotedSlotNames:
            slot.level += 1
        slots = self.inputs if isinstance(slot, InputSlot) else self.outputs
        slots[slot.name] = self.__dict__[slot.name] = slot

    def _lists(self) -> list[Slot]:
        return [self.inputs[name] for name in self.promotedSlotNames] + list(self.outputs.values())

    def __getitem__(self, position: int) -> Operator:
        return self.innerOperators[position]

    def __len__(self) -> int:
        return len(self.innerOperators)

    def __bool__(self) -> bool:
        return True

    def _on_inserted(self, slot: Slot, position: int, finalsize: int) -> None:
        if len(self.innerOperators) < finalsize:
            operator = self._class(*self._args, **{**self._kwargs, "parent": self})
            operator.backpropagate_values = True
            self.innerOperators.insert(position, operator)
            if (
                operator is not self.innerOperators[-1]
            ):  # workers, who make all of them in a row, have it there
                self._children.remove(operator)
                self._children.insert(self._children.index(self.innerOperators[position + 1]), operator)
        for other in self._lists():
            if other is not slot and len(other) < finalsize:
                other.insertSlot(position, finalsize)
        if all(len(other) == len(self.innerOperators) for other in self._lists()):
            self._connect(position)

    def _connect(self, position: int) -> None:
        operator = self.innerOperators[position]
        for name, slot in operator.inputs.items():
            outer = self.inputs[name]
            if name in self.promotedSlotNames:
                outer = outer[position]
            if slot.upstream_slot is not outer:
                slot.connect(outer)
        for name, slot in operator.outputs.items():
            self.outputs[name][position].connect(slot)

    def _on_removed(self, slot: Slot, position: int, finalsize: int) -> None:
        for other in self._lists():
            if other is not slot and len(other) > finalsize:
                other.removeSlot(position, finalsize)
        if len(self.innerOperators) > finalsize:
            self.innerOperators.pop(position).cleanUp()

    def setupOutputs(self) -> None:
        """The inner operators set up their outputs, which are this operator's."""

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: Any, result: Any) -> Any:  # noqa: ARG002
        """Never called: each output is that of an inner operator."""
        raise RuntimeError(f"{slot.path}{list(subindex)} is not connected to an inner operator")

    def propagateDirty(self, slot: Slot, subindex: tuple[int, ...], roi: Any) -> None:
        """The inner operators are told themselves."""

    def setInSlot(self, slot: Slot, subindex: tuple[int, ...], roi: Any, value: Any) -> None:
        """The inner operators are told themselves."""


def _promoted(
    operatorClass: type[Operator], promoted: Iterable[str] | None, broadcasting: Iterable[str] | None
) -> list[str]:
    if promoted is not None and broadcasting is not None:
        raise ValueError("give promotedSlotNames or broadcastingSlotNames, not both")
    names = [slot.name for slot in operatorClass.inputSlots]
    given = list(promoted if promoted is not None else broadcasting or ())
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ValueError(
            f"{operatorClass.__name__} has no input {', '.join(unknown)}; it has {', '.join(names)}"
        )
    if promoted is not None:
        return [name for name in names if {name, operatorClass.followers.get(name)} & {*given}]
    shared = {slot.name for slot in operatorClass.inputSlots if slot.nonlane} | set(given)
    return [name for name in names if name not in shared]
