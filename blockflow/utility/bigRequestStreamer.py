"""A large region of a slot, block by block: bounded memory, whatever its size."""

import logging
import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, Literal

import numpy as np

from blockflow.errors import RoiError
from blockflow.request import Request
from blockflow.roi import (
    determine_optimal_request_blockshape,
    is_fully_contained,
)
from blockflow.utility.orderedSignal import OrderedSignal
from blockflow.utility.roiRequestBatch import Bounds, RoiRequestBatch

__all__ = ["BigRequestStreamer", "blocks_of_roi", "choose_blockshape"]

logger = logging.getLogger(__name__)

#: bytes that all blocks that are computed at one time may take, where the block shape is ours to choose
MEMORY = 2**27

#: how much more than its result an operator is thought to need, where it does not say
_UNKNOWN = 4


class BigRequestStreamer:
    """Requests a region of a slot in blocks, `batchSize` at one time, and hands each result to whoever subscribed.

    Parameters
    ----------
    outputSlot : Slot
    roi : (start, stop)
        In voxels of the slot.
    blockshape : sequence of int, optional
        By default chosen from the slot's `ideal_blockshape`, `max_blockshape` and
        `ram_usage_per_requested_pixel`, so that all blocks of a batch fit in 128 MiB.
    batchSize : int, optional
        By default the number of workers of the thread pool.
    blockAlignment : {"absolute", "relative"}
        Blocks are those of a grid from the origin of the slot, clipped to the region; or of a grid from the
        region's start.
    allowParallelResults : bool
        Callbacks may run at the same time; by default one after another.

    Attributes
    ----------
    resultSignal, progressSignal : OrderedSignal
        As those of `RoiRequestBatch`: `callback(roi, result)`, `callback(percent)`.

    Raises
    ------
    RoiError
        If the region is none, or not within the slot.
    """

    def __init__(
        self,
        outputSlot: Any,
        roi: Bounds,
        blockshape: Sequence[int] | None = None,
        batchSize: int | None = None,
        blockAlignment: Literal["absolute", "relative"] = "absolute",
        allowParallelResults: bool = False,
    ) -> None:
        if blockAlignment not in ("absolute", "relative"):
            raise ValueError(f"blockAlignment is {blockAlignment!r}; valid are 'absolute' and 'relative'")
        if batchSize is not None and batchSize < 1:
            raise ValueError(f"batchSize is {batchSize}; give 1 or more, or None for the number of workers")
        shape = outputSlot.meta.shape
        roi = (tuple(map(int, roi[0])), tuple(map(int, roi[1])))
        if len(roi[0]) != len(shape) or len(roi[1]) != len(shape):
            raise RoiError(f"{roi[0]} to {roi[1]} is no region of {outputSlot!r}: it has {len(shape)} axes")
        if not is_fully_contained(roi, ((0,) * len(shape), shape)):
            raise RoiError(f"{roi[0]} to {roi[1]} is not within {outputSlot!r}")
        if batchSize is None:
            batchSize = max(1, Request.thread_pool().num_workers)
        if blockshape is None:
            blockshape = choose_blockshape(outputSlot.meta, roi, batchSize)
            logger.debug("blocks of %s", blockshape)
        self.blockshape = tuple(map(int, blockshape))
        origin = roi[0] if blockAlignment == "relative" else (0,) * len(shape)
        self._batch = RoiRequestBatch(
            outputSlot,
            blocks_of_roi(self.blockshape, roi, origin),
            math.prod(b - a for a, b in zip(*roi, strict=True)),
            batchSize,
            allowParallelResults,
        )

    @property
    def resultSignal(self) -> OrderedSignal:
        return self._batch.resultSignal

    @property
    def progressSignal(self) -> OrderedSignal:
        return self._batch.progressSignal

    def execute(self) -> None:
        """Do all blocks, in C order; returns when the last result was taken.

        Raises
        ------
        RoiRequestBatchException
            If a block or a callback raised. Then no further block is begun.
        """
        self._batch.execute()


def blocks_of_roi(blockshape: Sequence[int], roi: Bounds, origin: Sequence[int]) -> Iterator[Bounds]:
    """The blocks of a grid from `origin` that touch a region, clipped to it, in C order, one by one."""
    if len(blockshape) != len(roi[0]) or any(size < 1 for size in blockshape):
        raise RoiError(f"blockshape {tuple(blockshape)} must be {len(roi[0])} positive numbers")
    return _blocks(blockshape, roi, origin)


def _blocks(blockshape: Sequence[int], roi: Bounds, origin: Sequence[int]) -> Iterator[Bounds]:
    along = [
        [(max(low, a), min(low + size, b)) for low in range(o + (a - o) // size * size, b, size)]
        for a, b, o, size in zip(*roi, origin, blockshape, strict=True)
    ]
    if any(a >= b for a, b in zip(*roi, strict=True)):
        return
    for bounds in product(*along):
        start, stop = zip(*bounds, strict=True)
        yield start, stop


def choose_blockshape(meta: Any, roi: Bounds, batchSize: int, memory: int = MEMORY) -> tuple[int, ...]:
    """A block shape that suits a slot, of which `batchSize` fit in `memory` bytes.

    Where the slot names its axes, channels are never split and points in time never joined.
    """
    axes = meta.getAxisKeys() if meta.axistags is not None else [""] * len(meta.shape)
    size = tuple(b - a for a, b in zip(*roi, strict=True))
    largest = [
        min(extent, most or extent)
        for extent, most in zip(size, meta.max_blockshape or [None] * len(size), strict=True)
    ]
    largest = [1 if axis == "t" else extent for axis, extent in zip(axes, largest, strict=True)]
    ideal = list(meta.ideal_blockshape or [0] * len(size))
    channels = axes.index("c") if "c" in axes else None
    bytes_per_pixel = meta.ram_usage_per_requested_pixel
    if not bytes_per_pixel:
        itemsize = np.dtype(meta.dtype).itemsize
        bytes_per_pixel = _UNKNOWN * itemsize * (1 if channels is None else size[channels])
    kept = [axis for axis in range(len(size)) if axis != channels]
    shape = list(size)
    best = determine_optimal_request_blockshape(
        [max(1, largest[axis]) for axis in kept],
        [ideal[axis] for axis in kept],
        bytes_per_pixel,
        batchSize,
        memory,
    )
    for axis, extent in zip(kept, best, strict=True):
        shape[axis] = extent
    return tuple(max(1, extent) for extent in shape)
