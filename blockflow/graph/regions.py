"""Which region of which slot a region of an output needs: the walk back through the graph."""

from collections import Counter
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from blockflow.graph.requests import RoiRequest
from blockflow.graph.slot import Slot
from blockflow.graph.window import StandIn, UndeclaredRegionError, Window, region_text
from blockflow.rtype import SubRegion

__all__ = ["Bounds", "Step", "at_hand", "required_regions", "walk_back"]

#: start and stop of a region, in voxels of a slot
Bounds = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Step:
    """A region of a slot that is to be read or computed, and the slots that this reads."""

    slot: Slot
    start: tuple[int, ...]
    stop: tuple[int, ...]
    reads: tuple[Slot, ...]

    @property
    def is_computed(self) -> bool:
        """Whether an operator computes it; else it is a value, or an array."""
        return self.slot._value is None


def required_regions(slot: Slot, bounds: Bounds, *, clip: bool = True) -> dict[Slot, Bounds]:
    """What the operator of `slot` needs of its inputs for a region: by source, clipped to its shape unless told not to.

    Raises
    ------
    UndeclaredRegionError
        If the operator does not tell, and no probe has shown it.
    """
    operator = slot.operator
    assert operator is not None
    roi = SubRegion(slot, *bounds)
    declared = operator.requiredInputRoi(slot.top_level_slot, slot.subindex, roi)
    if declared is None:
        probed = operator.probed_regions.get(slot.path_in_operator)
        if probed is None:
            raise UndeclaredRegionError(
                f"{slot.path} does not tell which region of its inputs it needs: define requiredInputRoi in "
                f"{type(operator).__name__}, or make the operator with blockflow.pointwise or "
                "blockflow.neighbourhood, or store its input whole (outputs) and run it by a worker file"
            )
        declared = {operator.slot_at(path): probed[path].region(roi) for path in probed}
    needed: dict[Slot, Bounds] = {}
    for taken, region in declared.items():
        if not taken.ready():
            continue
        wanted: Bounds | None = tuple(region.start), tuple(region.stop)
        if clip:
            wanted = _clipped(region.start, region.stop, taken.meta.shape)
        if wanted is not None:
            needed[taken.source] = _hull(needed.get(taken.source), wanted)
    for leaf in _computed_numbers(slot):
        needed.setdefault(leaf.source, ((0,) * len(leaf.meta.shape), tuple(leaf.meta.shape)))
    return needed


def _computed_numbers(slot: Slot) -> Iterator[Slot]:
    """Inputs of one element that are computed: parameters that come from another operator, always needed."""
    assert slot.operator is not None
    for taken in slot.operator.inputs.values():
        for leaf in taken._leaves():
            if leaf.ready() and _is_computed(leaf.source) and set(leaf.meta.shape or (2,)) == {1}:
                yield leaf


def _is_computed(source: Slot) -> bool:
    """Whether an operator computes a slot, be it at another time."""
    return source._value is None or (isinstance(source._value, StandIn) and source._value.is_computed)


def walk_back(wanted: Mapping[Slot, Bounds], ends: Container[Slot] = (), *, clip: bool = True) -> list[Step]:
    """All that must be read and computed for regions of slots, each after what it reads.

    A slot that several operators read is computed once, in the smallest box that holds what they need. The walk
    ends at slots that have a value, and at those of `ends`. Without `clip` regions reach beyond the borders of arrays,
    as far as if there were no borders.
    """
    regions: dict[Slot, Bounds] = {}
    for slot, bounds in wanted.items():
        regions[slot.source] = _hull(regions.get(slot.source), bounds)
    steps = []
    for slot in _downstream_first(list(regions), ends):
        if slot not in regions:
            continue
        needed = {} if _is_end(slot, ends) else required_regions(slot, regions[slot], clip=clip)
        for source, bounds in needed.items():
            regions[source] = _hull(regions.get(source), bounds)
        steps.append(Step(slot, *regions[slot], tuple(needed)))
    return steps[::-1]


@contextmanager
def at_hand(wanted: Mapping[Slot, Bounds]) -> Iterator[dict[Slot, np.ndarray[Any, Any]]]:
    """Compute regions of slots, and have them at hand: what they come to, by slot.

    Each step is computed once, and let go of after its last use. Arrays of the graph are values that are a
    `Window`; nothing outside of the regions of the walk can be read.
    """
    steps = walk_back(wanted)
    uses = Counter(source for step in steps for source in step.reads)
    kept = {slot.source for slot in wanted}
    computed: dict[Slot, Window] = {}
    loaded: list[Window] = []
    try:
        for step in steps:
            slot, value = step.slot, step.slot._value
            if value is None:
                computed[slot] = window = Window(slot.path, slot, is_computed=True)
                window.hold(step.start, _computed(step))
                slot._value = window
            elif isinstance(value, Window):
                loaded.append(value)
                value.load(step.start, step.stop)
            for source in step.reads:
                uses[source] -= 1
                if not uses[source] and source not in kept:
                    _let_go(source, computed)
        yield {slot: _held(slot, bounds) for slot, bounds in wanted.items()}
    finally:
        for slot in list(computed):
            _let_go(slot, computed)
        for window in loaded:
            window.drop()


def _computed(step: Step) -> np.ndarray[Any, Any]:
    """The data of a step, whose inputs are at hand."""
    roi = SubRegion(step.slot, step.start, step.stop)
    shape = tuple(b - a for a, b in zip(step.start, step.stop, strict=True))
    try:
        data: np.ndarray[Any, Any] = RoiRequest(step.slot, roi).wait()
    except UndeclaredRegionError as error:
        operator = type(step.slot.operator).__name__
        raise UndeclaredRegionError(
            f"{step.slot.path} ({operator}), asked for {region_text(step.start, shape)}, reads more of its inputs "
            f"than its requiredInputRoi says: {error}. Make requiredInputRoi, or the context, as large as what "
            f"{operator} asks for"
        ) from error
    return data


def _held(slot: Slot, bounds: Bounds) -> np.ndarray[Any, Any]:
    key = tuple(map(slice, *bounds))
    data: np.ndarray[Any, Any] = np.asarray(slot.source._value[key])
    return data


def _let_go(slot: Slot, computed: dict[Slot, Window]) -> None:
    if slot in computed:
        computed.pop(slot).drop()
        slot._value = None
    elif isinstance(slot._value, Window):
        slot._value.drop()


def _is_end(slot: Slot, ends: Container[Slot]) -> bool:
    return slot._value is not None or slot in ends or slot.operator is None or slot.is_input


def _downstream_first(slots: list[Slot], ends: Container[Slot]) -> list[Slot]:
    """All slots that the given ones may need, each before those that it needs."""
    order: list[Slot] = []
    seen: set[Slot] = set()
    stack: list[tuple[Slot, Iterator[Slot]]] = []
    for first in slots:
        if first in seen:
            continue
        seen.add(first)
        stack.append((first, _sources(first, ends)))
        while stack:
            slot, rest = stack[-1]
            following = next((source for source in rest if source not in seen), None)
            if following is None:
                stack.pop()
                order.append(slot)
            else:
                seen.add(following)
                stack.append((following, _sources(following, ends)))
    return order[::-1]


def _sources(slot: Slot, ends: Container[Slot]) -> Iterator[Slot]:
    if _is_end(slot, ends):
        return iter(())
    assert slot.operator is not None
    leaves = (leaf for taken in slot.operator.inputs.values() for leaf in taken._leaves())
    return iter([leaf.source for leaf in leaves if leaf.ready()])


def _clipped(start: Any, stop: Any, shape: tuple[int, ...]) -> Bounds | None:
    first = tuple(max(0, int(value)) for value in start)
    last = tuple(min(size, int(value)) for value, size in zip(stop, shape, strict=True))
    return (first, last) if all(a < b for a, b in zip(first, last, strict=True)) else None


def _hull(known: Bounds | None, bounds: Bounds) -> Bounds:
    if known is None:
        return tuple(map(int, bounds[0])), tuple(map(int, bounds[1]))
    return tuple(map(min, known[0], bounds[0])), tuple(map(max, known[1], bounds[1]))
