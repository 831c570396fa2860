"""Blocks that read more than an inner one: those at the border, where an operator reads around the array.

Most operators read less at the border, where their context is cut, so that an inner block takes most. A filter in mode
`wrap` reads all of an axis there. All blocks must fit the memory that a plan projects, and count in what it reads.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from funlib.geometry import Coordinate, Roi

from blockflow.graph import Slot
from blockflow.planning.part import BlockCost, Part, PassPart
from blockflow.planning.target import volume_of_slot

__all__ = ["Places", "as_inner_blocks", "most_memory", "reads_around"]

#: along an axis, so many blocks at either end are looked at, and so many between
_AT_ENDS, _BETWEEN = 16, 8

#: a block by its position along each axis
Position = tuple[int, ...]

#: by axis and edge of a block: where along the axis the blocks are that read most
Places = dict[tuple[int, int], list[int]]

#: the shape of what a block reads or computes of each slot
Shapes = dict[Slot, tuple[int, ...]]


def reads_around(part: Part) -> list[str]:
    """The names of the operators of a part that read around the array."""
    return [one.name for one in part.operators(part.frame.roi) if one.reads_around()]


def most_memory(part: Part, shape: Coordinate, inner: Roi, known: Places) -> int:
    """The memory of the block that takes most, of a part that reads around the array.

    What is read along an axis follows from where the block is along that axis, and from its edge there. So it is enough
    to look along each axis by itself, once for an edge (`known`), and to combine the blocks of which no other one
    reads as much of everything.
    """
    blocks = _Blocks(part, shape, inner)
    for axis, edge in enumerate(shape):
        if (axis, edge) not in known:
            known[axis, edge] = blocks.largest(axis)
    largest = (known[axis, edge] for axis, edge in enumerate(shape))
    return max(blocks.cost(position).memory for position in itertools.product(*largest))


def as_inner_blocks(part: Part, shape: Coordinate, inner: Roi, of: Callable[[BlockCost], int]) -> float:
    """As how many inner blocks all blocks count, by a figure of their cost, of a part that reads around the array.

    The figure of a block is taken for that of the inner one times a factor for its place along each axis.
    """
    blocks = _Blocks(part, shape, inner)
    usual = of(blocks.cost(blocks.middle))
    if not usual:
        return float(math.prod(map(blocks.count, range(shape.dims))))
    along = (
        sum(of(blocks.cost(position)) * weight for position, weight in blocks.along(axis)) / usual
        for axis in range(shape.dims)
    )
    return math.prod(along)


class _Blocks:
    """The blocks of a part, by their positions."""

    def __init__(self, part: Part, shape: Coordinate, inner: Roi) -> None:
        self.part = replace(part, write_shape=shape) if isinstance(part, PassPart) else part
        self.roi, self.shape = part.frame.roi, shape
        self.slots = [step.slot for step in part.walk(self.roi)]
        self.middle: Position = tuple(int(at) for at in (inner.offset - self.roi.offset) / shape)

    def block(self, position: Position) -> Roi:
        return Roi(self.roi.offset + Coordinate(position) * self.shape, self.shape).intersect(self.roi)

    def cost(self, position: Position) -> BlockCost:
        return self.part.cost(self.block(position))

    def shapes(self, position: Position) -> Shapes:
        return {
            step.slot: tuple(b - a for a, b in zip(step.start, step.stop, strict=True))
            for step in self.part.walk(self.block(position))
        }

    def count(self, axis: int) -> int:
        """How many blocks there are along an axis."""
        return int(-(-self.roi.shape[axis] // self.shape[axis]))

    def along(self, axis: int) -> Iterator[tuple[Position, float]]:
        """Blocks along an axis, in the middle of all others, and for how many each stands: one near a border."""
        count = self.count(axis)
        ends = {*range(min(count, _AT_ENDS)), *range(max(0, count - _AT_ENDS), count), *self.at_borders(axis)}
        between = set(range(0, count, max(1, count // _BETWEEN))) - ends
        for place in sorted(ends | between):
            weight = 1.0 if place in ends else (count - len(ends)) / len(between)
            yield (*self.middle[:axis], place, *self.middle[axis + 1 :]), weight

    def at_borders(self, axis: int) -> set[int]:
        """Where along an axis the blocks are in which something read or computed ends: in the middle, if padded."""
        about, count = self.part.frame.metadata, self.count(axis)
        edge = self.shape[axis] / self.part.frame.voxel_size[axis] * about.voxel_size[axis]
        found = set()
        for slot in self.slots:
            volume = volume_of_slot(slot)
            if len(volume.offset) == len(about.offset):
                size = slot.meta.shape[volume.spatial_axes[axis]] * volume.voxel_size[axis]
                for border in (volume.offset[axis], volume.offset[axis] + size):
                    place = math.floor((border - about.offset[axis]) / edge)
                    # rounded, so those beside it; and the same on the other side, should the slot be flipped
                    found |= {at for near in (-1, 0, 1) for at in (place + near, count - 1 - place + near)}
        return {place for place in found if 0 <= place < count}

    def largest(self, axis: int) -> list[int]:
        """Places along an axis of blocks that no other one reads as much as, of everything."""
        found: list[tuple[Position, Shapes]] = []
        for position, _ in self.along(axis):
            shapes = self.shapes(position)
            if not any(_as_much(known, shapes) for _, known in found):
                found = [one for one in found if not _as_much(shapes, one[1])] + [(position, shapes)]
        return [position[axis] for position, _ in found]


def _as_much(one: Shapes, other: Shapes) -> bool:
    """Whether `one` is of each slot at least as large."""
    nothing: Sequence[int] = (0,) * 32
    return all(
        size <= known
        for slot, sizes in other.items()
        for size, known in zip(sizes, one.get(slot, nothing), strict=False)
    )
