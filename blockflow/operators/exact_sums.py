"""Sums without rounding, so that their order does not matter.

A float is a whole number of at most 53 bits times a power of two. For each power, whole numbers are added up in two
halves that are so small that no sum of a part of an array is rounded; Python's integers hold the rest. What is
read from the sum at the end is rounded once.
"""

import math
from fractions import Fraction
from typing import Any

import numpy as np

__all__ = ["ExactSum"]

Array = np.ndarray[Any, Any]

#: bits of the lower half, and voxels of a part: (2^27 - 1) * 2^17 and 2^36 * 2^17 are below 2^53
_HALF, _PART = 27, 2**17

#: times this, a float of 53 bits can be cut into two of 26
_SPLITTER = 2.0**27 + 1

#: how often bits are taken from the top before numbers are sorted by their exponents; and exponents that are too high
_LEVELS, _HIGHEST = 5, 1000

#: every float64 is a whole number of these: 2^-1126 is below the last bit of the smallest one, and even
_LAST = -1126


class ExactSum:
    """The exact sum of numbers, or of their squares; infinities and NaN are counted."""

    def __init__(self, total: int = 0, special: tuple[int, int, int] = (0, 0, 0)) -> None:
        self.total = total  # in units of 2^_LAST, or 2^(2 * _LAST) for squares
        self.special = special  # how many +inf, -inf, NaN

    def add(self, data: Array, *, squares: bool = False) -> None:
        """Add all elements of an array, or their squares (an object adds up one of both)."""
        flat = np.ascontiguousarray(data).ravel()
        for begin in range(0, flat.size, _PART):
            part = flat[begin : begin + _PART]
            if part.dtype.kind in "biu":
                self._add_integers(part, squares)
            else:
                self._add_floats(part.astype(np.float64), squares)

    def _add_integers(self, part: Array, squares: bool) -> None:
        unit = _LAST * (2 if squares else 1)
        if part.dtype.itemsize == 8:
            high, low = (part >> 32).astype(np.int64), (part & part.dtype.type(2**32 - 1)).astype(np.int64)
            pieces = ((high, 32), (low, 0))
            if squares:
                for one, shift in pieces:
                    for other, more in pieces:
                        self.total += _sum_of_products(one, other) << (shift + more - unit)
            else:
                for piece, shift in pieces:
                    self.total += int(piece.sum()) << (shift - unit)
            return
        if not squares:
            self.total += int(part.sum(dtype=np.int64)) << -unit
            return
        wide = part.astype(np.int64)
        short = part.dtype.itemsize <= 2
        self.total += (int((wide * wide).sum()) if short else _sum_of_products(wide, wide)) << -unit

    def _add_floats(self, part: Array, squares: bool) -> None:
        finite = np.isfinite(part)
        if not finite.all():
            plus, minus, nan = self.special
            self.special = (
                plus + int((part == np.inf).sum()),
                minus + int((part == -np.inf).sum()),
                nan + int(np.isnan(part).sum()),
            )
            part = part[finite]
        if not squares:
            self._add_levels(part, _LAST)
            return
        if self._squares_fit(part):
            high = part * _SPLITTER
            high -= high - part  # the upper half of the bits
            low = part - high
            for one, other, times in ((high, high, 1.0), (high, low, 2.0), (low, low, 1.0)):
                self._add_levels(one * other * times, 2 * _LAST)
            return
        self._add_by_exponent(part, squares=True)

    @staticmethod
    def _squares_fit(part: Array) -> bool:
        """Whether the products of halves of all numbers are floats."""
        size = np.abs(part[part != 0])
        return not size.size or (size.min() > 2.0**-450 and size.max() < 2.0**450)

    def _add_levels(self, part: Array, unit: int) -> None:
        """Add numbers in units of 2^unit: their upper bits first, then what is left of them.

        Adding and subtracting a large number rounds all of them to multiples of one step, so coarse that no sum of
        2^17 multiples is rounded (Demmel, Ahrens and Nguyen, Reproducible summation, 2016).
        """
        for _ in range(_LEVELS):
            most = float(np.abs(part).max(initial=0))
            if most == 0:
                return
            exponent = math.frexp(most)[1]
            if exponent > _HIGHEST:
                break
            anchor = math.ldexp(1.5, exponent + 17)
            upper = (part + anchor) - anchor
            mantissa, place = math.frexp(float(upper.sum()))
            self.total += int(math.ldexp(mantissa, 53)) << (place - 53 - unit)
            part = part - upper
        self._add_by_exponent(part, squares=False, unit=unit)

    def _add_by_exponent(self, part: Array, *, squares: bool, unit: int = _LAST) -> None:
        """Add numbers, or their squares, as whole numbers for each exponent: for any that there are."""
        mantissas, exponents = np.frexp(part)
        whole = np.ldexp(mantissas, 53).astype(np.int64)
        exponents = exponents.astype(np.int64) - 53
        if not squares:
            self._add_scaled(whole, exponents, 1, _LAST - unit)
            return
        np.abs(whole, out=whole)
        high, low = whole >> _HALF, whole & (2**_HALF - 1)
        self._add_scaled(high * high, exponents, 2, 2 * _HALF)
        self._add_scaled(2 * high * low, exponents, 2, _HALF)
        self._add_scaled(low * low, exponents, 2)

    def _add_scaled(self, whole: Array, exponents: Array, times: int, shift: int = 0) -> None:
        """Add whole * 2^(times * exponent + shift)."""
        if not whole.size:
            return
        least = int(exponents.min())
        places = exponents - least
        high = np.bincount(places, (whole >> _HALF).astype(np.float64))
        low = np.bincount(places, (whole & (2**_HALF - 1)).astype(np.float64))
        for place in np.flatnonzero((high != 0) | (low != 0)).tolist():
            value = (int(high[place]) << _HALF) + int(low[place])
            self.total += value << (times * (least + place - _LAST) + shift)

    def merge(self, other: "ExactSum") -> None:
        """Add what another one has added up."""
        self.total += other.total
        self.special = tuple(a + b for a, b in zip(self.special, other.special, strict=True))  # type: ignore[assignment]

    def value(self, *, squares: bool = False) -> Fraction | float:
        """The sum: exact, or infinite or NaN as a float."""
        plus, minus, nan = self.special
        if nan or (plus and minus and not squares):
            return float("nan")
        if plus or minus:
            return float("inf") if plus or squares else float("-inf")
        return Fraction(self.total, 1 << (-_LAST * (2 if squares else 1)))

    def dump(self) -> dict[str, Array]:
        """As small arrays."""
        size = self.total.bit_length() // 8 + 1
        return {
            "total": np.frombuffer(self.total.to_bytes(size, "little", signed=True), np.uint8),
            "special": np.array(self.special, np.int64),
        }

    @classmethod
    def load(cls, arrays: Any) -> "ExactSum":
        """From what `dump` gave."""
        plus, minus, nan = map(int, arrays["special"])
        return cls(
            int.from_bytes(np.asarray(arrays["total"], np.uint8).tobytes(), "little", signed=True),
            (plus, minus, nan),
        )


def _sum_of_products(one: Array, other: Array) -> int:
    """The sum of the products of whole numbers of at most 32 bits and a sign, of at most 2^17 of them."""
    return sum(
        int((piece * part).sum()) << (shift + more)
        for piece, shift in ((one >> 16, 16), (one & 0xFFFF, 0))
        for part, more in ((other >> 16, 16), (other & 0xFFFF, 0))
    )
