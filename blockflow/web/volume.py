"""What is served: an array or a slot as a volume, read by region."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from blockflow.errors import StorageError
from blockflow.storage import Array, VolumeMetadata

if TYPE_CHECKING:
    from blockflow.graph import Slot

__all__ = ["ServedVolume", "chunk_shape", "volume_of_array", "volume_of_slot"]

Start = tuple[int, ...]

#: bytes of a chunk of a served volume, at most
CHUNK_BYTES = 2**22

_DEFAULT_EDGE = 64


@dataclass(frozen=True)
class ServedVolume:
    """A volume that is read by region: `read(start, stop)`, in voxels, from several threads at once."""

    name: str
    shape: Start
    dtype: "np.dtype[Any]"
    chunks: Start
    metadata: VolumeMetadata
    read: Callable[[Start, Start], "np.ndarray[Any, Any]"]

    def letters(self) -> str | None:
        """The axes as letters of `txyzc`, or None if they cannot be named so."""
        names = [name.removesuffix("^") for name in self.metadata.axis_names]
        letters = [
            "c" if kind == "channel" else "t" if kind == "time" else name
            for name, kind in zip(names, self.metadata.types, strict=True)
        ]
        known = len(set(letters)) == len(letters) and {"x", "y", "z"} <= set(letters) <= set("txyzc")
        return "".join(letters) if known else None


def volume_of_array(name: str, array: Array) -> ServedVolume:
    """A stored array."""

    def read(start: Start, stop: Start) -> "np.ndarray[Any, Any]":
        return array[tuple(map(slice, start, stop))]

    chunks = chunk_shape(array.shape, array.chunks, array.dtype.itemsize)
    return ServedVolume(name, array.shape, array.dtype, chunks, array.metadata, read)


def volume_of_slot(name: str, slot: "Slot", metadata: VolumeMetadata) -> ServedVolume:
    """A slot of a graph, computed when it is read. StorageError if it is not ready, or has no voxels."""
    if not slot.ready():
        reason = slot.meta.NOTREADY
        raise StorageError(f"{name}: the slot is not ready{f': {reason}' if isinstance(reason, str) else ''}")
    dtype = np.dtype(slot.meta.dtype)
    if dtype.kind not in "biufc":
        raise StorageError(f"{name}: the slot has {dtype}, none of numbers or booleans, and cannot be served")

    def read(start: Start, stop: Start) -> "np.ndarray[Any, Any]":
        return np.asarray(slot(start, stop).wait())

    ideal = slot.meta.ideal_blockshape or (0,) * len(slot.meta.shape)
    wanted = tuple(size or _DEFAULT_EDGE for size in ideal)
    chunks = chunk_shape(slot.meta.shape, wanted, dtype.itemsize)
    return ServedVolume(name, slot.meta.shape, dtype, chunks, metadata, read)


def chunk_shape(shape: Start, wanted: Start, itemsize: int, most: int = CHUNK_BYTES) -> Start:
    """The wanted shape, within the volume, with its longest axes halved until it has at most `most` bytes."""
    chunk = [max(1, min(size, one)) for size, one in zip(shape, wanted, strict=True)]
    while math.prod(chunk) * itemsize > most and max(chunk) > 1:
        longest = chunk.index(max(chunk))
        chunk[longest] = -(-chunk[longest] // 2)
    return tuple(chunk)
