"""Grey values brought to a common range, by what is found out of the whole volume first."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from blockflow.graph import InputSlot, MetaDict, OutputSlot, Slot, StagedOperator, StageGrid
from blockflow.operators.bases import slab_voxels, slabs
from blockflow.operators.grid import carried
from blockflow.rtype import SubRegion

__all__ = ["OpNormalizeMinMax"]

Array = np.ndarray[Any, Any]


class OpNormalizeMinMax(StagedOperator):
    """(x - least) / (greatest - least), as float32 from 0 to 1; least and greatest are those of the whole input.

    NaN stays NaN and counts for neither. An input of one value becomes 0. Computed in float64 and rounded once.
    """

    Input = InputSlot()
    Output = OutputSlot()

    def setupOutputs(self) -> None:
        """As the input, in float32."""
        meta = self.Input.meta
        if np.dtype(meta.dtype).kind not in "biuf":
            self.Output.meta.assignFrom(MetaDict())
            self.Output.meta.NOTREADY = f"real numbers can be normalised, not {np.dtype(meta.dtype)}"
            return
        self.Output.meta.assignFrom(carried(meta, dtype=np.float32, drange=(0.0, 1.0)))

    def requiredInputRoi(
        self,
        slot: Slot,
        subindex: tuple[int, ...],
        roi: SubRegion,
    ) -> Mapping[Slot, SubRegion]:
        """The same region, once least and greatest are known."""
        return {self.Input: SubRegion(self.Input, roi.start, roi.stop)}

    def measure(self, grid: StageGrid, index: int) -> Mapping[str, Array]:
        """Least and greatest of a block."""
        data = self.Input.get(SubRegion(self.Input, *grid.bounds(index))).wait()
        if data.dtype == np.bool_:
            data = data.view(np.uint8)
        least, greatest = (
            (np.fmin.reduce(data, axis=None), np.fmax.reduce(data, axis=None)) if data.size else (0, 0)
        )
        return {"range": np.array([least, greatest], data.dtype)}

    def merge(self, grid: StageGrid, results: Sequence[Mapping[str, Array]]) -> Mapping[str, Array]:
        """Least and greatest of all blocks."""
        ranges = np.array([one["range"] for one in results])
        return {"range": np.array([np.fmin.reduce(ranges[:, 0]), np.fmax.reduce(ranges[:, 1])])}

    def apply(
        self,
        slot: Slot,
        subindex: tuple[int, ...],
        roi: Any,
        result: Array,
        grid: StageGrid,
        merged: Mapping[str, Array],
    ) -> None:
        """The formula, slab by slab."""
        data = self.Input.get(SubRegion(self.Input, roi.start, roi.stop)).wait()
        least, greatest = (np.float64(value) for value in merged["range"])
        width = greatest - least
        for part in slabs(result.shape):
            source = data[part]
            if width > 0:
                values = np.subtract(source, least, dtype=np.float64)
                np.divide(values, width, out=result[part], casting="same_kind")
                del values
            else:
                result[part] = np.where(np.isnan(source), np.float32(np.nan), np.float32(0))

    def scratch_bytes(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> int:
        """A slab in float64."""
        shape = tuple(b - a for a, b in zip(roi.start, roi.stop, strict=True))
        return slab_voxels(shape) * 8
