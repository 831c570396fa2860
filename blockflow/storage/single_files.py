"""Arrays written into one file, HDF5 or `.npy`, block by block: an attempt that was ended is gone on with.

The voxels stand in the file in one piece, so its size and all that is around them are there from the beginning, and a
block is written where it belongs. The file is written beside its place, with a note of how many blocks are in it, and
renamed when it is whole.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np

from blockflow.errors import StorageError
from blockflow.storage.array import Array
from blockflow.storage.formats import format_of, lock_place, stored_at
from blockflow.storage.opening import array_stamp
from blockflow.storage.sidecar import sidecar_of
from blockflow.utility.files import read_json, write_json
from blockflow.utility.lease import Lease
from blockflow.utility.pathHelpers import PathComponents

__all__ = ["blocks_of_chunks", "write_single_file"]

#: bytes of a block that is copied at one time, unless the chunks of the source are larger
BLOCK_BYTES = 2**26


def write_single_file(source: Array, path: str, progress: Callable[[int, int], object] | None = None) -> int:
    """Write all of `source` to `FILE.h5/DATASET` or `FILE.npy`.

    Parameters
    ----------
    source : Array
    path : str
        The file must not be there.
    progress : callable, optional
        Called with the numbers of blocks that are done, and of all blocks.

    Returns
    -------
    int
        How many blocks an earlier attempt had done.

    Raises
    ------
    StorageError
        If the file is there, or the source cannot be read.
    LockedError
        If another process writes it.
    """
    target = stored_at(path)
    if target.exists():
        raise StorageError(f"{target}: there is something already. Choose another path, or remove it")
    target.parent.mkdir(parents=True, exist_ok=True)
    stamp = {"source": array_stamp(source.path), "path": path, "dtype": source.dtype.str}
    token = hashlib.sha256(json.dumps(stamp, sort_keys=True).encode()).hexdigest()[:16]
    partial = target.with_name(f".{target.name}.{token}.partial")
    note = partial.with_name(f"{partial.name}.json")
    with Lease(lock_place(path), f"array {path}"):
        if not (partial.exists() and note.exists()):
            begin = _make(partial, path, source)
            write_json(note, {"begin": begin, "blocks": 0})
        begin, done = (int(read_json(note)[key]) for key in ("begin", "blocks"))
        before = done
        voxels = np.memmap(partial, source.dtype, "r+", begin, source.shape)
        blocks = list(blocks_of_chunks(source.shape, source.chunks, source.dtype.itemsize))
        for number, block in enumerate(blocks[done:], start=done + 1):
            voxels[block] = source[block]
            voxels.flush()
            write_json(note, {"begin": begin, "blocks": number})
            if progress is not None:
                progress(number, len(blocks))
        del voxels
        if format_of(path) == "numpy":
            write_json(sidecar_of(path), source.metadata.attributes())
        partial.replace(target)
        note.unlink()
    return before


def _make(partial: Path, path: str, source: Array) -> int:
    """Make a file that has all but the voxels; returns where in it they begin."""
    if math.prod(source.shape) == 0:
        raise StorageError(f"{source.path}: the array has no voxels to be written to {path}")
    if format_of(path) == "numpy":
        with partial.open("wb") as file:
            np.lib.format.write_array_header_2_0(
                file,
                {"descr": source.dtype.str, "fortran_order": False, "shape": source.shape},
            )
            begin = file.tell()
            file.truncate(begin + math.prod(source.shape) * source.dtype.itemsize)
        return begin
    import h5py

    place = PathComponents(path)
    created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    created.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    created.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    created.set_layout(h5py.h5d.CONTIGUOUS)
    with h5py.File(partial, "w") as file:
        *groups, name = str(place.internalPath).strip("/").split("/")
        parent = file.require_group("/".join(groups)) if groups else file
        kind = h5py.h5t.py_create(source.dtype, logical=True)
        space = h5py.h5s.create_simple(source.shape)
        made = h5py.h5d.create(parent.id, name.encode(), kind, space, created)
        for key, value in source.metadata.attributes().items():
            h5py.Dataset(made).attrs[key] = value
        file.flush()
        return int(made.get_offset())


def blocks_of_chunks(
    shape: tuple[int, ...], chunks: tuple[int, ...], itemsize: int, most: int = BLOCK_BYTES
) -> Iterator[tuple[slice, ...]]:
    """Blocks that tile an array, in C order: whole chunks, as many as `most` bytes hold, but at least one."""
    block = [min(chunk, size) for chunk, size in zip(chunks, shape, strict=True)]
    for axis in reversed(range(len(shape))):
        others = math.prod(block) // block[axis] * itemsize
        times = max(1, most // (others * block[axis]))
        block[axis] = min(shape[axis], block[axis] * times)
    ranges = (range(0, size, step) for size, step in zip(shape, block, strict=True))
    for start in product(*ranges):
        yield tuple(
            slice(low, min(low + step, size)) for low, step, size in zip(start, block, shape, strict=True)
        )
