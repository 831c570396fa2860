"""A graph as text."""

from typing import TYPE_CHECKING

from blockflow.graph.data import dtype_name
from blockflow.graph.slot import Slot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from blockflow.graph.operator import Operator

__all__ = ["draw"]


def draw(operators: "Iterable[Operator]") -> str:
    """Each operator with its slots, upstream operators first, parts of an operator indented below it."""
    everything = list(operators)
    names = _names(everything)
    top = [operator for operator in everything if operator.parent is None]
    lines: list[str] = []
    _draw_level(top, names, lines, "")
    return "\n".join(lines)


def _draw_level(operators: "list[Operator]", names: dict[int, str], lines: list[str], indent: str) -> None:
    for operator in _upstream_first(operators):
        kind = type(operator).__name__
        name = names[id(operator)]
        lines.append(f"{indent}{name}" + ("" if name.split(" ")[0] == kind else f" ({kind})"))
        slots = [*operator.inputs.values(), *operator.outputs.values()]
        width = max((len(slot.name) for slot in slots), default=0)
        for slot in slots:
            lines.append(f"{indent}  {slot.name:<{width}}  {_describe(slot, names)}".rstrip())
            lines.extend(
                f"{indent}  {'':<{width}}  [{place}] {_describe(one, names)}".rstrip()
                for place, one in enumerate(slot._subslots)
            )
        _draw_level(operator.children, names, lines, indent + "    ")


def _describe(slot: Slot, names: dict[int, str]) -> str:
    if slot.level:
        data = f"{len(slot)} slots"
    elif slot.ready():
        data = f"{dtype_name(slot.meta.dtype)} {slot.meta.shape}"
    else:
        data = "not ready"
    upstream = slot.upstream_slot
    if upstream is not None:
        index = "".join(f"[{i}]" for i in upstream.subindex)
        owner = names.get(id(upstream.operator), "?")
        return f"{data}  <- {owner}.{upstream.name}{index}"
    return f"{data}  = value" if slot._value is not None else data


def _names(operators: "list[Operator]") -> dict[int, str]:
    """A name for each operator; the second of one name is `name (2)`."""
    names: dict[int, str] = {}
    seen: dict[str, int] = {}
    for operator in operators:
        seen[operator.name] = seen.get(operator.name, 0) + 1
        count = seen[operator.name]
        names[id(operator)] = operator.name if count == 1 else f"{operator.name} ({count})"
    return names


def _upstream_first(operators: "list[Operator]") -> "list[Operator]":
    ids = {id(operator) for operator in operators}
    ordered: list[Operator] = []
    placed: set[int] = set()
    for first in operators:
        stack = [first]
        while stack:
            operator = stack[-1]
            waits = [
                leaf.upstream_slot.operator
                for slot in operator.inputs.values()
                for leaf in (slot, *slot._leaves())
                if leaf.upstream_slot is not None and leaf.upstream_slot.operator is not None
            ]
            open_ones = [
                one
                for one in waits
                if id(one) in ids and id(one) not in placed and one is not operator and one not in stack
            ]
            if open_ones:
                stack.append(open_ones[0])
                continue
            stack.pop()
            if id(operator) not in placed:
                placed.add(id(operator))
                ordered.append(operator)
    return ordered
