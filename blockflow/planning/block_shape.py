"""Which block shape a task gets: whole write units, within memory, and the least time by a simple model.

The model counts what a block costs whatever its size, the bytes it decodes and encodes, the voxels it computes, and the
memory that each worker touches for the first time.
Its constants are rough; what they decide is how much context may be read and computed again before larger blocks,
or fewer of them, are better. They were chosen on one machine, see `benchmarks/planning.md`.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from funlib.geometry import Coordinate, Roi

from blockflow.errors import PlanError
from blockflow.planning.border_blocks import Places, most_memory, reads_around
from blockflow.planning.part import BlockCost, Part
from blockflow.utility.quantity import format_bytes

__all__ = ["Choice", "choose_block_shape", "inner_block"]

#: seconds: of a block whatever its size, of a byte that is decoded or encoded, of a unit of work (`BlockCost`), and of
#: a byte that a worker holds at its peak, since the system zeroes what it hands out
_PER_BLOCK, _PER_BYTE_READ, _PER_BYTE_WRITTEN, _PER_WORK, _PER_BYTE_HELD = 5e-3, 0.8e-9, 3e-9, 0.32e-9, 1e-9

#: blocks per worker that a plan gives if it can, so that the last ones do not keep all others waiting
_BLOCKS_PER_WORKER = 4

#: a block shape of the plan before is called slow if another one takes so much less: seconds, and a factor
_MUCH_LESS_SECONDS, _MUCH_LESS = 2.0, 1.5

#: blocks along an axis, in write units, that are tried
_MULTIPLES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256)


@dataclass(frozen=True)
class Choice:
    """A block shape in lattice units, and what an inner block of it costs; the memory is that of any block.

    `better` is one that would take clearly less time, where this one was kept from the plan before.
    """

    shape: Coordinate
    blocks: int
    cost: BlockCost
    seconds: float
    better: "Choice | None" = None


def choose_block_shape(
    part: Part,
    unit: Coordinate,
    num_workers: int,
    memory: int,
    wanted: Coordinate | None = None,
    before: Coordinate | None = None,
) -> Choice:
    """The block shape for a part of a graph, in lattice units.

    Parameters
    ----------
    part : Part
    unit : Coordinate
        Blocks are multiples of it, or all of an axis.
    num_workers : int
    memory : int
        Bytes that a worker may hold beyond its start.
    wanted : Coordinate, optional
        The shape to use; refused where it cannot be.
    before : Coordinate, optional
        The shape of the plan before: kept where it can be, so that blocks that are done stay done.

    Raises
    ------
    PlanError
        If no block, or not the one that is wanted, fits; with the nearest that does.
    """
    extent = part.frame.roi.shape
    around = bool(reads_around(part))
    places: Places = {}

    @cache
    def weigh(shape: Coordinate) -> Choice:
        blocks = math.prod(-(-size // edge) for size, edge in zip(extent, shape, strict=True))
        inner = inner_block(part.frame.roi, shape)
        cost = part.cost(inner)
        if around:
            cost = replace(cost, memory=max(cost.memory, most_memory(part, shape, inner, places)))
        context = _context(part, inner)
        return Choice(shape, blocks, cost, _seconds(cost, blocks, extent, shape, context, num_workers))

    def fits(choice: Choice) -> bool:
        return choice.cost.memory <= memory

    if wanted is not None:
        return _check_wanted(part, unit, extent, weigh(_clip(wanted, extent)), fits, memory)
    smallest = weigh(unit)
    if not fits(smallest):
        raise PlanError(
            f"{part.name}: even its smallest block, {_voxels(part, unit)} voxels, needs "
            f"{format_bytes(smallest.cost.memory)} beyond the worker's start, and there are "
            f"{format_bytes(memory)}. Give more memory, or smaller chunks{_cure(part)}",
            part.about,
        )
    best = _climb(smallest, unit, extent, weigh, fits, num_workers)
    if before is None or len(before) != len(unit) or not _of_whole_units(_clip(before, extent), unit, extent):
        return best
    kept = weigh(_clip(before, extent))
    if not fits(kept):
        return best
    is_slow = kept.seconds - best.seconds > _MUCH_LESS_SECONDS and kept.seconds > _MUCH_LESS * best.seconds
    return replace(kept, better=best) if is_slow else kept


def _of_whole_units(shape: Coordinate, unit: Coordinate, extent: Coordinate) -> bool:
    return all(size % edge == 0 or size == most for size, edge, most in zip(shape, unit, extent, strict=True))


def _climb(
    best: Choice,
    unit: Coordinate,
    extent: Coordinate,
    weigh: Callable[[Coordinate], Choice],
    fits: Callable[[Choice], bool],
    num_workers: int,
) -> Choice:
    """From the smallest block on, always to the best of those that are a step larger or smaller along some axes."""
    ladders = [_ladder(size, edge) for size, edge in zip(extent, unit, strict=True)]

    def rank(choice: Choice) -> tuple[bool, float]:
        whole = math.prod(size / edge for size, edge in zip(extent, choice.shape, strict=True))
        return whole < _BLOCKS_PER_WORKER * num_workers, choice.seconds

    places = [0] * len(ladders)
    while True:
        found = None
        for moves in itertools.product((-1, 0, 1), repeat=len(ladders)):
            moved = [place + move for place, move in zip(places, moves, strict=True)]
            if not all(0 <= place < len(ladder) for place, ladder in zip(moved, ladders, strict=True)):
                continue
            choice = weigh(Coordinate(ladder[place] for ladder, place in zip(ladders, moved, strict=True)))
            if fits(choice) and rank(choice) < rank(found[0] if found else best):
                found = choice, moved
        if found is None:
            return best
        best, places = found


def _ladder(extent: int, unit: int) -> list[int]:
    """Sizes along an axis that are tried."""
    count = -(-extent // unit)
    return sorted({min(unit * multiple, extent) for multiple in (*_MULTIPLES, count) if multiple <= count})


def _context(part: Part, write_roi: Roi) -> Coordinate:
    """How much farther than it writes a block reads, along each axis."""
    wider = [
        roi.shape - write_roi.shape
        for roi in part.read_rois(write_roi).values()
        if roi.dims == write_roi.dims
    ]
    return Coordinate(max(0, *along) for along in zip(*wider, strict=True)) if wider else write_roi.shape * 0


def _seconds(
    cost: BlockCost, blocks: int, extent: Coordinate, shape: Coordinate, context: Coordinate, num_workers: int
) -> float:
    """What all blocks take, by the model: those at the end are smaller, but for their context."""
    each = _PER_BYTE_READ * cost.bytes_read + _PER_BYTE_WRITTEN * cost.bytes_written + _PER_WORK * cost.work
    whole = 1.0
    for size, edge, more in zip(extent, shape, context, strict=True):
        count, rest = divmod(size, edge)
        whole *= count + ((rest + more) / (edge + more) if rest else 0)
    full: int = math.prod(size // edge for size, edge in zip(extent, shape, strict=True))
    evenly = (_PER_BLOCK * blocks + each * whole) / num_workers
    rounds: float = -(-full // num_workers) * (_PER_BLOCK + each)
    return max(evenly, rounds) + _PER_BYTE_HELD * cost.memory


def inner_block(roi: Roi, shape: Coordinate) -> Roi:
    """The block in the middle: as few as possible of its borders are those of the array."""
    counts = [-(-size // edge) for size, edge in zip(roi.shape, shape, strict=True)]
    middle = [
        max(0, min(count // 2, size // edge - 1))
        for count, size, edge in zip(counts, roi.shape, shape, strict=True)
    ]
    return Roi(roi.offset + Coordinate(middle) * shape, shape).intersect(roi)


def _clip(shape: Coordinate, extent: Coordinate) -> Coordinate:
    return Coordinate(min(size, most) for size, most in zip(shape, extent, strict=True))


def _check_wanted(
    part: Part,
    unit: Coordinate,
    extent: Coordinate,
    choice: Choice,
    fits: Callable[[Choice], bool],
    memory: int,
) -> Choice:
    shape = choice.shape
    if not _of_whole_units(shape, unit, extent):
        nearest = Coordinate(
            min(most, max(1, round(size / edge)) * edge)
            for size, edge, most in zip(shape, unit, extent, strict=True)
        )
        raise PlanError(
            f"{part.name}: blocks of {_voxels(part, shape)} voxels would share write units of an output, which are "
            f"{_voxels(part, unit)}, and lose each other's voxels. The nearest good block_shape is "
            f"{_voxels(part, nearest)}",
            part.about,
        )
    if not fits(choice):
        raise PlanError(
            f"{part.name}: blocks of {_voxels(part, shape)} voxels need {format_bytes(choice.cost.memory)} beyond the "
            f"worker's start, and there are {format_bytes(memory)}. Give a smaller block_shape, or auto{_cure(part)}",
            part.about,
        )
    return choice


def _cure(part: Part) -> str:
    around = reads_around(part)
    if not around:
        return ""
    return (
        f"; or another boundary mode: {', '.join(around)} reads all of each axis that it goes around, in a corner the "
        "whole array (`axes` says along which it runs)"
    )


def _voxels(part: Part, shape: Coordinate) -> list[int]:
    return [int(size) for size in shape / part.frame.voxel_size]
