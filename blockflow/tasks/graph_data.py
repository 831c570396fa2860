"""A graph of operators as data: taken down from live operators, and built again where blocks are done.

Operators are taken down as their class, the arguments they were made with, the values of their inputs, and their
connections. One that was changed otherwise after it was made is refused.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from blockflow.errors import TaskError
from blockflow.graph import Graph, MetaDict, Operator, Slot
from blockflow.graph.edits import editing
from blockflow.graph.window import Window
from blockflow.storage import open_array

__all__ = ["GraphData", "Node", "SlotRef", "class_reference", "path_of_array", "reference", "refresh"]

#: bytes of an array that may travel with a graph; a larger one is to be stored
_LARGEST_VALUE = 64 * 2**20


@dataclass(frozen=True, order=True)
class SlotRef:
    """A slot of a graph: of a node, or of a part of it, which the positions among the children lead to."""

    node: str
    slot: str
    children: tuple[int, ...] = ()

    def of(self, operators: Mapping[str, Operator]) -> Slot:
        """The slot in a graph that was built."""
        operator = operators[self.node]
        for position in self.children:
            operator = operator.children[position]
        return operator.slot_at(self.slot)

    def __str__(self) -> str:
        return ".".join([self.node, *map(str, self.children), self.slot])


@dataclass(frozen=True)
class Node:
    """An operator that is no part of another one.

    `sizes` are the lengths of its lists of slots; `values`, `links` and `arrays` say by path what its inputs have:
    a value, a slot of another node, or an array at a path. `extra_meta` is what was said of values and arrays beside.
    `parts` are the plain values of its parts' inputs: what they follow from, such as a file, may change by itself.
    """

    name: str
    type: str
    cls: Any = field(compare=False, repr=False)
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    links: Mapping[str, SlotRef] = field(default_factory=dict)
    arrays: Mapping[str, str] = field(default_factory=dict)
    extra_meta: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    parts: Mapping[str, Any] = field(default_factory=dict)
    probed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class GraphData:
    """Operators and their connections, upstream ones first."""

    nodes: tuple[Node, ...]

    @classmethod
    def of(cls, slots: Iterable[Slot]) -> "GraphData":
        """All that slots take their data from.

        Raises
        ------
        TaskError
            If an operator of it cannot be built again: an array is too large to travel with it and is not stored,
            it holds what does not follow from its inputs, or it was changed otherwise after it was made.
        """
        names: dict[Operator, str] = {}
        nodes: list[Node] = []
        for operator in _upstream_first({_root(slot) for slot in slots}):
            names[operator] = _unique(operator.name, set(names.values()))
            nodes.append(_take_down(operator, names))
        return cls(tuple(nodes))

    def names(self, slots: Iterable[Slot]) -> dict[Operator, str]:
        """The name of each live operator that this was taken down from."""
        operators = _upstream_first({_root(slot) for slot in slots})
        return dict(zip(operators, (node.name for node in self.nodes), strict=True))

    def build(self, *, windows: bool) -> dict[str, Operator]:
        """The operators, connected; arrays as they are, or with `windows` so that nothing of them is at hand yet.

        Raises what making an operator raises, and `StorageError` for an array that cannot be opened.
        """
        graph = Graph()
        operators: dict[str, Operator] = {}
        for node in self.nodes:
            operator: Operator = node.cls(*node.args, **{**node.kwargs, "graph": graph})
            operator.name = node.name
            operator.planned = {**node.values, **node.parts}
            for path, size in node.sizes.items():
                operator.slot_at(path).resize(size)
            for path, value in node.values.items():
                operator.slot_at(path).setValue(value, extra_meta=node.extra_meta.get(path))
            for path, where in node.arrays.items():
                array = open_array(where)
                operator.slot_at(path).setValue(
                    Window(where, array) if windows else array, extra_meta=node.extra_meta.get(path)
                )
            for path, source in node.links.items():
                operator.slot_at(path).connect(source.of(operators), permit_distant_connection=True)
            operator.probed_regions = node.probed
            operators[node.name] = operator
        return operators


def refresh(slots: Iterable[Slot]) -> None:
    """Let all operators that slots take their data from, and their parts, look again at files that are no inputs."""
    with editing():
        for operator in _upstream_first({_root(slot) for slot in slots}):
            for one in operator._family():
                one.refresh()


def class_reference(cls: type) -> str:
    """How a config names an operator's class: `package.module:Class`, or `path/to/file.py:Class`."""
    module = sys.modules.get(cls.__module__)
    file = getattr(module, "__file__", None)
    if cls.__module__.startswith("_blockflow_") and file:
        return f"{file}:{cls.__qualname__}"
    return f"{cls.__module__}:{cls.__qualname__}"


def path_of_array(value: Any) -> str | None:
    """Where an array is stored, if it is one of ours, or a zarr array in a folder."""
    path = getattr(value, "path", None)
    if isinstance(value, Window):
        return path_of_array(value.array)
    if getattr(value, "slot_meta", None) is not None and isinstance(path, str):
        return str(Path(path).absolute())
    root = getattr(getattr(value, "store", None), "root", None)
    if root is not None and isinstance(path, str):
        return str((Path(root) / path).absolute())
    return None


def _root(slot: Slot) -> Operator:
    operator = slot.operator
    if operator is None:
        raise TaskError(f"slot {slot.name!r} belongs to no operator, so its graph cannot be run")
    while operator.parent is not None:
        operator = operator.parent
    return operator


def _inputs(operator: Operator) -> Iterator[Slot]:
    for slot in operator.inputs.values():
        yield from slot._leaves()


def _upstream_first(wanted: Iterable[Operator]) -> list[Operator]:
    ordered: dict[Operator, None] = {}
    seen: set[Operator] = set()
    for first in sorted(wanted, key=lambda operator: operator._number):
        stack = [(first, False)]
        while stack:
            operator, upstream_is_in = stack.pop()
            if upstream_is_in:
                ordered.setdefault(operator)
            elif operator not in seen:
                seen.add(operator)
                stack.append((operator, True))
                upstream = [
                    leaf.upstream_slot for leaf in _inputs(operator) if leaf.upstream_slot is not None
                ]
                stack += [(_root(slot), False) for slot in reversed(upstream)]
    return list(ordered)


def _take_down(operator: Operator, names: Mapping[Operator, str]) -> Node:
    _refuse_held(operator)
    _refuse_changed(operator)
    args, kwargs = operator.made_with
    sizes, values, links, arrays, extra_meta = {}, {}, {}, {}, {}
    for slot in operator.inputs.values():
        for one in _lists(slot):
            sizes[one.path_in_operator] = len(one)
    for leaf in _inputs(operator):
        path = leaf.path_in_operator
        if leaf.upstream_slot is not None:
            links[path] = reference(leaf.upstream_slot, names)
        elif leaf._value is not None:
            _refuse_changed_meta(leaf)
            if leaf._extra_meta:
                extra_meta[path] = dict(leaf._extra_meta)
            stored = path_of_array(leaf._value)
            if stored is not None:
                arrays[path] = stored
            else:
                values[path] = _small(leaf, leaf._value)
    return Node(
        name=names[operator],
        type=class_reference(type(operator)),
        cls=type(operator),
        args=tuple(None if isinstance(value, Graph) else value for value in args),
        kwargs={name: value for name, value in kwargs.items() if name not in ("graph", "parent")},
        sizes=sizes,
        values=values,
        links=links,
        arrays=arrays,
        extra_meta=extra_meta,
        parts=dict(_values_of_parts(operator)),
        probed=dict(operator.probed_regions),
    )


def _values_of_parts(operator: Operator, place: str = "") -> Iterator[tuple[str, Any]]:
    for position, child in enumerate(operator.children):
        within = f"{place}{position}."
        for leaf in _inputs(child):
            if leaf.upstream_slot is None and isinstance(leaf._value, bool | int | float | str | tuple):
                yield within + leaf.path_in_operator, leaf._value
        yield from _values_of_parts(child, within)


def _refuse_held(operator: Operator) -> None:
    held = operator.held_apart()
    if held is not None:
        raise TaskError(
            f"{operator.name} gives {held}, which workers cannot have. Store that as an array, and connect the array"
        )
    for child in operator.children:
        _refuse_held(child)


def _refuse_changed(operator: Operator) -> None:
    if operator.changed_since:
        cls = type(operator).__name__
        raise TaskError(
            f"{operator.name}: {', '.join(operator.changed_since)} was set after it was made, which workers would not "
            f"have, since they make it anew from its arguments and its inputs. Let {cls} take it as an argument of "
            "__init__, or as an input; what is just kept for later may be a functools.cached_property"
        )


def _refuse_changed_meta(slot: Slot) -> None:
    """Of a value, workers know what it tells of itself and what `extra_meta` says."""
    told = Slot(stype=slot._stype, allow_mask=True)
    told.setValue(slot._value, extra_meta=slot._extra_meta)
    if slot.meta != told.meta:
        names = sorted({*slot.meta, *told.meta})
        differing = [
            name
            for name in names
            if MetaDict({name: slot.meta.get(name)}) != MetaDict({name: told.meta.get(name)})
        ]
        raise TaskError(
            f"{slot.path}: meta.{', meta.'.join(differing)} is other than what the value tells, which workers "
            "would have. Set it with the value, not on the slot: setValue(value, extra_meta={...})"
        )


def _lists(slot: Slot) -> Iterator[Slot]:
    if slot.level:
        yield slot
        for one in slot._subslots:
            yield from _lists(one)


def reference(slot: Slot, names: Mapping[Operator, str]) -> SlotRef:
    """How a slot is found again: through its operator's place among the children of its parents."""
    children: list[int] = []
    operator = slot.operator
    assert operator is not None
    while operator.parent is not None:
        children.insert(0, [child is operator for child in operator.parent.children].index(True))
        operator = operator.parent
    return SlotRef(names[operator], slot.path_in_operator, tuple(children))


def _small(slot: Slot, value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.nbytes > _LARGEST_VALUE:
        raise TaskError(
            f"{slot.path} holds an array of {value.nbytes / 2**20:.0f} MiB in memory, too much to be sent to every "
            f"worker (at most {_LARGEST_VALUE // 2**20} MiB). Store it, and set the slot to "
            "blockflow.storage.open_array(path)"
        )
    if hasattr(value, "shape") and hasattr(value, "chunks") and not isinstance(value, np.ndarray):
        raise TaskError(
            f"{slot.path} holds {value!r}, which workers cannot open by a path. Store it as a zarr array, and set the "
            "slot to blockflow.storage.open_array(path)"
        )
    return value


def _unique(name: str, taken: set[str]) -> str:
    count, unique = 1, name
    while unique in taken:
        count += 1
        unique = f"{name}_{count}"
    return unique
