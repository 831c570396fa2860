"""Grey values brought to a common range, by what is found out of the whole volume first."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from blockflow.errors import OperatorError
from blockflow.graph import InputSlot, MetaDict, OutputSlot, Slot, StagedOperator, StageGrid
from blockflow.operators.bases import slab_voxels, slabs
from blockflow.operators.filtering import inner_shape
from blockflow.operators.grid import carried
from blockflow.operators.order_statistics import (
    check_integers,
    occurrences,
    occurrences_bytes,
    percentiles,
    percentiles_bytes,
)
from blockflow.operators.parameters import Parameter, at_least
from blockflow.operators.statistics import merged_sums, moments, sums_of
from blockflow.rtype import SubRegion

__all__ = ["OpNormalizeMeanStd", "OpNormalizeMinMax", "OpNormalizePercentile"]

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]


class Normalising(StagedOperator):
    """(x - offset) / width, in float64 and rounded once to float32; where the width is 0, all becomes 0.

    NaN stays NaN.
    """

    Input = InputSlot()
    Output = OutputSlot()

    @abstractmethod
    def offset_and_width(self, merged: Arrays) -> tuple[float, float]:
        """What was found out of the whole volume."""

    def check(self) -> None:
        """OperatorError for data that it cannot normalise."""
        if np.dtype(self.Input.meta.dtype).kind not in "biuf":
            raise OperatorError(f"real numbers can be normalised, not {np.dtype(self.Input.meta.dtype)}")

    def setupOutputs(self) -> None:
        """As the input, in float32."""
        meta = self.Output.meta
        try:
            self.check()
        except OperatorError as error:
            meta.assignFrom(MetaDict())
            meta.NOTREADY = str(error)
            return
        meta.assignFrom(carried(self.Input.meta, dtype=np.float32))

    def requiredInputRoi(
        self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion
    ) -> Mapping[Slot, SubRegion]:
        """The same region, once the pass is made."""
        return {self.Input: SubRegion(self.Input, roi.start, roi.stop)}

    def block(self, grid: StageGrid, index: int) -> Array:
        """The data of a block."""
        data: Array = self.Input.get(SubRegion(self.Input, *grid.bounds(index))).wait()
        return data.view(np.uint8) if data.dtype == np.bool_ else data

    def apply(
        self, slot: Slot, subindex: tuple[int, ...], roi: Any, result: Array, grid: StageGrid, merged: Arrays
    ) -> None:
        """The formula, slab by slab."""
        data = self.Input.get(SubRegion(self.Input, roi.start, roi.stop)).wait()
        offset, width = self.offset_and_width(merged)
        for part in slabs(result.shape):
            source = data[part]
            if width > 0:
                values = np.subtract(source, offset, dtype=np.float64)
                np.divide(values, width, out=result[part], casting="same_kind")
                del values
            else:
                result[part] = np.where(np.isnan(source), np.float32(np.nan), np.float32(0))

    def scratch_bytes(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> int:
        """A slab in float64."""
        return slab_voxels([b - a for a, b in zip(roi.start, roi.stop, strict=True)]) * 8


class OpNormalizeMinMax(Normalising):
    """(x - least) / (greatest - least), as float32 from 0 to 1; least and greatest are those of the whole input.

    NaN stays NaN and counts for neither. An input of one value becomes 0. Computed in float64 and rounded once.
    """

    def measure(self, grid: StageGrid, index: int) -> Arrays:
        """Least and greatest of a block."""
        data = self.block(grid, index)
        if not data.size:
            return {"range": np.zeros((0, 2), data.dtype)}
        return {
            "range": np.array(
                [[np.fmin.reduce(data, axis=None), np.fmax.reduce(data, axis=None)]], data.dtype
            )
        }

    def merge(self, grid: StageGrid, results: Sequence[Arrays]) -> Arrays:
        """Least and greatest of all blocks."""
        ranges = np.concatenate([one["range"] for one in results])
        if not len(ranges):
            return {"range": np.zeros(2)}
        return {"range": np.array([np.fmin.reduce(ranges[:, 0]), np.fmax.reduce(ranges[:, 1])])}

    def offset_and_width(self, merged: Arrays) -> tuple[float, float]:
        """The least value, and how far the greatest is from it."""
        least, greatest = (float(value) for value in merged["range"])
        return least, greatest - least


class OpNormalizeMeanStd(Normalising):
    """(x - mean) / standard deviation, as float32; both are those of the whole input, from exact sums.

    With NaN or an infinity in the input, all becomes NaN.
    """

    def measure(self, grid: StageGrid, index: int) -> Arrays:
        """The exact sums of a block and of its squares."""
        return sums_of(self.block(grid, index), with_squares=True)

    def merge(self, grid: StageGrid, results: Sequence[Arrays]) -> Arrays:
        """Those of all blocks."""
        return merged_sums(grid, results)

    def offset_and_width(self, merged: Arrays) -> tuple[float, float]:
        """Mean and standard deviation."""
        mean, variance = moments(merged)
        return mean, float(np.sqrt(variance))


class OpNormalizePercentile(Normalising):
    """(x - p_low) / (p_high - p_low), as float32; the percentiles are those of the whole input.

    For integers; the percentiles are exactly those of `numpy.percentile` (see `Percentile`). Values outside of them
    fall outside of 0 to 1.
    """

    low = Parameter(1.0, at_least(0), "the percentile that becomes 0")
    high = Parameter(99.0, at_least(0), "the percentile that becomes 1")

    def check(self) -> None:
        """Integers, and percentiles in order."""
        check_integers(self.Input.meta, self.name)
        low, high = self.low.value, self.high.value
        if not low < high <= 100:
            raise OperatorError(f"{self.name}: low is {low} and high is {high}; give 0 <= low < high <= 100")

    def measure(self, grid: StageGrid, index: int) -> Arrays:
        """How often each value occurs in a block."""
        return occurrences(self.block(grid, index))

    def measure_bytes(self, roi: SubRegion) -> int:
        """Sorted values and their counts."""
        return occurrences_bytes(self.Input.dtype, inner_shape(roi))

    def merge(self, grid: StageGrid, results: Sequence[Arrays]) -> Arrays:
        """The two percentiles of all blocks together."""
        percents = [self.low.value, self.high.value]
        return {"range": percentiles(self.Input.dtype, results, math.prod(grid.shape), percents)}

    def merge_bytes(self, grid: StageGrid) -> int:
        """The result of a block, and tables."""
        return percentiles_bytes(self.Input.dtype, grid.block_shape)

    def offset_and_width(self, merged: Arrays) -> tuple[float, float]:
        """The lower percentile, and how far the upper one is from it."""
        low, high = (float(value) for value in merged["range"])
        return low, high - low
