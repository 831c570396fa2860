"""One number, or a few, of a whole volume: sum, mean, variance, least and greatest value, histogram, percentile."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from blockflow.errors import OperatorError
from blockflow.graph import InputSlot, MetaDict, OutputSlot, Slot, StagedOperator, StageGrid
from blockflow.operators.bases import slabs
from blockflow.operators.exact_sums import ExactSum
from blockflow.operators.filtering import inner_shape
from blockflow.operators.grey_values import pair
from blockflow.operators.order_statistics import (
    check_integers,
    least_value,
    occurrences,
    occurrences_bytes,
    percentiles,
    percentiles_bytes,
    value_counts,
)
from blockflow.operators.parameters import Parameter, at_least, number, whole
from blockflow.rtype import SubRegion

__all__ = [
    "OpHistogram",
    "OpMaximumValue",
    "OpMean",
    "OpMinimumValue",
    "OpPercentile",
    "OpStandardDeviation",
    "OpSum",
    "OpVariance",
    "Statistic",
]

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]


class Statistic(StagedOperator):
    """A statistic of the whole input, as an array of one axis. The order in which voxels are seen does not matter."""

    Input = InputSlot()
    Output = OutputSlot()

    #: dtypes, by their kinds, that there is such a statistic of
    kinds = "biuf"

    def result_meta(self) -> tuple[int, Any]:
        """How many numbers it has, and their dtype."""
        return 1, np.float64

    def setupOutputs(self) -> None:
        """A short array of one axis."""
        meta = self.Output.meta
        meta.assignFrom(MetaDict())
        dtype = np.dtype(self.Input.meta.dtype)
        if dtype.kind not in self.kinds:
            meta.NOTREADY = f"{self.name} has no meaning for {dtype}"
            return
        try:
            count, dtype = self.result_meta()
        except OperatorError as error:
            meta.NOTREADY = str(error)
            return
        meta.shape, meta.dtype = (count,), np.dtype(dtype).type
        meta.pop("NOTREADY", None)

    def requiredInputRoi(
        self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion
    ) -> Mapping[Slot, SubRegion]:
        """Nothing, once the pass is made."""
        return {}

    def block(self, grid: StageGrid, index: int) -> Array:
        """The data of a block."""
        data: Array = self.Input.get(SubRegion(self.Input, *grid.bounds(index))).wait()
        return data

    @abstractmethod
    def finish(self, merged: Arrays) -> Any:
        """The numbers, from what was merged."""

    def apply(
        self, slot: Slot, subindex: tuple[int, ...], roi: Any, result: Array, grid: StageGrid, merged: Arrays
    ) -> None:
        """The numbers."""
        result[...] = np.atleast_1d(self.finish(merged))[roi.toSlice()]


class Summed(Statistic):
    """Statistics of exact sums."""

    with_squares = False

    def measure(self, grid: StageGrid, index: int) -> Arrays:
        """The sum of a block, and of its squares."""
        return sums_of(self.block(grid, index), with_squares=self.with_squares)

    def merge(self, grid: StageGrid, results: Sequence[Arrays]) -> Arrays:
        """The sums of all blocks."""
        return merged_sums(grid, results)


def sums_of(data: Array, *, with_squares: bool) -> Arrays:
    """The exact sum of an array, and of its squares if they are wanted."""
    total, squares = ExactSum(), ExactSum()
    total.add(data)
    if with_squares:
        squares.add(data, squares=True)
    return _packed(total, squares)


def merged_sums(grid: StageGrid, results: Sequence[Arrays]) -> Arrays:
    """The exact sums of all blocks, and the number of their voxels."""
    total, squares = ExactSum(), ExactSum()
    for one in results:
        for sums, other in zip((total, squares), _unpacked(one), strict=True):
            sums.merge(other)
    return _packed(total, squares) | {"count": np.array([math.prod(grid.shape)], np.int64)}


def _packed(total: ExactSum, squares: ExactSum) -> dict[str, Array]:
    return {
        f"{name}_{key}": array
        for name, one in (("sum", total), ("squares", squares))
        for key, array in one.dump().items()
    }


def _unpacked(arrays: Arrays) -> tuple[ExactSum, ExactSum]:
    total, squares = (
        ExactSum.load({key: arrays[f"{name}_{key}"] for key in ("total", "special")})
        for name in ("sum", "squares")
    )
    return total, squares


def _float(value: Fraction | float) -> float:
    """Rounded once; infinite where it is beyond all floats."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def moments(arrays: Arrays) -> tuple[float, float]:
    """Mean and variance (of all voxels), each rounded once."""
    total, squares = _unpacked(arrays)
    count = int(arrays["count"][0])
    one, two = total.value(), squares.value(squares=True)
    mean = one / count if count else float("nan")
    if not isinstance(one, Fraction) or not isinstance(two, Fraction) or not count:
        return _float(mean), float("nan")
    return _float(mean), _float((two - one * one / count) / count)


class OpSum(Summed):
    """The sum of all voxels: exact for integers (int64, uint64 for unsigned ones), rounded once for floats (float64).

    An integer sum beyond 64 bits is an error. Against numpy, whose float sums are rounded at each step, the relative
    difference is below 1e-10 for sums without cancellation.
    """

    def result_meta(self) -> tuple[int, Any]:
        """One number."""
        kind = np.dtype(self.Input.meta.dtype).kind
        return 1, {"f": np.float64, "u": np.uint64}.get(kind, np.int64)

    def finish(self, merged: Arrays) -> Any:
        """The sum."""
        total, _ = _unpacked(merged)
        value = total.value()
        if self.Output.dtype.kind == "f":
            return _float(value)
        limits = np.iinfo(self.Output.dtype)
        if not limits.min <= value <= limits.max:
            raise OperatorError(f"{self.name}: the sum is {value}, which is no {self.Output.dtype}")
        return np.array([int(value)], self.Output.dtype)


class OpMean(Summed):
    """The mean of all voxels, as float64: the exact sum divided by their number, rounded once."""

    def finish(self, merged: Arrays) -> Any:
        """The mean."""
        return moments(merged)[0]


class OpVariance(Summed):
    """The variance of all voxels, as float64, rounded once: the mean of the squares minus the square of the mean.

    Divided by the number of voxels, as `numpy.var`.
    """

    with_squares = True

    def finish(self, merged: Arrays) -> Any:
        """The variance."""
        return moments(merged)[1]


class OpStandardDeviation(Summed):
    """The standard deviation of all voxels, as float64: the square root of the variance."""

    with_squares = True

    def finish(self, merged: Arrays) -> Any:
        """The square root."""
        return np.sqrt(moments(merged)[1])


class ExtremeValue(Statistic):
    """The least or greatest value; NaN is left out, unless there is nothing else."""

    function: np.ufunc

    def result_meta(self) -> tuple[int, Any]:
        """One number of the input's dtype."""
        if 0 in self.Input.meta.shape:
            raise OperatorError(f"{self.name}: the input has shape {self.Input.meta.shape}, and so no voxel")
        return 1, self.Input.meta.dtype

    def measure(self, grid: StageGrid, index: int) -> Arrays:
        """That of a block."""
        data = self.block(grid, index)
        return {"value": np.array([self.function.reduce(data, axis=None)], data.dtype)}

    def merge(self, grid: StageGrid, results: Sequence[Arrays]) -> Arrays:
        """That of all blocks."""
        return {"value": self.function.reduce(np.stack([one["value"] for one in results]))}

    def finish(self, merged: Arrays) -> Any:
        """The value."""
        return merged["value"]


class OpMinimumValue(ExtremeValue):
    """The least value of all voxels, in the dtype of the input. NaN is left out."""

    function = np.fmin


class OpMaximumValue(ExtremeValue):
    """The greatest value of all voxels, in the dtype of the input. NaN is left out."""

    function = np.fmax


class OpHistogram(Statistic):
    """How many voxels lie in each of `bins` bins of equal width between the two numbers of `range`, as int64.

    The last bin holds its upper end, too; what lies outside, and NaN, is not counted. Equal to `numpy.histogram`. The
    default range is one bin for each value of uint8 or int8, and the whole range of larger integers.
    """

    bins = Parameter(256, at_least(1, whole), "the number of bins")
    range = Parameter(
        None, pair, "[low, high]; default that of an integer dtype, needed for floats", optional=True
    )

    def limits(self) -> tuple[float, float]:
        """The range."""
        given = self.range.value
        if given is not None:
            low, high = given
            return low, high
        dtype = np.dtype(self.Input.meta.dtype)
        if dtype.kind == "b":
            return 0, 2
        if dtype.kind == "f":
            raise OperatorError(f"{self.range.path} is needed for {dtype}: [low, high]")
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max) + 1

    def result_meta(self) -> tuple[int, Any]:
        """Whole numbers."""
        self.limits()
        return self.bins.value, np.int64

    def measure(self, grid: StageGrid, index: int) -> Arrays:
        """The counts of a block."""
        data = self.block(grid, index)
        low, high = self.limits()
        if data.dtype.kind in "biu" and data.dtype.itemsize <= 2:
            each = value_counts(data)
            values = np.arange(len(each)) + least_value(data.dtype)
            found, _ = np.histogram(values, self.bins.value, (low, high), weights=each)
            return {"counts": found.astype(np.int64)}
        counts = np.zeros(self.bins.value, np.int64)
        for part in slabs(data.shape):
            values = data[part]
            values = values.view(np.uint8) if values.dtype == np.bool_ else values
            values = values[~np.isnan(values)] if values.dtype.kind == "f" else values
            counts += np.histogram(values, self.bins.value, (low, high))[0]
        return {"counts": counts}

    def merge(self, grid: StageGrid, results: Sequence[Arrays]) -> Arrays:
        """The counts of all blocks."""
        total = np.zeros(self.bins.value, np.int64)
        for one in results:
            total += one["counts"]
        return {"counts": total}

    def finish(self, merged: Arrays) -> Any:
        """The counts."""
        return merged["counts"]


class OpPercentile(Statistic):
    """A percentile of all voxels of an integer dtype, as float64: exactly that of `numpy.percentile`.

    Interpolated between the two values that are next to it, bit for bit as numpy does: in float64, so beyond 2^53 the
    two values, and what lies between, are rounded to float64. Two things differ: truth values count as 0 and 1, and
    where the two values are farther apart than the dtype holds, numpy's difference overflows and this one does not.
    A block of 8 or 16 bits leaves a count for each value; one of 32 or 64 bits its distinct values and their counts:
    for labels little, for noise as much as the block and half of it more.
    """

    percent = Parameter(50.0, at_least(0, number), "0 to 100; 50: the median")

    kinds = "biu"

    def result_meta(self) -> tuple[int, Any]:
        """One number."""
        check_integers(self.Input.meta, self.name)
        if self.percent.value > 100:
            raise OperatorError(f"{self.percent.path} is {self.percent.value}; give 0 to 100")
        return 1, np.float64

    def measure(self, grid: StageGrid, index: int) -> Arrays:
        """How often each value occurs in a block."""
        return occurrences(self.block(grid, index))

    def measure_bytes(self, roi: SubRegion) -> int:
        """Sorted values and their counts."""
        return occurrences_bytes(self.Input.dtype, inner_shape(roi))

    def merge(self, grid: StageGrid, results: Sequence[Arrays]) -> Arrays:
        """The percentile of all blocks together."""
        voxels = math.prod(grid.shape)
        return {"value": percentiles(self.Input.dtype, results, voxels, [self.percent.value])}

    def merge_bytes(self, grid: StageGrid) -> int:
        """The result of a block, and tables."""
        return percentiles_bytes(self.Input.dtype, grid.block_shape)

    def finish(self, merged: Arrays) -> Any:
        """The percentile."""
        return merged["value"]
