"""HDF5 files that differ in their voxels alone.

A dataset that is neither chunked nor compressed stands in its file in one piece. So all such files of one shape, type
and name have the same bytes before and after their voxels. HDF5 makes them once, in memory; then a file is written,
and a file that begins with these very bytes is read, as bytes: at a fraction of the time, and by several threads at
once, while HDF5 lets one thread work at a time. Any other file is left to HDF5.
"""

import io
import math
import os
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from blockflow.utility.io_util.datasets import set_attributes

if TYPE_CHECKING:
    from blockflow.utility.jsonConfig import Namespace

__all__ = ["PlainFile", "PlainLayout", "plain_layout"]


#: bytes of voxels; HDF5 is as fast with larger ones, and to make the first takes its size in memory
LARGEST = 2**28


@dataclass(frozen=True)
class PlainLayout:
    """The bytes around the voxels."""

    head: bytes
    tail: bytes
    shape: tuple[int, ...]
    dtype: "np.dtype[Any]"

    def write(self, place: str, voxels: "np.ndarray[Any, Any]") -> None:
        """Write a file of these voxels."""
        with open(place, "wb") as file:  # noqa: PTH123
            file.write(self.head)
            file.write(np.ascontiguousarray(voxels, dtype=self.dtype).data.cast("B"))
            file.write(self.tail)

    def is_layout_of(self, file: int) -> bool:
        """Whether an open file begins as these do, and is as long."""
        size = len(self.head) + math.prod(self.shape) * self.dtype.itemsize + len(self.tail)
        return os.fstat(file).st_size == size and os.pread(file, len(self.head), 0) == self.head


class PlainFile:
    """An open file of a plain layout, sliced like a dataset."""

    def __init__(self, file: int, layout: PlainLayout) -> None:
        self._file = file
        self._layout = layout
        self.shape = layout.shape

    def __getitem__(self, slices: tuple[slice, ...]) -> "np.ndarray[Any, Any]":
        first, *others = slices
        rows = np.empty((first.stop - first.start, *self.shape[1:]), self._layout.dtype)
        at = len(self._layout.head) + first.start * math.prod(self.shape[1:]) * self._layout.dtype.itemsize
        left = rows.data.cast("B")
        while left:
            count = os.preadv(self._file, [left], at)
            if not count:
                raise OSError("the file ends before its voxels do")
            left, at = left[count:], at + count
        return rows[(slice(None), *others)]


def plain_layout(description: "Namespace", dataset: str, shape: tuple[int, ...]) -> PlainLayout | None:
    """The layout of a block of this shape; None where the description has no plain files, or very large ones."""
    dtype = description.dtype
    stored = description.chunks is not None or getattr(description, "compression", None) is not None
    if stored or dtype.kind not in "iuf" or math.prod(shape) * dtype.itemsize > LARGEST:
        return None
    drange = getattr(description, "drange", None)
    return _layout(dataset, shape, dtype.str, description.axes, drange and tuple(drange))


@lru_cache(maxsize=64)
def _layout(
    dataset: str, shape: tuple[int, ...], dtype: str, axes: str, drange: tuple[float, ...] | None
) -> PlainLayout:
    import h5py

    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        made = file.create_dataset(dataset, data=np.zeros(shape, dtype))
        set_attributes(made, axes, drange)
        begin = made.id.get_offset()
    end = begin + math.prod(shape) * np.dtype(dtype).itemsize
    return PlainLayout(image.getvalue()[:begin], image.getvalue()[end:], shape, np.dtype(dtype))
