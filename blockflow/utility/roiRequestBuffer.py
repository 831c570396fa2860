"""A slot slice by slice, in order, computed a few slices ahead of whoever reads them."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from blockflow.errors import RoiError
from blockflow.utility.bigRequestStreamer import blocks_of_roi
from blockflow.utility.orderedSignal import OrderedSignal
from blockflow.utility.roiRequestBatch import Bounds

if TYPE_CHECKING:
    from blockflow.request import Request

__all__ = ["RoiRequestBufferIter"]


class RoiRequestBufferIter:
    """Iterates over the slices of a slot: one position of the iterated axes each, all of the other axes.

    At most `batchsize` slices are computed or waiting to be read at one time; while one is read, the next are
    computed. An iterator that is left early, or fails, cancels what it has begun. Each `iter()` starts anew.

    Parameters
    ----------
    slot : Slot
    batchsize : int
    iterate_axes : str or sequence
        Names of axes, as the slot's `meta.axistags` has them, or their numbers; axes that the slot does not have
        are passed over.
    roi : (start, stop), optional
        By default all of the slot.

    Attributes
    ----------
    progress_signal : OrderedSignal
        Called as `callback(percent)` after each slice.
    """

    def __init__(
        self, slot: Any, batchsize: int, iterate_axes: Sequence[str | int], roi: Bounds | None = None
    ) -> None:
        if batchsize < 1:
            raise ValueError(f"batchsize is {batchsize}; give 1 or more")
        shape = slot.meta.shape
        names = slot.meta.getAxisKeys() if slot.meta.axistags is not None else []
        numbers = [axis for axis in iterate_axes if isinstance(axis, int)]
        if any(not 0 <= axis < len(shape) for axis in numbers):
            raise RoiError(f"axes {numbers} are not all axes of {slot!r}, which has {len(shape)}")
        if not names and len(numbers) < len(iterate_axes):
            raise RoiError(f"{slot!r} does not name its axes; give numbers instead of {iterate_axes!r}")
        iterated = {*numbers, *(names.index(axis) for axis in iterate_axes if axis in names)}
        self._slot = slot
        self._batchsize = batchsize
        self._roi: Bounds = roi or ((0,) * len(shape), tuple(shape))
        self._blockshape = [
            1 if axis in iterated else max(1, b - a)
            for axis, (a, b) in enumerate(zip(*self._roi, strict=True))
        ]
        self.progress_signal = OrderedSignal()

    def __len__(self) -> int:
        """The number of slices."""
        length = 1
        for a, b, size in zip(*self._roi, self._blockshape, strict=True):
            length *= -(-(b - a) // size)
        return length

    def __iter__(self) -> Iterator[Any]:
        """The slices, in C order."""
        rois = blocks_of_roi(self._blockshape, self._roi, self._roi[0])
        begun: deque[Request[Any]] = deque()
        done = 0
        try:
            while True:
                while len(begun) < self._batchsize and (roi := next(rois, None)) is not None:
                    begun.append(self._slot(*roi).submit())
                if not begun:
                    return
                slice_ = begun.popleft().wait()
                done += 1
                self.progress_signal(100 * done // len(self))
                yield slice_
                del slice_
        finally:
            for request in begun:
                request._cancel()
