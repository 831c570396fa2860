"""Where the blocks of a fileset are: in its view, and on disk."""

import operator
from collections.abc import Iterator, Sequence

from blockflow.errors import RoiError
from blockflow.roi import roiFromShape, roiToSlice
from blockflow.utility.bigRequestStreamer import blocks_of_roi
from blockflow.utility.io_util.description import folder_of
from blockflow.utility.jsonConfig import Namespace
from blockflow.utility.pathHelpers import PathComponents

__all__ = ["Bounds", "FilesetLayout", "Start", "within"]

Bounds = tuple[Sequence[int], Sequence[int]]
Start = tuple[int, ...]


class FilesetLayout:
    """The blocks of a fileset. Regions and starts are in voxels of the view, paths say those on disk.

    Parameters
    ----------
    path : str
        Of the description, from whose folder the blocks are found; it begins messages.
    description : Namespace
        Complete.
    """

    def __init__(self, path: str, description: Namespace) -> None:
        self.path = path
        self.root = f"{folder_of(path)}/{description.dataset_root_dir}".removesuffix("/.")
        self.axes: str = description.axes
        self.shape: Start = tuple(description.shape.tolist())
        self.block_shape: Start = tuple(description.block_shape.tolist())
        self.view_origin: Start = tuple(description.view_origin.tolist())
        self.view_shape: Start = tuple(description.view_shape.tolist())
        place = PathComponents(description.block_file_name_format)
        self._file_format = place.filename
        self.dataset = str(place.internalPath)

    @property
    def view(self) -> Bounds:
        """All of the view."""
        return roiFromShape(self.view_shape)

    def file(self, start: Start) -> str:
        """The path of a block's file."""
        first = tuple(map(operator.add, start, self.view_origin))
        last = map(min, map(operator.add, first, self.block_shape), self.shape)
        name = self.file_name(first, tuple(last))
        folders = "/".join(f"{axis}_{begin:08d}" for axis, begin in zip(self.axes, first, strict=True))
        return f"{self.root}/{folders}/{name}"

    def file_name(self, first: Start, last: Start) -> str:
        """The name of a file with the voxels from `first` to `last`, on disk."""
        return self._file_format.format(roiString=f"({list(first)}, {list(last)})")

    def disk_shape(self, start: Start) -> Start:
        """The shape of a block on disk, which the view may cut."""
        first = map(operator.add, start, self.view_origin)
        return tuple(
            min(size, end - begin)
            for begin, size, end in zip(first, self.block_shape, self.shape, strict=True)
        )

    def starts(self, roi: Bounds) -> Iterator[Start]:
        """The starts of all blocks that a region touches, in C order."""
        for part in self.parts(roi):
            yield self.block_of(part[0])

    def parts(self, roi: Bounds) -> Iterator[Bounds]:
        """What each block has of a region, in C order."""
        return blocks_of_roi(self.block_shape, roi, (0,) * len(self.shape))

    def block_of(self, voxel: Sequence[int]) -> Start:
        """The start of the block that a voxel is in."""
        return tuple(at // size * size for at, size in zip(voxel, self.block_shape, strict=True))

    def checked(self, roi: Bounds) -> tuple[Start, Start]:
        """A region as ints. RoiError if it is none, is empty, or is not within the view."""
        start, stop = (tuple(map(operator.index, side)) for side in roi)
        if len(start) != len(self.shape) or len(stop) != len(self.shape):
            raise RoiError(f"{self.path}: {start} to {stop} is no region of {len(self.shape)} axes")
        if any(a >= b for a, b in zip(start, stop, strict=True)):
            raise RoiError(f"{self.path}: {start} to {stop} has no voxels")
        if min(start) < 0 or any(b > size for b, size in zip(stop, self.view_shape, strict=True)):
            raise RoiError(
                f"{self.path}: {start} to {stop} is not within the view of {self.view_shape} voxels"
            )
        return start, stop

    def checked_start(self, block_start: Sequence[int]) -> Start:
        """A block's start as ints. RoiError if no block of the view starts there."""
        start = tuple(map(operator.index, block_start))
        if len(start) != len(self.shape) or any(
            a % size for a, size in zip(start, self.block_shape, strict=True)
        ):
            raise RoiError(f"{self.path}: no block of {self.block_shape} voxels starts at {start}")
        if min(start) < 0 or any(a >= size for a, size in zip(start, self.view_shape, strict=True)):
            raise RoiError(
                f"{self.path}: the block at {start} is not within the view of {self.view_shape} voxels"
            )
        return start

    def to_view(self, roi: Bounds, use_view_coordinates: bool) -> tuple[Start, Start]:
        """A region of the view, given in its voxels or in those on disk; checked."""
        if use_view_coordinates:
            return self.checked(roi)
        start, stop = (tuple(map(operator.sub, side, self.view_origin)) for side in roi)
        return self.checked((start, stop))


def within(roi: Bounds, origin: Sequence[int]) -> tuple[slice, ...]:
    """The slicing of a region in an array that begins at `origin`."""
    return roiToSlice(tuple(map(operator.sub, roi[0], origin)), tuple(map(operator.sub, roi[1], origin)))
