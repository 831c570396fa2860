"""Blocks as workers do them against the same region asked lazily: what `blockflow check` proves."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from funlib.geometry import Roi

from blockflow.errors import PlanError
from blockflow.graph import Operator, Slot, StagedOperator
from blockflow.graph.regions import Bounds, at_hand
from blockflow.graph.window import UndeclaredRegionError
from blockflow.planning import Draft
from blockflow.planning.part import ApplyPart
from blockflow.tasks import BlockGrid
from blockflow.tasks.graph_data import reference

__all__ = ["CheckedBlock", "check_blocks"]


@dataclass(frozen=True)
class CheckedBlock:
    """A block of an output, and how many of its voxels differ; the first one that does, in voxels of the array.

    `refused` is why it could not be computed as a worker does, where an operator asked for more than it told.
    """

    output: str
    bounds: Bounds
    different: int
    first: tuple[int, ...] | None
    operators: tuple[str, ...]
    refused: str | None = None

    @property
    def equal(self) -> bool:
        """Whether all voxels are the same."""
        return not self.different and self.refused is None

    def __str__(self) -> str:
        place = ", ".join(f"{a}:{b}" for a, b in zip(*self.bounds, strict=True))
        if self.equal:
            return f"{self.output} [{place}]: equal"
        if self.refused is not None:
            return f"{self.output} [{place}]: {self.refused}"
        return (
            f"{self.output} [{place}]: {self.different} voxels differ, the first at {self.first}. One of "
            f"{', '.join(self.operators)} reads farther than it says, or its result depends on the region that is asked"
        )


def check_blocks(draft: Draft, count: int, margin: int) -> Iterator[CheckedBlock]:
    """Compute blocks of each output as a worker does, and compare them with what its slot answers.

    Parameters
    ----------
    draft : Draft
    count : int
        Blocks of each output, those at its corners first.
    margin : int
        Voxels on each side that the lazy request has more than the block.

    Raises
    ------
    PlanError
        If the graph reads an array that is not there yet.
    """
    for array in {array.path for part in draft.parts for array in part.stored.values()}:
        made = any(output.array.path == array for output in draft.outputs)
        if not made and not Path(array).exists():
            raise PlanError(f"{array} is not there yet; run the task that writes it first")
    lazily, blockwise = draft.graph.build(windows=False), draft.graph.build(windows=True)
    for operator in draft.stages:
        output = reference(_first_output(operator), draft.names)
        _give_merged(output.of(lazily).source.operator, output.of(blockwise).source.operator)
    for part in draft.parts:
        if isinstance(part, ApplyPart):
            slot = reference(part.output.slot, draft.names)
            yield from _check_part(draft, part, (slot.of(lazily), slot.of(blockwise)), count, margin)


def _check_part(
    draft: Draft, part: ApplyPart, slots: tuple[Slot, Slot], count: int, margin: int
) -> Iterator[CheckedBlock]:
    lazily, blockwise = slots
    write = Roi(part.frame.roi.offset, draft.choices[part.name].shape)
    grid = BlockGrid(part.frame.roi, write, write, "shrink")
    operators = tuple(draft.names.get(one, one.name) for one in part.operators(part.frame.roi))
    for position in _positions(grid.shape, count):
        start, stop = part.frame.voxels_of(grid.write_roi_of(position))
        try:
            with at_hand({blockwise: (start, stop)}) as data:
                block = data[blockwise].copy()
        except UndeclaredRegionError as error:
            yield CheckedBlock(part.name, (start, stop), 0, None, operators, str(error))
            continue
        first = tuple(max(0, a - margin) for a in start)
        last = tuple(min(size, b + margin) for b, size in zip(stop, part.frame.shape, strict=True))
        region = np.asarray(lazily(start=first, stop=last).wait())
        inner = region[tuple(slice(a - low, b - low) for a, b, low in zip(start, stop, first, strict=True))]
        where = np.argwhere(~_same(block, inner))
        yield CheckedBlock(
            part.name,
            (start, stop),
            len(where),
            tuple(int(a + at) for a, at in zip(start, where[0], strict=True)) if len(where) else None,
            operators,
        )


def _same(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Where two arrays have the same bits, or both are no number."""
    same = one == other
    if one.dtype.kind in "fc":
        same |= np.isnan(one) & np.isnan(other)
    return np.asarray(same)


def _positions(shape: Sequence[int], count: int) -> list[tuple[int, ...]]:
    """Grid positions of blocks: the corners, the middle, and then others, evenly."""
    corners = itertools.product(*(sorted({0, size - 1}) for size in shape))
    found = dict.fromkeys([*corners, tuple(size // 2 for size in shape)])
    total = int(np.prod([int(size) for size in shape], dtype=object))
    for number in range(min(count, total)):
        index = number * total // min(count, total)
        found.setdefault(tuple(int(at) for at in np.unravel_index(index, tuple(map(int, shape)))))
    return list(found)[:count]


def _first_output(operator: Operator) -> Slot:
    return next(leaf for slot in operator.outputs.values() for leaf in slot._leaves())


def _give_merged(live: Operator | None, built: Operator | None) -> None:
    assert isinstance(live, StagedOperator)
    assert isinstance(built, StagedOperator)
    built.give_merged(*live.merged_lazily())
