"""A graph: the operators that are, or may be, connected."""

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from blockflow.graph.edits import call_when_edited

if TYPE_CHECKING:
    from blockflow.graph.operator import Operator

__all__ = ["Graph"]


class Graph:
    """Operators that work together. It does not keep them alive.

    Connecting operators of two graphs makes one of them; either then stands for the whole.
    """

    def __init__(self) -> None:
        self._members: dict[int, weakref.ref[Operator]] = {}
        self._joined: Graph | None = None

    @property
    def operators(self) -> "list[Operator]":
        """Its operators, in the order they were made."""
        alive = [
            operator
            for operator in (ref() for ref in list(self._whole._members.values()))
            if operator is not None
        ]
        return sorted(alive, key=lambda operator: operator._number)

    @property
    def _whole(self) -> "Graph":
        graph = self
        while graph._joined is not None:
            graph = graph._joined
        return graph

    def is_one_with(self, other: "Graph") -> bool:
        """Whether both are the same graph, or have been joined."""
        return self._whole is other._whole

    def take_in(self, operator: "Operator") -> None:
        """Have a new operator in this graph, in place of one of its own."""
        operator.graph._joined = self._whole
        operator.graph = self
        self.add(operator)

    def join(self, other: "Graph") -> None:
        """Make one graph of both."""
        smaller, larger = sorted((self._whole, other._whole), key=lambda graph: len(graph._members))
        if smaller is larger:
            return
        for operator in smaller.operators:
            operator.graph = larger
            larger.add(operator)
        smaller._members.clear()
        smaller._joined = larger

    def add(self, operator: "Operator") -> None:
        """Count an operator in."""
        members, number = self._whole._members, operator._number
        members[number] = weakref.ref(operator, lambda _: members.pop(number, None))

    def call_when_setup_finished(self, fn: Callable[[], object]) -> None:
        """Call `fn()` when the edit that is going on is over, or now."""
        call_when_edited(fn)

    def draw(self) -> str:
        """The graph as text: each operator with what it takes and gives, upstream ones first."""
        from blockflow.graph.drawing import draw

        return draw(self.operators)
