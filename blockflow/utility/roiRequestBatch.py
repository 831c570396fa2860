"""Many regions of a slot, a few at a time: results go to a callback, and none of them stays."""

import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

from blockflow.errors import BlockflowError
from blockflow.request import CancellationException, Request, RequestLock, RequestPool
from blockflow.utility.orderedSignal import OrderedSignal

__all__ = ["RoiRequestBatch", "RoiRequestBatchException"]

Bounds = tuple[Sequence[int], Sequence[int]]


class RoiRequestBatchException(BlockflowError, RuntimeError):
    """A region could not be computed, or its result not be taken; `__cause__` is what was raised there."""

    def __init__(self, message: str, roi: Bounds) -> None:
        super().__init__(message)
        self.roi = roi


class RoiRequestBatch:
    """Requests regions of a slot, `batchSize` at one time, and hands each result to whoever subscribed.

    A region is asked for when one before it is done and its result was taken, so that never more than `batchSize`
    results are in memory. The regions may come from a generator; it is read as far as needed.

    Parameters
    ----------
    outputSlot : Slot
        Called as `slot(start, stop)`, it gives a request.
    roiIterator : iterable of (start, stop)
    totalVolume : int, optional
        Voxels of all regions together, for progress.
    batchSize : int
    allowParallelResults : bool
        Callbacks may run at the same time; by default one after another.

    Attributes
    ----------
    resultSignal : OrderedSignal
        Called as `callback(roi, result)`, in the order in which results are there.
    progressSignal : OrderedSignal
        Called as `callback(percent)`: 0 first, 100 last, and between them, if there is a `totalVolume`, each
        whole number once at most, growing.
    """

    def __init__(
        self,
        outputSlot: Any,
        roiIterator: Iterable[Bounds],
        totalVolume: int | None = None,
        batchSize: int = 2,
        allowParallelResults: bool = False,
    ) -> None:
        if batchSize < 1:
            raise ValueError(f"batchSize is {batchSize}; give 1 or more")
        self.resultSignal = OrderedSignal()
        self.progressSignal = OrderedSignal()
        self._slot = outputSlot
        self._rois: Iterator[Bounds] = iter(roiIterator)
        self._total = totalVolume
        self._batch_size = batchSize
        self._next_lock = threading.Lock()
        self._progress_lock = RequestLock()
        self._result_lock = nullcontext() if allowParallelResults else RequestLock()
        self._volume = 0
        self._percent = 0
        self._failed = False

    def execute(self) -> None:
        """Do all regions; returns when the last result was taken. The thread that calls works, too.

        Raises
        ------
        RoiRequestBatchException
            If a request or a callback raised; the message names the region. Then no further region is begun, and
            those that are on their way are cancelled.
        """
        self.progressSignal(0)
        pool = RequestPool(self._batch_size)
        for _ in range(self._batch_size):
            pool.add(Request(self._work))
        pool.wait()
        self.progressSignal(100)

    def _work(self) -> None:
        while (roi := self._next()) is not None:
            try:
                self._do(roi)
            except CancellationException:
                raise
            except Exception as error:
                self._failed = True
                start, stop = roi
                raise RoiRequestBatchException(
                    f"region {tuple(start)} to {tuple(stop)} of {self._slot!r}: {type(error).__name__}: {error}",
                    roi,
                ) from error

    def _next(self) -> Bounds | None:
        Request.raise_if_cancelled()
        with self._next_lock:
            return None if self._failed else next(self._rois, None)

    def _do(self, roi: Bounds) -> None:
        start, stop = roi
        result = self._slot(start, stop).wait()
        with self._result_lock:
            if self._failed:
                return
            try:
                self.resultSignal(roi, result)
            except Exception:
                self._failed = True  # before anybody else gets the lock
                raise
        if self._total:
            with self._progress_lock:
                self._volume += math.prod(b - a for a, b in zip(start, stop, strict=True))
                percent = min(99, 100 * self._volume // self._total)
                if percent > self._percent:
                    self._percent = percent
                    self.progressSignal(percent)
