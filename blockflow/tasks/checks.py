"""What must hold between the blocks of a task and the arrays that it reads and writes."""

import os
from pathlib import Path

from funlib.geometry import Coordinate, Roi

from blockflow.errors import StorageError, TaskError
from blockflow.storage import Array
from blockflow.storage.formats import format_of, is_output, stored_at
from blockflow.tasks.geometry import BlockGrid

__all__ = ["check_coverage", "check_number", "check_on_voxels", "check_writable", "check_write_units"]

#: how many blocks a task may have: about each of them a few bytes are kept in memory and on disk
_MOST_BLOCKS = 2_000_000_000


def check_number(grid: BlockGrid) -> None:
    if grid.number_of_blocks > _MOST_BLOCKS:
        raise TaskError(
            f"{grid.number_of_blocks} blocks ({' x '.join(map(str, grid.shape))}) are more than the {_MOST_BLOCKS} "
            f"that one task may have. Give larger write ROIs than {grid.write_roi.shape}, or a smaller total ROI"
        )


def check_on_voxels(grid: BlockGrid, array: Array, template: Roi, within: Roi) -> None:
    """Every block's read (or write) ROI must begin and end on voxel borders of an array it reads (or writes).

    `within` is what the first of these ROIs begins, and what those that fit 'shrink' cuts end.
    """
    if array.roi.dims != grid.total_roi.dims:
        raise TaskError(f"the ROIs have {grid.total_roi.dims} axes, but {array.path} has {array.roi.dims}")
    edges = [within.begin - array.offset, template.shape, grid.write_roi.shape]
    if grid.fit == "shrink":
        edges.append(within.end - array.offset)
    if any(value % size for edge in edges for value, size in zip(edge, array.voxel_size, strict=True)):
        raise TaskError(
            f"blocks of shape {template.shape} from {within.begin} on are off the voxels of "
            f"{array.path} (offset {array.offset}, voxel size {array.voxel_size}; lattice steps of {array.lattice}). "
            "Move the ROIs to whole voxels"
        )


def check_coverage(grid: BlockGrid, name: str, array: Array) -> None:
    if grid.fit != "overhang" and not array.roi.contains(grid.covered):
        raise TaskError(
            f"the blocks write {grid.covered}, but output {name!r} ({array.path}) covers only {array.roi}. "
            f"Make the total ROI at most {array.roi.grow(*grid.context)} (it includes the context), or use fit "
            "'overhang', which cuts off what lies beyond"
        )
    if not array.roi.intersects(grid.covered):
        raise TaskError(
            f"the blocks write {grid.covered}, and output {name!r} ({array.path}) covers {array.roi}: they do not meet"
        )


def check_write_units(grid: BlockGrid, name: str, array: Array) -> None:
    """No two blocks may touch one write unit, or each would lose what the other wrote there."""
    unit = array.spatial_write_unit
    shape = grid.write_roi.shape
    shared = [
        axis
        for axis in range(unit.dims)
        if grid.shape[axis] > 1
        and (shape[axis] % unit[axis] or (grid.origin[axis] - array.offset[axis]) % unit[axis])
    ]
    if not shared:
        return
    safe = Coordinate(
        max(1, round(shape[axis] / unit[axis])) * unit[axis] if axis in shared else shape[axis]
        for axis in range(unit.dims)
    )
    kind = "shard" if getattr(array.data, "shards", None) else "chunk"
    start = Coordinate(
        begin + (-(begin - offset)) % size
        for begin, offset, size in zip(grid.origin, array.offset, unit, strict=True)
    )
    raise TaskError(
        f"blocks that write {shape} from {grid.origin} on would share {kind}s of output {name!r} ({array.path}), whose "
        f"{kind}s are {unit} from {array.offset} on, and lose each other's voxels. The nearest safe write ROI has "
        f"shape {safe}"
        + (f" and begins at {start}" if start != grid.origin else "")
        + f"; or store the output in {kind}s that divide the blocks"
    )


def check_writable(name: str, path: str) -> None:
    if not is_output(path):
        raise StorageError(
            f"output {name!r} ({path}): blocks write zarr arrays and filesets (.json), since one file cannot be "
            "written by several workers. Write to one of these, then make this of it by `blockflow array convert`"
        )
    place = stored_at(path).parent if format_of(path) == "described" else Path(path)
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise StorageError(f"output {name!r} ({path}): {place} is a file, so no array can be made there")
    if not os.access(place, os.W_OK):
        raise StorageError(f"output {name!r} ({path}): {place} is read-only for you")
