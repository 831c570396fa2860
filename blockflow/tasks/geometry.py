"""How a total ROI is cut into blocks: the grid that Daisy walks, as arithmetic.

The read and the write ROI are templates: the first block's read ROI starts where the total ROI starts, and
blocks step by the shape of the write ROI. The total ROI includes the context.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from funlib.geometry import Coordinate, Roi

from blockflow.errors import TaskError

__all__ = ["FITS", "BlockGrid"]

FITS = ("valid", "overhang", "shrink")

#: what is beyond is no 64-bit number once it is added up
_FARTHEST = 2**62


@dataclass(frozen=True)
class BlockGrid:
    """The blocks of a task.

    Parameters
    ----------
    total_roi, read_roi, write_roi : Roi
        In lattice units, each with the same number of axes; the write ROI within the read ROI.
    fit : str
        `valid` leaves out blocks whose read ROI would leave the total ROI; `overhang` keeps all blocks that
        write within it, even if they leave it; `shrink` keeps them too and cuts them at its border, with
        their context as it was.

    Raises
    ------
    TaskError
        If the arguments make no grid, or a grid without blocks.
    """

    total_roi: Roi
    read_roi: Roi
    write_roi: Roi
    fit: str

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise TaskError(f"fit is {self.fit!r}; valid are {', '.join(FITS)}")
        dims = {"total": self.total_roi.dims, "read": self.read_roi.dims, "write": self.write_roi.dims}
        if len(set(dims.values())) != 1:
            raise TaskError(
                "total, read and write ROI must have the same number of axes, they have "
                + ", ".join(f"{name} {count}" for name, count in dims.items())
            )
        if not dims["total"]:
            raise TaskError("the total, read and write ROI must have at least one axis")
        for name, roi in (("total", self.total_roi), ("read", self.read_roi), ("write", self.write_roi)):
            if roi.unbounded or roi.empty or any(value is None for value in roi.offset):
                raise TaskError(
                    f"the {name} ROI {roi} must have a place and a size of at least 1 along each axis"
                )
            if any(abs(edge) > _FARTHEST for edge in (*roi.begin, *roi.end)):
                raise TaskError(f"the {name} ROI {roi} is farther out than {_FARTHEST} lattice units")
        if not self.read_roi.contains(self.write_roi):
            raise TaskError(
                f"the write ROI {self.write_roi} must lie within the read ROI {self.read_roi}. "
                "Grow the read ROI or shrink the write ROI"
            )
        if not all(self.shape):
            raise TaskError(
                f"zero blocks: the total ROI {self.total_roi} has no room for "
                + (
                    f"one read ROI of shape {self.read_roi.shape}. Use fit 'shrink' or 'overhang', or smaller blocks"
                    if self.fit == "valid"
                    else f"anything but the context {self.context[0]} and {self.context[1]}. "
                    "The total ROI includes the context: grow it by that much"
                )
            )

    @cached_property
    def context(self) -> tuple[Coordinate, Coordinate]:
        """The read ROI's margin around the write ROI, before and behind."""
        return self.write_roi.begin - self.read_roi.begin, self.read_roi.end - self.write_roi.end

    @cached_property
    def origin(self) -> Coordinate:
        """Where the first block's write ROI begins."""
        return self.total_roi.begin + self.context[0]

    @cached_property
    def writable(self) -> Roi:
        """The total ROI without its context: all that the blocks could write without leaving it."""
        return self.total_roi.grow(-self.context[0], -self.context[1])

    @cached_property
    def shape(self) -> Coordinate:
        """How many blocks along each axis."""
        room = self.total_roi.shape - self.context[0] - self.context[1]
        counts = zip(room, self.write_roi.shape, strict=True)
        if self.fit == "valid":
            return Coordinate(max(have // step, 0) for have, step in counts)
        return Coordinate(max(-(-have // step), 0) for have, step in counts)

    @property
    def number_of_blocks(self) -> int:
        return math.prod(self.shape)

    @property
    def covered(self) -> Roi:
        """The union of all write ROIs."""
        whole = Roi(self.origin, self.shape * self.write_roi.shape)
        return whole.intersect(self.writable) if self.fit == "shrink" else whole

    @property
    def unprocessed(self) -> int:
        """How many lattice points of the writable ROI no block writes."""
        missed = math.prod(self.writable.shape) - math.prod(self.covered.intersect(self.writable).shape)
        return int(missed)

    def write_roi_of(self, position: Sequence[int]) -> Roi:
        """The write ROI of the block at a grid position."""
        roi = Roi(self.origin + Coordinate(position) * self.write_roi.shape, self.write_roi.shape)
        return roi.intersect(self.writable) if self.fit == "shrink" else roi

    def read_roi_of(self, position: Sequence[int]) -> Roi:
        """The read ROI of the block at a grid position: its write ROI with the context."""
        return self.write_roi_of(position).grow(*self.context)

    def index_of(self, write_begin: Sequence[int]) -> int:
        """The number of a block, counted in C order, from where its write ROI begins."""
        index = 0
        for begin, (origin, step, count) in zip(write_begin, self._steps, strict=True):
            index = index * count + (begin - origin) // step
        return index

    def position_of(self, index: int) -> tuple[int, ...]:
        """The grid position of the block with this number."""
        position = []
        for count in reversed(self.shape):
            index, along = divmod(index, count)
            position.append(along)
        return tuple(reversed(position))

    def __iter__(self) -> Iterator[tuple[Roi, Roi]]:
        """Read and write ROI of each block, in the order of their numbers."""
        for index in range(self.number_of_blocks):
            position = self.position_of(index)
            yield self.read_roi_of(position), self.write_roi_of(position)

    @cached_property
    def _steps(self) -> list[tuple[int, int, int]]:
        return list(zip(self.origin, self.write_roi.shape, self.shape, strict=True))

    def to_json(self) -> dict[str, Any]:
        """The grid as JSON data; `from_json` is its inverse."""
        return {
            name: {"offset": list(roi.offset), "shape": list(roi.shape)}
            for name, roi in (
                ("total_roi", self.total_roi),
                ("read_roi", self.read_roi),
                ("write_roi", self.write_roi),
            )
        } | {"fit": self.fit}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "BlockGrid":
        """The grid that `to_json` described."""
        total, read, write = (
            Roi(data[name]["offset"], data[name]["shape"]) for name in ("total_roi", "read_roi", "write_roi")
        )
        return cls(total, read, write, data["fit"])
