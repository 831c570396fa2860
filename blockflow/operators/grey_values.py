"""Grey values mapped one by one: cast, clip, rescale, gamma, invert, lookup."""

from typing import Any

import numpy as np

from blockflow.errors import OperatorError
from blockflow.graph import InputSlot, Slot
from blockflow.operators.bases import Array, LocalOperator, slab_voxels, slabs
from blockflow.operators.parameters import Parameter, boolean, more_than, number
from blockflow.rtype import SubRegion

__all__ = ["OpCast", "OpClip", "OpGamma", "OpInvert", "OpLookup", "OpRescale", "saturated"]


def dtype_of(value: Any, where: str) -> str:
    """The name of a dtype of numbers or truth values."""
    try:
        dtype = np.dtype(value)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "biuf":
        raise OperatorError(f"{where} is {value!r}; give the name of a dtype, as uint8 or float32")
    return str(dtype.name)


def pair(value: Any, where: str) -> tuple[float, float]:
    """Two numbers, the first below the second."""
    if not isinstance(value, list | tuple | np.ndarray) or len(value) != 2:
        raise OperatorError(f"{where} is {value!r}; give two numbers, [low, high]")
    low, high = (number(one, where) for one in value)
    if not low < high:
        raise OperatorError(f"{where} is {list(value)}; the first number must be below the second")
    return low, high


def saturated(values: Array, result: Array) -> None:
    """Put float64 values into an array of any dtype: integers are rounded (ties to even) and end at their limits.

    NaN becomes 0 in integers. `values` is changed.
    """
    if result.dtype.kind == "f":
        with np.errstate(over="ignore"):
            result[...] = values
        return
    if result.dtype.kind == "b":
        result[...] = values != 0
        return
    limits = np.iinfo(result.dtype)
    np.rint(values, out=values)
    np.copyto(values, 0, where=np.isnan(values))
    # the greatest integers of 64 bits are no floats: what reaches them is set afterwards
    high = values >= float(limits.max)
    np.clip(values, float(limits.min), np.nextafter(float(limits.max), 0), out=values, where=~high)
    np.copyto(values, 0, where=high)
    result[...] = values
    np.copyto(result, limits.max, where=high)


class Mapping(LocalOperator):
    """A function of one grey value, computed slab by slab in float64."""

    Input = InputSlot()

    parallel_inputs = False

    def scratch_bytes(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> int:
        """A slab of float64 and some truth values."""
        return slab_voxels([b - a for a, b in zip(roi.start, roi.stop, strict=True)]) * 12


class OpCast(Mapping):
    """The input as another dtype: `dtype`.

    With `saturate`, numbers that the dtype does not hold become its limits, and floats are rounded to integers (ties
    to even); without, it is numpy's `astype`: integers wrap around, floats lose their fraction.
    """

    dtype = Parameter(None, dtype_of, "the output's dtype, as uint8 or float32")
    saturate = Parameter(True, boolean, "end at the dtype's limits and round, in place of wrapping around")

    def output_dtype(self, *dtypes: Any) -> Any:
        """The one given."""
        return np.dtype(self.dtype.value)

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """Integers are clipped as integers, so that none of 64 bits is rounded."""
        image = data[0]
        if not self.saturate.value or result.dtype.kind in "bf" or image.dtype.kind == "b":
            with np.errstate(all="ignore"):
                np.copyto(result, image, casting="unsafe")
        elif image.dtype.kind in "iu":
            have, want = np.iinfo(image.dtype), np.iinfo(result.dtype)
            low, high = max(have.min, want.min), min(have.max, want.max)
            for part in slabs(result.shape):
                np.copyto(result[part], np.clip(image[part], low, high), casting="unsafe")
        else:
            for part in slabs(result.shape):
                saturated(image[part].astype(np.float64), result[part])

    def scratch_bytes(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> int:
        """Clipped integers, or float64 to be rounded."""
        have, want = self.Input.dtype, self.Output.dtype
        if not self.saturate.value or want.kind in "bf" or have.kind == "b":
            return 0
        voxels = slab_voxels([b - a for a, b in zip(roi.start, roi.stop, strict=True)])
        return voxels * (have.itemsize if have.kind in "iu" else 11)


class OpClip(LocalOperator):
    """The input, but no lower than `low` and no higher than `high`. NaN stays NaN."""

    Input = InputSlot()
    low = Parameter(None, number, "the least value; default none", optional=True)
    high = Parameter(None, number, "the greatest value; default none", optional=True)

    parallel_inputs = False

    def output_dtype(self, *dtypes: Any) -> Any:
        """The input's."""
        low, high = self.low.value, self.high.value
        if low is not None and high is not None and low > high:
            raise OperatorError(f"{self.name}: low is {low}, which is above high, {high}")
        return np.dtype(dtypes[0])

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """Limits beyond the dtype's range are none; between two integers the one within counts."""
        image = data[0]
        low, high = self.low.value, self.high.value
        if image.dtype.kind in "iu":
            limits = np.iinfo(image.dtype)
            low = limits.min if low is None else min(max(np.ceil(low), limits.min), limits.max)
            high = limits.max if high is None else min(max(np.floor(high), limits.min), limits.max)
            low, high = int(low), int(high)
        np.clip(image, low, high, out=result)


class OpRescale(Mapping):
    """The range `source` mapped linearly to the range `target`: (x - s0) * (t1 - t0) / (s1 - s0) + t0.

    What lies outside of `source` ends at the limits of `target`, unless `clip` is false. Computed in float64; integers
    are rounded (ties to even) and end at the limits of their dtype.
    """

    source = Parameter((0, 255), pair, "[low, high] of the input")
    target = Parameter((0.0, 1.0), pair, "[low, high] of the output")
    dtype = Parameter("float32", dtype_of, "the output's dtype")
    clip = Parameter(True, boolean, "end at the limits of the target range")

    def output_dtype(self, *dtypes: Any) -> Any:
        """The one given."""
        return np.dtype(self.dtype.value)

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """The formula."""
        (s0, s1), (t0, t1) = self.source.value, self.target.value
        factor = (t1 - t0) / (s1 - s0)
        for part in slabs(result.shape):
            values = data[0][part].astype(np.float64)
            values -= s0
            values *= factor
            values += t0
            if self.clip.value:
                np.clip(values, t0, t1, out=values)
            saturated(values, result[part])


class OpGamma(Mapping):
    """Gamma correction within a range: low + (high - low) * ((x - low) / (high - low)) ** gamma.

    Values outside of the range `source` end at its limits. The dtype stays; integers are rounded (ties to even).
    """

    gamma = Parameter(1.0, more_than(0), "the exponent: below 1 brighter, above 1 darker")
    source = Parameter(None, pair, "[low, high]; default that of an integer dtype, or 0 to 1", optional=True)

    def output_dtype(self, *dtypes: Any) -> Any:
        """The input's."""
        dtype = np.dtype(dtypes[0])
        if dtype.kind not in "iuf":
            raise OperatorError(f"there is no gamma of {dtype}")
        return dtype

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """The formula, in float64."""
        image = data[0]
        limits = (
            (0.0, 1.0) if image.dtype.kind == "f" else (np.iinfo(image.dtype).min, np.iinfo(image.dtype).max)
        )
        low, high = self.source.value or limits
        if image.dtype.itemsize == 1:  # each of 256 values is computed once
            table = np.arange(256, dtype=np.uint8).view(image.dtype)
            self._mapped(table.copy(), low, high, table)
            for part in slabs(result.shape):
                result[part] = np.take(table, image[part].view(np.uint8))
            return
        for part in slabs(result.shape):
            self._mapped(image[part], low, high, result[part])

    def _mapped(self, image: Array, low: float, high: float, result: Array) -> None:
        width = float(high) - float(low)
        values = image.astype(np.float64)
        values -= low
        values /= width
        np.clip(values, 0, 1, out=values)
        np.power(values, self.gamma.value, out=values)
        values *= width
        values += low
        saturated(values, result)


class OpInvert(LocalOperator):
    """Dark becomes bright: low + high - x, where low and high are the range of an integer dtype, or 0 and 1.

    For signed integers this is -1 - x, for truth values the other one. `source` gives another range.
    """

    Input = InputSlot()
    source = Parameter(None, pair, "[low, high]; default that of an integer dtype, or 0 to 1", optional=True)

    parallel_inputs = False

    def output_dtype(self, *dtypes: Any) -> Any:
        """The input's."""
        dtype = np.dtype(dtypes[0])
        given = self.source.value
        if dtype.kind not in "biuf":
            raise OperatorError(f"{dtype} cannot be inverted")
        if given is not None and dtype.kind in "iu" and sum(given) != int(sum(given)):
            raise OperatorError(
                f"{self.source.path} is {list(given)}; its sum must be a whole number for {dtype}"
            )
        return dtype

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """Integers wrap around outside of the range."""
        image, given = data[0], self.source.value
        if image.dtype.kind == "b":
            np.logical_not(image, out=result)
        elif image.dtype.kind == "f":
            np.subtract(1.0 if given is None else sum(given), image, out=result)
        else:
            limits = np.iinfo(image.dtype)
            total = int(limits.min + limits.max if given is None else sum(given))
            whole = np.array(total % 2**64, np.uint64).astype(image.dtype)
            np.subtract(whole, image, out=result)


class OpLookup(LocalOperator):
    """Each integer replaced by the entry of `Table` at its place, for example labels by their new numbers.

    A value beyond the table becomes `missing`, or stays as it is if that is not given.
    """

    Input = InputSlot()
    Table = InputSlot()
    missing = Parameter(None, number, "what a value beyond the table becomes; default itself", optional=True)

    def main_input(self) -> Slot:
        """The image."""
        return self.Input

    def data_inputs(self) -> list[Slot]:
        """The image; the table is asked for whole."""
        return [self.Input]

    def requiredInputRoi(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> Any:
        """The region, and the table."""
        return {
            self.Input: SubRegion(self.Input, roi.start, roi.stop),
            self.Table: SubRegion(self.Table),
        }

    def output_dtype(self, *dtypes: Any) -> Any:
        """The table's; what both promote to, if values may stay as they are."""
        table = self.Table.meta
        if np.dtype(dtypes[0]).kind not in "iu" or len(table.shape) != 1:
            raise OperatorError(
                f"integers are looked up in a table of one axis, not {np.dtype(dtypes[0])} in one of shape "
                f"{table.shape}"
            )
        return (
            np.dtype(table.dtype)
            if self.missing.value is not None
            else np.result_type(dtypes[0], table.dtype)
        )

    def dirtied(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> Any:
        """The region; everything for the table."""
        if slot is self.Table:
            shape = self.Output.meta.shape
            return [0] * len(shape), shape
        return roi.start, roi.stop

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """Slab by slab."""
        image, missing = data[0], self.missing.value
        table = np.asarray(self.Table[:].wait())
        for part in slabs(result.shape):
            values = image[part]
            known = values < len(table)
            if image.dtype.kind == "i":
                known &= values >= 0
            if known.all():
                np.copyto(result[part], table[values], casting="unsafe")
                continue
            found = table[np.where(known, values, 0)] if len(table) else np.zeros(values.shape, result.dtype)
            np.copyto(result[part], found, casting="unsafe")
            np.copyto(result[part], values if missing is None else missing, where=~known, casting="unsafe")

    def scratch_bytes(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> int:
        """Places in the table, and what was found there."""
        voxels = slab_voxels([b - a for a, b in zip(roi.start, roi.stop, strict=True)])
        return voxels * (self.Input.dtype.itemsize + self.Table.dtype.itemsize + 2)
