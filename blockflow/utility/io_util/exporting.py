"""Parts of a fileset, as one HDF5 file or as a fileset of its own."""

import logging
import operator
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from blockflow.errors import StorageError
from blockflow.utility.io_util.datasets import create_dataset
from blockflow.utility.jsonConfig import Namespace
from blockflow.utility.pathHelpers import PathComponents

if TYPE_CHECKING:
    from blockflow.utility.io_util.blockwiseFileset import BlockwiseFileset

__all__ = ["export_roi", "export_subset"]

logger = logging.getLogger(__name__)

Start = tuple[int, ...]


def export_roi(fileset: "BlockwiseFileset", roi: tuple[Start, Start], folder: Path) -> str:
    """Write `roi`, in voxels of the view, into one HDF5 file, block by block; returns its path and that in it."""
    import h5py

    layout = fileset.layout
    first, last = (tuple(map(operator.add, side, layout.view_origin)) for side in roi)
    place = PathComponents(f"{folder}/{layout.file_name(first, last)}{layout.dataset}")
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{place.filename}.{uuid.uuid4().hex}.partial"
    try:
        with h5py.File(aside, "w", locking=False) as file:
            shape = tuple(map(operator.sub, roi[1], roi[0]))
            create_dataset(file, str(place.internalPath), shape, fileset.description, None)
            dataset = file[place.internalPath]
            if fileset.description.dtype == object:
                raise StorageError(
                    f"{place.externalPath}: voxels that are objects cannot be exported to one file"
                )
            fileset.readData(roi, dataset)
        aside.replace(place.externalPath)
    finally:
        aside.unlink(missing_ok=True)
    return place.totalPath()


def export_subset(fileset: "BlockwiseFileset", roi: tuple[Start, Start], folder: Path) -> str:
    """Copy the blocks of `roi`, in voxels of the view, to a fileset in `folder`; returns its description's path."""
    layout = fileset.layout
    whole = map(operator.sub, layout.shape, layout.view_origin)
    wrong = [
        axis
        for axis, low, high, size, end in zip(layout.axes, *roi, layout.block_shape, whole, strict=True)
        if low % size or (high % size and high != end)
    ]
    if wrong:
        raise StorageError(
            f"{roi[0]} to {roi[1]} does not begin and end at borders of blocks of {layout.block_shape} voxels along "
            f"{', '.join(wrong)}; move it to such borders, or export it to one HDF5 file"
        )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / Path(layout.path).name
    from blockflow.utility.io_util.blockwiseFileset import BlockwiseFileset

    BlockwiseFileset.writeDescription(path, _description(fileset, path, roi[1]))
    there = BlockwiseFileset(path)
    for start in layout.starts(roi):
        old, new = Path(fileset.getDatasetDirectory(start)), Path(there.getDatasetDirectory(start))
        if new.exists():
            logger.info("%s: the block at %s is there already", path, start)
        elif fileset.getBlockStatus(start) == fileset.BLOCK_NOT_AVAILABLE:
            logger.info("%s: the block at %s is not available, so it is left out", layout.path, start)
        else:
            _copy_block(old, new, Path(layout.file(start)).name)
    return str(path)


def _description(fileset: "BlockwiseFileset", path: Path, stop: Start) -> Namespace:
    """The description of the export: the view ends where the region ends, or that of an export that is there."""
    from blockflow.utility.io_util.blockwiseFileset import BlockwiseFileset

    ours = fileset.description
    fields = {**vars(ours), "view_shape": np.array(stop), "hash_id": None}
    if path.exists():
        theirs = BlockwiseFileset(path).description
        for name in ("shape", "block_shape", "view_origin", "axes", "dtype", "block_file_name_format"):
            if not np.array_equal(getattr(theirs, name), getattr(ours, name)):
                raise StorageError(f"{path}: another fileset is there: its {name} is {getattr(theirs, name)}")
        fields["view_shape"] = np.maximum(theirs.view_shape, stop)
    return Namespace(fields)


def _copy_block(old: Path, new: Path, name: str) -> None:
    """Copy a published block so that it appears whole: its file in the end, and its status last."""
    aside = new.with_name(f".{new.name}.{uuid.uuid4().hex}.partial")
    aside.mkdir(parents=True)
    try:
        for entry in old.iterdir():
            if entry.suffix == ".json" or entry.name in (name, "STATUS.txt"):
                shutil.copyfile(entry, aside / entry.name)
        aside.rename(new)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
