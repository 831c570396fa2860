"""What ready-made operators are made from: one output, computed region by region from inputs and parameters."""

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from blockflow.errors import OperatorError
from blockflow.graph import InputSlot, MetaDict, Operator, OutputSlot, Slot
from blockflow.operators.grid import carried, same_grid
from blockflow.operators.parameters import Parameter
from blockflow.rtype import SubRegion

__all__ = [
    "ArrayOperator",
    "LocalOperator",
    "MappedOperator",
    "Region",
    "copied_bytes",
    "copy_along_axes",
    "is_number",
    "is_single",
    "slab_voxels",
    "slabs",
    "voxels",
]

Array = np.ndarray[Any, Any]

#: start and stop, in voxels
Region = tuple[Sequence[int], Sequence[int]]


def voxels(roi: Any) -> int:
    """How many voxels a region has."""
    return math.prod(b - a for a, b in zip(roi.start, roi.stop, strict=True))


def is_number(slot: Slot) -> bool:
    """Whether a plain number, not an array, was set on the slot that an input takes its data from."""
    return slot.meta.dtype in (int, float, bool)


def is_single(slot: Slot) -> bool:
    """Whether an input is a number, or an array of one, that is used for every voxel."""
    return bool(slot.meta.shape == (1,))


#: voxels of a slab
_SLAB = 2**17


def _slab_rows(shape: Sequence[int]) -> int:
    return max(1, _SLAB // max(1, math.prod(shape[1:])))


def slabs(shape: Sequence[int]) -> Iterator[slice]:
    """Parts of an array along its first axis, so that what is computed in between stays small."""
    rows = _slab_rows(shape)
    return (slice(row, row + rows) for row in range(0, shape[0], rows))


def slab_voxels(shape: Sequence[int]) -> int:
    """How many voxels the largest of the `slabs` of an array has."""
    return min(_slab_rows(shape), shape[0]) * math.prod(shape[1:])


def copy_along_axes(data: Array, places: Sequence[Array], result: Array) -> None:
    """Fill `result` with the voxels of `data` at the given places along each axis, one axis after the other."""
    for axis in range(data.ndim - 1, 0, -1):
        data = np.take(data, places[axis], axis)
    for row, place in enumerate(places[0].tolist()):
        result[row] = data[place]


def copied_bytes(shape: Sequence[int], inner: Sequence[int], itemsize: int) -> int:
    """What `copy_along_axes` takes: data of `shape` becoming those of shape `inner`."""
    current, most, before = list(shape), 0, 0
    for axis in range(len(shape) - 1, 0, -1):
        current[axis] = inner[axis]
        made = math.prod(current)
        most = max(most, before + made)
        before = made
    return most * itemsize


class ArrayOperator(Operator):
    """An operator with one output, `Output`; inputs are data or parameters.

    A subclass says what the output looks like (`describe`), computes (`execute`), and tells which region of it a
    change concerns (`dirtied`). A description that fails with OperatorError leaves the output not ready, with the
    reason: inputs that change one after the other may not fit together for a moment.
    """

    Output = OutputSlot()

    @abstractmethod
    def describe(self) -> MetaDict:
        """The metadata of the output. OperatorError if there is none for these inputs."""

    @abstractmethod
    def dirtied(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> Region | None:
        """The region of the output that a region of an input concerns; clipped by who asks."""

    def data_inputs(self) -> list[Slot]:
        """The inputs that hold data: slots or, of lists of slots, each slot of the list."""
        return [
            leaf
            for slot in self.inputs.values()
            if not isinstance(slot, Parameter)
            for leaf in slot._leaves()
            if leaf.ready()
        ]

    def setupOutputs(self) -> None:
        """The output as `describe` says, or not ready with the reason."""
        meta = self.Output.meta
        try:
            meta.assignFrom(self.describe())
        except OperatorError as error:
            meta.assignFrom(MetaDict())
            meta.NOTREADY = str(error)

    def propagateDirty(self, slot: Slot, subindex: tuple[int, ...], roi: Any) -> None:
        """What `dirtied` says; all of the output for a parameter."""
        if isinstance(slot, Parameter) or not isinstance(roi, SubRegion) or not self.Output.ready():
            self.Output.setDirty()
            return
        region = self.dirtied(slot, subindex, roi)
        if region is None:
            return
        shape = self.Output.meta.shape
        start = [min(max(a, 0), size) for a, size in zip(region[0], shape, strict=True)]
        stop = [min(max(b, 0), size) for b, size in zip(region[1], shape, strict=True)]
        if all(a < b for a, b in zip(start, stop, strict=True)):
            self.Output.setDirty(start, stop)


class LocalOperator(ArrayOperator):
    """Each voxel of the output follows from the same place of the inputs, and `context` voxels around it.

    All data inputs have one shape, or are single numbers. A subclass defines `compute` and, for a neighbourhood,
    `context`. Where a region of an input reaches the border of the array it ends there, and nowhere else: a boundary
    mode that takes effect at the ends of what it is given gives the same as on the whole.
    """

    def context(self) -> Sequence[tuple[int, int]] | None:
        """Voxels before and after, for each axis; None: no neighbours are needed."""
        return None

    def output_dtype(self, *dtypes: Any) -> Any:
        """The dtype of the output: that which the inputs promote to, unless a subclass knows better.

        Of an input that is a number, it gets that number.
        """
        return np.result_type(*dtypes)

    @abstractmethod
    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> Array | None:
        """Fill `result`, or return another array.

        Parameters
        ----------
        result : ndarray
            Of the region that is asked for.
        core : tuple of slice
            Where that region lies in the data, which hold its context too.
        data : ndarray or number
            One for each data input.
        """

    def main_input(self) -> Slot:
        """The data input that the output takes its shape from: the first that is no number."""
        inputs = self.data_inputs()
        return next((slot for slot in inputs if not is_single(slot)), inputs[0])

    def describe(self) -> MetaDict:
        """As the inputs, which must have one shape and lie at one place."""
        inputs = self.data_inputs()
        main = self.main_input()
        arrays = {slot.name: slot.meta for slot in inputs if not is_single(slot)}
        shapes = {name: meta.shape for name, meta in arrays.items()}
        if len(set(shapes.values())) > 1:
            listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise OperatorError(f"its inputs must have one shape, these have {listed}")
        same_grid(arrays)
        self.context()
        dtypes = [slot.value if is_number(slot) else np.dtype(slot.meta.dtype) for slot in inputs]
        try:
            dtype = np.dtype(self.output_dtype(*dtypes))
        except (TypeError, OverflowError) as error:
            raise OperatorError(f"it cannot work with {', '.join(map(str, dtypes))}: {error}") from None
        return carried(main.meta, dtype=dtype.type if dtype.isnative else dtype)

    def requiredInputRoi(
        self,
        slot: Slot,
        subindex: tuple[int, ...],
        roi: SubRegion,
    ) -> Mapping[Slot, SubRegion]:
        """The same region of each data input, and its context."""
        start, stop = self._with_context(roi)
        return {
            one: SubRegion(one, (0,), (1,)) if is_single(one) else SubRegion(one, start, stop)
            for one in self.data_inputs()
        }

    def _with_context(self, roi: SubRegion) -> Region:
        context = self.context()
        if context is None:
            return roi.start, roi.stop
        return (
            [a - before for a, (before, _) in zip(roi.start, context, strict=True)],
            [b + after for b, (_, after) in zip(roi.stop, context, strict=True)],
        )

    def read_region(self, roi: SubRegion) -> Region:
        """What is read of each input for a region of the output: with context, clipped to the array."""
        start, stop = self._with_context(roi)
        shape = self.main_input().meta.shape
        return [max(a, 0) for a in start], [min(b, size) for b, size in zip(stop, shape, strict=True)]

    def read_shape(self, roi: SubRegion) -> tuple[int, ...]:
        """The shape of `read_region`."""
        start, stop = self.read_region(roi)
        return tuple(b - a for a, b in zip(start, stop, strict=True))

    def dirtied(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> Region | None:
        """The region, and every voxel that has it in its context."""
        one = slot[subindex] if subindex else slot
        if is_single(one) and one is not self.main_input():
            shape = self.Output.meta.shape
            return [0] * len(shape), shape
        context = self.context() or [(0, 0)] * roi.dim
        return (
            [a - after for a, (_, after) in zip(roi.start, context, strict=True)],
            [b + before for b, (before, _) in zip(roi.stop, context, strict=True)],
        )

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion, result: Array) -> Any:
        """`compute`, with the data that it needs."""
        start, stop = self.read_region(roi)

        def region(one: Slot) -> SubRegion:
            return SubRegion(one, (0,), (1,)) if is_single(one) else SubRegion(one, start, stop)

        data = [one.value if is_number(one) else one.get(region(one)).wait() for one in self.data_inputs()]
        core = tuple(slice(a - low, b - low) for a, b, low in zip(roi.start, roi.stop, start, strict=True))
        return self.compute(result, core, *data)


class MappedOperator(ArrayOperator):
    """Operators whose output has other voxels than the input: `source` says from which region each one comes."""

    Input = InputSlot()

    @abstractmethod
    def source(self, roi: SubRegion) -> Region:
        """The region of the input that a region of the output needs; it may reach outside of it."""

    def requiredInputRoi(
        self,
        slot: Slot,
        subindex: tuple[int, ...],
        roi: SubRegion,
    ) -> Mapping[Slot, SubRegion]:
        """What `source` says."""
        return {self.Input: SubRegion(self.Input, *self.source(roi))}

    def read_region(self, roi: SubRegion) -> Region:
        """`source`, clipped to the input."""
        start, stop = self.source(roi)
        shape = self.Input.meta.shape
        return (
            [min(max(a, 0), size) for a, size in zip(start, shape, strict=True)],
            [max(min(b, size), 0) for b, size in zip(stop, shape, strict=True)],
        )
