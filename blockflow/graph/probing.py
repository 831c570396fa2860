"""What an operator needs of its inputs, found by trying: for operators that do not tell.

The operator is asked for a few small regions, at several places and of several sizes, while its inputs record what it
asks of them. It is taken to need what one affine map explains for all of these regions: along each axis of an input,
an axis of the output, scaled by a whole number or the inverse of one, perhaps flipped, with a margin on each side; or
always the same. Anything else is refused: then its blocks would not be sure to equal the whole.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from blockflow.graph.operator import Operator
from blockflow.graph.regions import Bounds
from blockflow.graph.requests import RoiRequest
from blockflow.graph.slot import Slot
from blockflow.graph.window import StandIn, UndeclaredRegionError
from blockflow.rtype import SubRegion

__all__ = ["AffineRegion", "AxisMap", "probe", "probe_undeclared"]

#: an axis of so few voxels is needed whole where nothing else explains it: all regions of it reach its borders
_SHORT = 32

#: the edge of the regions that are tried, in voxels, and how much longer the longer ones are
_EDGE, _LONGER = 6, 5

_WAYS_OUT = (
    "Define requiredInputRoi, or make the operator from a function with blockflow.pointwise or "
    "blockflow.neighbourhood, or store its input and run it on that as a worker file"
)


@dataclass(frozen=True)
class AxisMap:
    """What is needed along one axis of an input: `scale` times the output's axis `axis`, and a margin.

    With `axis` None it is `low` to `high` whatever is asked; else `low` and `high` are what is added to the scaled
    start and stop, rounded outwards. With `flip` the start follows from the output's stop.
    """

    axis: int | None
    scale: Fraction
    low: int
    high: int
    flip: bool = False

    def bounds(self, start: Sequence[int], stop: Sequence[int]) -> tuple[int, int]:
        """Start and stop along the input's axis, for a region of the output."""
        if self.axis is None:
            return self.low, self.high
        ends = sorted(self.scale * (-1 if self.flip else 1) * edge[self.axis] for edge in (start, stop))
        return math.floor(ends[0]) + self.low, math.ceil(ends[1]) + self.high


@dataclass(frozen=True)
class AffineRegion:
    """The region of an input that a region of an output needs, axis by axis."""

    axes: tuple[AxisMap, ...]

    def region(self, roi: SubRegion) -> SubRegion:
        """It may reach outside of the input."""
        bounds = [axis.bounds(roi.start, roi.stop) for axis in self.axes]
        return SubRegion(None, [low for low, _ in bounds], [max(low, high) for low, high in bounds])


class _Recorder(StandIn):
    """Stands for the data of an input, and notes what is asked of it."""

    def __init__(self, slot: Slot) -> None:
        self.shape = tuple(slot.meta.shape)
        self.dtype = np.dtype(slot.meta.dtype)
        self.is_computed = slot.source._value is None
        self.asked: Bounds | None = None

    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        start, stop = tuple(one.start for one in key), tuple(one.stop for one in key)
        if self.asked is not None:
            start, stop = tuple(map(min, start, self.asked[0])), tuple(map(max, stop, self.asked[1]))
        self.asked = start, stop
        shape = [one.stop - one.start for one in key]
        return (np.arange(math.prod(shape)) % 7).reshape(shape).astype(self.dtype)


def probe_undeclared(slots: Iterable[Slot]) -> None:
    """Probe all operators upstream of slots that do not tell what they need, and keep what that shows on them.

    Raises
    ------
    UndeclaredRegionError
        If no affine map explains what one asks for.
    """
    seen: set[Slot] = set()
    stack = [slot.source for slot in slots]
    while stack:
        slot = stack.pop()
        operator = slot.operator
        if slot in seen or slot._value is not None or operator is None or slot.is_input:
            continue
        seen.add(slot)
        stack += [leaf.source for leaf in _leaves(operator)]
        shape = slot.meta.shape
        whole = SubRegion(slot, (0,) * len(shape), shape)
        if operator.requiredInputRoi(slot.top_level_slot, slot.subindex, whole) is None:
            known = dict(operator.probed_regions)
            known[slot.path_in_operator] = _probed(slot, operator)
            operator.probed_regions = known


def _probed(slot: Slot, operator: Operator) -> dict[str, AffineRegion]:
    while operator.parent is not None:
        operator = operator.parent
    try:
        return probe(slot)
    except UndeclaredRegionError as error:
        error.about = operator.name
        raise


def probe(slot: Slot) -> dict[str, AffineRegion]:
    """What an output needs of each input that it asks at all, by the input's path in the operator."""
    operator = slot.operator
    assert operator is not None
    regions = list(dict.fromkeys(_regions(tuple(slot.meta.shape))))
    asked: dict[str, list[tuple[Bounds, Bounds]]] = {}
    for start, stop in regions:
        with _recorded(operator) as recorders:
            try:
                RoiRequest(slot, SubRegion(slot, start, stop)).wait()
            except Exception as error:
                raise UndeclaredRegionError(
                    f"{slot.path} does not tell which region of its inputs it needs, and fails when it is tried: "
                    f"{type(error).__name__}: {error}. {_WAYS_OUT}"
                ) from error
            for path, recorder in recorders.items():
                if recorder.asked is not None:
                    asked.setdefault(path, []).append(((start, stop), recorder.asked))
    found = {}
    for path, pairs in asked.items():
        shape = tuple(operator.slot_at(path).meta.shape)
        axes = [
            _explained([(out, (a[axis], b[axis])) for out, (a, b) in pairs], shape[axis])
            for axis in range(len(shape))
        ]
        known = [axis for axis in axes if axis is not None]
        if len(pairs) < len(regions) or len(known) < len(axes):
            listed = "; ".join(
                f"{out[0]}:{out[1]} needs {needed[0]}:{needed[1]}" for out, needed in pairs[:4]
            )
            raise UndeclaredRegionError(
                f"{slot.path} does not tell which region of {path} it needs, and no scale and margin explain what it "
                f"asks for ({listed}; ...). {_WAYS_OUT}"
            )
        found[path] = AffineRegion(tuple(known))
    return found


def _leaves(operator: Operator) -> Iterator[Slot]:
    for taken in operator.inputs.values():
        yield from (leaf for leaf in taken._leaves() if leaf.ready())


@contextmanager
def _recorded(operator: Operator) -> Iterator[dict[str, _Recorder]]:
    """The inputs of an operator that hold arrays, recording."""
    sources: dict[Slot, _Recorder] = {}
    recorders = {}
    for leaf in _leaves(operator):
        shape = leaf.meta.shape
        if leaf.rtype is SubRegion and shape is not None and math.prod(shape) > 1:
            recorders[leaf.path_in_operator] = sources.setdefault(leaf.source, _Recorder(leaf))
    values = {source: source._value for source in sources}
    try:
        for source, recorder in sources.items():
            source._value = recorder
        yield recorders
    finally:
        for source, value in values.items():
            source._value = value


def _regions(shape: tuple[int, ...]) -> Iterator[Bounds]:
    """Small regions: one in the middle, others moved along each axis and longer along each, and at odd places."""
    edges = [min(_EDGE, size) for size in shape]
    middles = [max(0, size // 2 - edge) for size, edge in zip(shape, edges, strict=True)]

    def region(start: Sequence[int], edge: Sequence[int]) -> Bounds:
        first = tuple(min(max(0, a), size - 1) for a, size in zip(start, shape, strict=True))
        last = tuple(min(a + b, size) for a, b, size in zip(first, edge, shape, strict=True))
        return first, last

    yield region(middles, edges)
    for axis, size in enumerate(shape):
        for moved in (1, 2, 3, -1, -4, size // 5):
            yield region([m + moved * (i == axis) for i, m in enumerate(middles)], edges)
        for longer in (1, 2, _LONGER):
            yield region(middles, [e + longer * (i == axis) for i, e in enumerate(edges)])
        yield region(middles, [1 if i == axis else e for i, e in enumerate(edges)])
    yield region([size // 3 for size in shape], edges)
    yield region([2 * size // 3 for size in shape], edges)
    yield (0,) * len(shape), tuple(min(2 * _EDGE, size) for size in shape)


def _explained(pairs: Sequence[tuple[Bounds, tuple[int, int]]], size: int) -> AxisMap | None:
    """The map that explains what is asked along one axis of an input of `size` voxels, or None.

    At the borders an operator may ask for less than the map says; for most regions it must be just that.
    """
    for candidate in _candidates(pairs):
        predicted = [(candidate.bounds(*out), needed) for out, needed in pairs]
        cut = [((max(0, low), min(size, high)), needed) for (low, high), needed in predicted]
        if all(
            needed in (bounds, within) for (bounds, needed), (within, _) in zip(predicted, cut, strict=True)
        ):
            exact = [sum(bounds[end] == needed[end] for bounds, needed in predicted) for end in (0, 1)]
            if min(exact) > len(pairs) // 2:
                return candidate
    return AxisMap(None, Fraction(0), 0, size) if size <= _SHORT else None


def _candidates(pairs: Sequence[tuple[Bounds, tuple[int, int]]]) -> Iterator[AxisMap]:
    dims = len(pairs[0][0][0])
    lows, highs = {low for _, (low, _) in pairs}, {high for _, (_, high) in pairs}
    if len(lows) == len(highs) == 1:
        yield AxisMap(None, Fraction(0), lows.pop(), highs.pop())
    inner = pairs[: max(1, len(pairs) - 1)]  # the last one is at the border
    scales = [Fraction(n) for n in range(1, 17)] + [Fraction(1, n) for n in range(2, 17)]
    for axis, scale, flip in itertools.product(range(dims), scales, (False, True)):
        plain = AxisMap(axis, scale, 0, 0, flip)
        margins = [
            (needed[0] - low, needed[1] - high) for out, needed in inner for low, high in [plain.bounds(*out)]
        ]
        # where the operator cuts what it asks at the border its margin looks smaller than it is
        yield AxisMap(axis, scale, min(low for low, _ in margins), max(high for _, high in margins), flip)
