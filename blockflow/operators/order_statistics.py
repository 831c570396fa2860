"""Percentiles of integers: exact, out of how often each value occurs in each block, in bounded memory.

Of up to 16 bits a block leaves a count for each value that there is. Of 32 and 64 bits it leaves its distinct values,
sorted, and how often each occurs. The value at a place in the order of all voxels is then found 16 bits at a time: a
count of the upper 16 bits over all blocks tells which they are, a count of the next ones among those values tells the
next, and so on. So what is at hand is the result of one block at a time, and a table, whatever the number of blocks;
results are gone over twice for 32 bits, four times for 64.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from blockflow.errors import OperatorError
from blockflow.graph import MetaDict
from blockflow.operators.bases import slab_voxels, slabs

__all__ = [
    "check_integers",
    "counted_bytes",
    "least_value",
    "occurrences",
    "occurrences_bytes",
    "percentiles",
    "percentiles_bytes",
    "value_counts",
]

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]

#: bits of a digit, and how many digits there are of them
_BITS, _DIGITS = 16, 2**16

#: distinct values of a block that are looked at together
_TOGETHER = 2**17


def check_integers(meta: MetaDict, name: str) -> None:
    """OperatorError for data that there are no percentiles of."""
    dtype = np.dtype(meta.dtype)
    if dtype.kind not in "biu":
        raise OperatorError(
            f"{name} finds percentiles of integers, not of {dtype}; use Rescale before, with a dtype of uint16"
        )
    if 0 in meta.shape:
        raise OperatorError(f"{name}: the input has shape {meta.shape}, and so no voxel")


def occurrences(data: Array) -> Arrays:
    """How often values occur in a block: `counts` of each value of a small dtype, or `values`, sorted, and `counts`."""
    if data.dtype.itemsize <= 2:
        return {"counts": value_counts(data)}
    ordered = np.sort(data, axis=None)
    differs = np.empty(len(ordered), np.bool_)
    differs[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=differs[1:])
    ends = np.empty(np.count_nonzero(differs) + 1, np.int64)
    ends[:-1] = np.flatnonzero(differs)
    ends[-1] = len(ordered)
    del differs
    values = ordered[ends[:-1]]
    del ordered
    counts = np.subtract(ends[1:], ends[:-1], dtype=_count_dtype(data.size), casting="unsafe")
    return {"values": values, "counts": counts}


def occurrences_bytes(dtype: np.dtype[Any], shape: Sequence[int]) -> int:
    """What `occurrences` takes for data of a shape, at most, and what it takes to leave them in a file."""
    if dtype.itemsize <= 2:
        return 2 * counted_bytes(dtype) + 16 * slab_voxels(shape)
    voxels, count = math.prod(shape), _count_dtype(math.prod(shape)).itemsize
    sorting, leaving = 2 * dtype.itemsize + 16 + 1, 3 * (dtype.itemsize + count)
    return voxels * max(sorting, leaving)


def _count_dtype(voxels: int) -> np.dtype[Any]:
    return np.dtype(np.uint32 if voxels < 2**32 else np.int64)


def value_counts(data: Array) -> Array:
    """How often each value of a small integer dtype occurs, from its least on."""
    if data.dtype == np.bool_:
        data = data.view(np.uint8)
    limits = np.iinfo(data.dtype)
    counts = np.zeros(int(limits.max) - int(limits.min) + 1, np.int64)
    for part in slabs(data.shape):
        counts += np.bincount(data[part].ravel().astype(np.int64) - int(limits.min), minlength=len(counts))
    return counts


def counted_bytes(dtype: np.dtype[Any]) -> int:
    """The size of a count for each value of a dtype."""
    return int(8 * 256**dtype.itemsize)


def least_value(dtype: np.dtype[Any]) -> int:
    """Where the counts of a dtype begin."""
    return 0 if dtype.kind == "b" else int(np.iinfo(dtype).min)


def percentiles(
    dtype: np.dtype[Any], results: Sequence[Arrays], voxels: int, percents: Sequence[float]
) -> Array:
    """Percentiles of all voxels, as float64, interpolated as by `numpy.percentile`, bit for bit.

    Parameters
    ----------
    dtype : dtype
        Of the data.
    results : sequence of `occurrences`
        Of all blocks; each is read when it is asked for, and let go of.
    voxels : int
        How many voxels there are together.
    percents : sequence of float
        0 to 100.
    """
    last = voxels - 1
    places = [last * (percent / 100) for percent in percents]
    around = [at for place in places for at in (int(place), min(int(place) + 1, last))]
    find = _counted_values if dtype.itemsize <= 2 else _values_by_digits
    found = find(dtype, results, around)
    return np.array(
        [
            _between(low, high, place - int(place))
            for place, low, high in zip(places, found[::2], found[1::2], strict=True)
        ]
    )


def percentiles_bytes(dtype: np.dtype[Any], block_shape: Sequence[int]) -> int:
    """What `percentiles` takes: the result of one block, tables of digits, and values that are looked at together."""
    if dtype.itemsize <= 2:
        return 4 * counted_bytes(dtype)
    voxels = math.prod(block_shape)
    return voxels * (dtype.itemsize + _count_dtype(voxels).itemsize) + 8 * (6 * _DIGITS + 4 * _TOGETHER)


def _between(low: int, high: int, fraction: float) -> float:
    """A value between two, as numpy computes it; but their difference is exact where theirs does not fit the dtype."""
    difference = high - low
    return low + difference * fraction if fraction < 0.5 else high - difference * (1 - fraction)


def _counted_values(dtype: np.dtype[Any], results: Sequence[Arrays], places: Sequence[int]) -> list[int]:
    """The values at some places of the order of all voxels, of results that count all values."""
    reached = np.zeros(counted_bytes(dtype) // 8, np.int64)
    for index in range(len(results)):
        reached += results[index]["counts"]
    np.cumsum(reached, out=reached)
    return [least_value(dtype) + int(np.searchsorted(reached, place, side="right")) for place in places]


def _values_by_digits(dtype: np.dtype[Any], results: Sequence[Arrays], places: Sequence[int]) -> list[int]:
    """The values at some places of the order of all voxels, of results that have values, found digit by digit."""
    least = least_value(dtype)
    known, rest = (
        [0] * len(places),
        list(places),
    )  # the upper digits, and the place among the values that have them
    for shift in reversed(range(0, 8 * dtype.itemsize, _BITS)):
        tables = {upper: np.zeros(_DIGITS, np.int64) for upper in known}
        for index in range(len(results)):
            _count_digits(results[index], tables, shift, least)
        for number, upper in enumerate(known):
            reached = np.cumsum(tables[upper])
            digit = int(np.searchsorted(reached, rest[number], side="right"))
            rest[number] -= int(reached[digit - 1]) if digit else 0
            known[number] = upper << _BITS | digit
    return [least + value for value in known]


def _count_digits(result: Arrays, tables: Mapping[int, Array], shift: int, least: int) -> None:
    """Add how often each digit at `shift` occurs among the values of a result, to the table of their upper digits."""
    for upper, table in tables.items():
        _count_digits_after(upper, result["values"], result["counts"], shift, least, table)


def _count_digits_after(
    upper: int, values: Array, counts: Array, shift: int, least: int, table: Array
) -> None:
    """Add how often each digit at `shift` occurs among sorted values whose upper digits are `upper`.

    Digits are those of a value's distance from the least one, which no dtype but the unsigned one of its size holds.
    """
    first, after = upper << shift + _BITS, (upper + 1) << shift + _BITS
    begin = int(np.searchsorted(values, values.dtype.type(least + first), side="left"))
    end = int(np.searchsorted(values, values.dtype.type(least + after - 1), side="right"))
    unsigned = np.dtype(f"u{values.dtype.itemsize}")
    offset, mask = unsigned.type(-least), unsigned.type(_DIGITS - 1)
    for start in range(begin, end, _TOGETHER):
        part = slice(start, min(end, start + _TOGETHER))
        digits = values[part].astype(unsigned)
        digits += offset
        digits >>= unsigned.type(shift)
        digits &= mask
        np.add.at(table, digits.astype(np.intp), counts[part].astype(np.int64))
