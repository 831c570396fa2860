"""What is to be stored: a slot's data, in an array of its own."""

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from blockflow.errors import PlanError, StorageError
from blockflow.graph import Slot
from blockflow.graph.regions import required_regions
from blockflow.operators.grid import volume_of
from blockflow.storage import Array, ArraySpec
from blockflow.storage.metadata import VolumeMetadata

__all__ = ["Target", "spec_of", "storable_shape", "volume_of_slot"]

#: voxels of a chunk, where neither the target nor an input says how large one is
_CHUNK_VOXELS = 2**18

#: voxels of an array at most: more than a few petavoxels are a mistake
_MOST_VOXELS = 2**52


@dataclass(frozen=True)
class Target:
    """Where and how a slot's data are to be stored.

    Parameters
    ----------
    path : str
        The folder of the array; created if it is not there.
    name : str, optional
        Of the task that writes it; by default the path's last part without its ending.
    chunks, shards : sequence of int, optional
        In voxels, one number per axis. Chunks are by default those of the input, where it has as many axes.
    block_shape : sequence of int, optional
        What one block writes, in voxels, one number per axis; by default the planner's choice.
    fit : str
        `valid`, `overhang` or `shrink`: what to do where blocks do not tile the array.
    compressor, fill_value, zarr_format
        As for `ArraySpec`.
    num_workers, max_retries, timeout
        Of the task that writes it; as in a config.
    """

    path: str
    name: str | None = None
    chunks: tuple[int, ...] | None = None
    shards: tuple[int, ...] | None = None
    block_shape: tuple[int, ...] | None = None
    fit: str = "shrink"
    compressor: str = "auto"
    fill_value: float = 0
    zarr_format: int = 3
    num_workers: int | None = None
    max_retries: int = 2
    timeout: float | None = None

    @property
    def task_name(self) -> str:
        """What the task that writes it is called."""
        return self.name or Path(self.path).stem

    @classmethod
    def of(cls, given: "Target | str | os.PathLike[str]") -> "Target":
        """A target from itself, or from a path alone; the path is made absolute."""
        target = given if isinstance(given, Target) else cls(os.fspath(given))
        return replace(target, path=os.path.abspath(target.path))  # noqa: PTH100 (Path.absolute keeps `..`)


def volume_of_slot(slot: Slot) -> VolumeMetadata:
    """Where a slot's voxels lie: as its metadata say, else as an input of the same shape that its operator reads."""
    one: Slot | None = slot.source
    shape = tuple(slot.meta.shape)
    while one is not None and one.meta.voxel_size is None:
        one = _same_shape_upstream(one, shape)
    return volume_of((one or slot).meta, slot.path)


def _same_shape_upstream(slot: Slot, shape: tuple[int, ...]) -> Slot | None:
    if slot._value is not None or slot.operator is None or slot.is_input:
        return None
    needed = required_regions(slot, ((0,) * len(shape), shape))
    return next((source for source in needed if tuple(source.meta.shape) == shape), None)


def spec_of(slot: Slot, target: Target, like: Array | None) -> ArraySpec:
    """The description of the array that a slot's data are stored in; with the chunks of `like` where nothing is said.

    Raises
    ------
    PlanError
        If the slot is not ready, or has no data that can be stored.
    """
    shape = storable_shape(slot, target)
    try:
        metadata = volume_of_slot(slot)
        return ArraySpec(
            path=target.path,
            shape=shape,
            dtype=str(np.dtype(slot.meta.dtype)),
            metadata=metadata,
            chunks=target.chunks
            or target.shards
            or _chunks_like(shape, metadata, like)
            or _usual_chunks(shape),
            shards=target.shards,
            compressor=target.compressor,
            fill_value=target.fill_value,
            zarr_format=target.zarr_format,
        )
    except StorageError as error:
        raise PlanError(f"{slot.path} cannot be stored: {error}", target.task_name) from error


def storable_shape(slot: Slot, target: Target) -> tuple[int, ...]:
    """The shape of a slot that can be stored; PlanError for one that cannot."""
    about = target.task_name
    if slot.level:
        raise PlanError(f"{slot.path} is a list of slots; store one of them: {slot.name}[0]", about)
    if not slot.ready():
        raise PlanError(f"{slot.path} is not ready, so it cannot be stored: {_why_not_ready(slot)}", about)
    shape = tuple(int(size) for size in slot.meta.shape)
    if not all(shape):
        raise PlanError(f"{slot.path} has shape {shape}: there is nothing to be stored", about)
    if math.prod(shape) > _MOST_VOXELS:
        raise PlanError(
            f"{slot.path} has shape {shape}, {math.prod(shape):.1e} voxels: no array holds more than "
            f"{_MOST_VOXELS:.1e}. Is a width, a factor or a shape upstream of it right?",
            about,
        )
    return shape


def _why_not_ready(slot: Slot) -> str:
    """The first reason upstream: an operator's own, or an input that has nothing."""
    one: Slot | None = slot
    reasons: list[str] = []
    while one is not None:
        reason = one.meta.get("NOTREADY")
        if isinstance(reason, str):
            reasons.append(f"{one.path}: {reason}")
        if one.upstream_slot is not None:
            one = one.upstream_slot
        elif one.is_input or one.operator is None:
            reasons.append(f"{one.path} is neither connected nor has a value")
            one = None
        else:
            inputs = (leaf for taken in one.operator.inputs.values() for leaf in taken._leaves())
            one = next((leaf for leaf in inputs if not leaf.ready() and not leaf._optional), None)
    return reasons[-1] if reasons else "its operator says so"


def _chunks_like(
    shape: tuple[int, ...], metadata: VolumeMetadata, like: Array | None
) -> tuple[int, ...] | None:
    """The chunks of another array; where it has other channels, just along the axes of space, one channel in each."""
    if like is None:
        return None
    chunks = list(like.chunks)
    if len(chunks) != len(shape):
        theirs = [like.chunks[axis] for axis in like.metadata.spatial_axes]
        if len(theirs) != len(metadata.spatial_axes):
            return None
        chunks = [1] * len(shape)
        for axis, chunk in zip(metadata.spatial_axes, theirs, strict=True):
            chunks[axis] = chunk
    return tuple(min(chunk, size) for chunk, size in zip(chunks, shape, strict=True))


def _usual_chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    edge = max(1, round(_CHUNK_VOXELS ** (1 / len(shape))))
    chunks = [min(edge, size) for size in shape]
    for axis in reversed(range(len(shape))):  # what thin axes leave over goes to the others
        others = math.prod(chunks) // chunks[axis]
        chunks[axis] = max(chunks[axis], min(shape[axis], _CHUNK_VOXELS // max(1, others)))
    return tuple(chunks)
