"""Operators that pass data on: unchanged, a region of it, in whole blocks, with other metadata."""

from collections.abc import Hashable, Mapping
from functools import partial
from typing import Any

import numpy as np

from blockflow.errors import OperatorError
from blockflow.graph import InputSlot, MetaDict, Operator, OutputSlot, Slot
from blockflow.operators.bases import ArrayOperator, Region
from blockflow.operators.blocked_caching import pieces
from blockflow.operators.parameters import Parameter, at_least, each, or_none, text, whole
from blockflow.operators.placing import Cropping
from blockflow.request import Request, RequestPool
from blockflow.rtype import SubRegion
from blockflow.stype import Opaque

__all__ = [
    "OpArrayPiper",
    "OpMetadataInjector",
    "OpMetadataSelector",
    "OpSplitRequestsBlockwise",
    "OpSubRegion",
]

Array = np.ndarray[Any, Any]


class OpArrayPiper(ArrayOperator):
    """The output is the input."""

    Input = InputSlot()

    parallel_inputs = False

    def describe(self) -> MetaDict:
        """As the input."""
        return self.Input.meta

    def requiredInputRoi(
        self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion
    ) -> Mapping[Slot, SubRegion]:
        """The region."""
        return {self.Input: SubRegion(self.Input, roi.start, roi.stop)}

    def dirtied(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> Region:
        """The region."""
        return roi.start, roi.stop

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion, result: Array) -> Any:
        """The input's data, straight into the result."""
        return self.Input.get(SubRegion(self.Input, roi.start, roi.stop)).writeInto(result).wait()

    def setInSlot(self, slot: Slot, subindex: tuple[int, ...], roi: Any, value: Any) -> None:
        """Nothing is kept here."""


class OpSplitRequestsBlockwise(OpArrayPiper):
    """Asks its input for no more than one block of `BlockShape` at a time, several at once.

    Parameters
    ----------
    always_request_full_blocks : bool
        Ask for whole blocks, as a cache upstream may want it, and cut what is not needed; else only for the parts of
        them that are needed.
    """

    BlockShape = Parameter(
        None, each(or_none(at_least(0, whole))), "voxels for each axis, 0 or None for all of it"
    )

    def __init__(self, always_request_full_blocks: bool = True, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._whole = always_request_full_blocks

    def describe(self) -> MetaDict:
        """As the input, with the block shape as the ideal one."""
        meta = self.Input.meta.copy()
        given = self.BlockShape.value
        sizes = given if isinstance(given, tuple) else (given,) * len(meta.shape)
        if len(sizes) != len(meta.shape):
            raise OperatorError(f"BlockShape is {given}, but the input has shape {meta.shape}")
        self._blocks = tuple(
            max(1, min(size or length, length)) for size, length in zip(sizes, meta.shape, strict=True)
        )
        meta.ideal_blockshape = self._blocks
        return meta

    def requiredInputRoi(
        self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion
    ) -> Mapping[Slot, SubRegion]:
        """The region, or the whole blocks that it touches."""
        if not self._whole:
            return super().requiredInputRoi(slot, subindex, roi)
        start = [a // size * size for a, size in zip(roi.start, self._blocks, strict=True)]
        stop = [-(-b // size) * size for b, size in zip(roi.stop, self._blocks, strict=True)]
        return {self.Input: SubRegion(self.Input, start, stop)}

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion, result: Array) -> None:
        """Block by block."""
        with RequestPool() as pool:
            for key, inner, outer in pieces(self._blocks, roi.start, roi.stop):
                pool.add(Request(partial(self._fill, result, roi, key, inner, outer)))

    def _fill(
        self, result: Array, roi: SubRegion, key: Hashable, inner: tuple[slice, ...], outer: tuple[slice, ...]
    ) -> None:
        if not self._whole:
            start = [a + part.start for a, part in zip(roi.start, outer, strict=True)]
            stop = [a + part.stop for a, part in zip(roi.start, outer, strict=True)]
            self.Input.get(SubRegion(self.Input, start, stop)).writeInto(result[outer]).wait()
            return
        low = [i * size for i, size in zip(key, self._blocks, strict=True)]  # type: ignore[call-overload]
        high = [min(a + b, size) for a, b, size in zip(low, self._blocks, self.Input.meta.shape, strict=True)]
        result[outer] = self.Input.get(SubRegion(self.Input, low, high)).wait()[inner]


def _two_corners(value: Any, where: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    try:
        start, stop = (tuple(int(one) for one in corner) for corner in value)
    except (TypeError, ValueError):
        raise OperatorError(
            f"{where} is {value!r}; give (start, stop), each a number for each axis"
        ) from None
    if len(start) != len(stop):
        raise OperatorError(f"{where}: start {start} and stop {stop} differ in length")
    return start, stop


class OpSubRegion(Cropping):
    """A part of the input: `Roi` is (start, stop), in voxels. The offset moves with it."""

    Roi = Parameter(None, _two_corners, "start and stop, each with a number for each axis")

    def bounds(self) -> Region:
        """`Roi`, which must lie within the input."""
        start, stop = self.Roi.value
        shape = self.Input.meta.shape
        if len(start) != len(shape) or not all(
            0 <= a < b <= size for a, b, size in zip(start, stop, shape, strict=False)
        ):
            raise OperatorError(
                f"{self.Roi.path} is {start} to {stop}, which is no part of the shape {shape}"
            )
        return start, stop


class OpMetadataInjector(OpArrayPiper):
    """The output is the input, with other or more metadata: those of the dict `Metadata`."""

    Metadata = Parameter(None, None, "a dict of metadata fields")

    def describe(self) -> MetaDict:
        """As the input, and what was given."""
        meta = self.Input.meta.copy()
        for name, value in self.Metadata.value.items():
            meta[name] = value
        return meta


class OpMetadataSelector(Operator):
    """One field of the metadata of its input, as a value."""

    Input = InputSlot()
    MetadataKey = Parameter(None, text, "the name of the field")

    Output = OutputSlot(stype=Opaque)

    def setupOutputs(self) -> None:
        """A value; not ready where there is no such field."""
        self.Output.meta.shape, self.Output.meta.dtype = (1,), object
        key = self.MetadataKey.value
        missing = key not in self.Input.meta
        self.Output.meta.NOTREADY = f"the metadata of its input have no {key!r}" if missing else None
        value = self.Input.meta.get(key)
        if not missing and value != self._value_before:
            self._value_before = value
            self.Output.setDirty()

    _value_before: Any = None

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: Any, result: Any) -> Any:
        """The field."""
        return self.Input.meta[self.MetadataKey.value]

    def propagateDirty(self, slot: Slot, subindex: tuple[int, ...], roi: Any) -> None:
        """Data are not metadata; another key is another value."""
        if slot is self.MetadataKey:
            self.Output.setDirty()
