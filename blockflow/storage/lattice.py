"""The lattice: the integer grid on which all ROIs of a run live, exact for any physical scale.

World units serve as the lattice along every axis where each voxel size and offset is a whole number of
them. Along any other axis the lattice step is the greatest common step of all voxel sizes and offsets, so a
voxel of 0.108 um is one step of exactly 0.108 um and nothing is ever rounded. Decimal numbers are taken at
their written value (0.1 is a tenth, not the nearest binary fraction). A third, which no decimal writes, is known
by its float: the nearest one to a fraction with a small denominator is that fraction.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from funlib.geometry import Coordinate

from blockflow.errors import StorageError

__all__ = ["Lattice", "exact"]


#: the largest denominator of a fraction that is known by its float, and how sure it is to be the only one: the share
#: of all numbers of that size that are the float of a fraction with this denominator or a smaller one
_LARGEST_DENOMINATOR, _BY_CHANCE = 10**4, 1e-3


def exact(value: float) -> Fraction:
    """A number at its written value: 0.1 is a tenth, and the nearest float to a third is a third.

    A fraction and another decimal of less than 12 digits never have the same float.
    """
    if isinstance(value, int):
        return Fraction(value)
    value = float(value)
    written = Fraction(Decimal(repr(value)))
    fraction = written.limit_denominator(_LARGEST_DENOMINATOR)
    meant = float(fraction) == value and fraction.denominator**2 * math.ulp(value) < _BY_CHANCE
    return fraction if meant else written


def _common_step(values: Iterable[Fraction]) -> Fraction:
    nonzero = [value for value in values if value]
    if all(value.denominator == 1 for value in nonzero):
        return Fraction(1)
    denominator = math.lcm(*(value.denominator for value in nonzero))
    return Fraction(math.gcd(*(int(value * denominator) for value in nonzero)), denominator)


@dataclass(frozen=True)
class Lattice:
    """The size of one lattice step in world units, for each spatial axis."""

    step: tuple[Fraction, ...]

    @classmethod
    def of(cls, scales: Iterable[tuple[Sequence[float], Sequence[float]]]) -> "Lattice":
        """The lattice of volumes given by `(voxel_size, offset)`, each with one number per spatial axis.

        Raises `StorageError` where the volumes differ in their number of axes.
        """
        scales = list(scales)
        dims = {len(values) for scale in scales for values in scale}
        if len(dims) != 1:
            raise StorageError(
                f"the volumes of one run must have the same number of spatial axes, these have {sorted(dims)}"
            )
        axes = zip(*(values for scale in scales for values in scale), strict=True)
        return cls(tuple(_common_step(map(exact, values)) for values in axes))

    @classmethod
    def parse(cls, steps: Iterable[str]) -> "Lattice":
        """The lattice that `str` of each step describes; the inverse of `texts`."""
        return cls(tuple(Fraction(step) for step in steps))

    def texts(self) -> list[str]:
        """Each step as an exact text, for JSON."""
        return [str(step) for step in self.step]

    @property
    def is_world(self) -> bool:
        """Whether lattice units are world units."""
        return all(step == 1 for step in self.step)

    def coordinate(self, values: Sequence[float], what: str) -> Coordinate:
        """`values` in world units as whole lattice steps; `what` names them in the error."""
        if len(values) != len(self.step):
            raise StorageError(
                f"{what} has {len(values)} axes, but the lattice of this run has {len(self.step)}"
            )
        steps = [exact(value) / step for value, step in zip(values, self.step, strict=True)]
        if any(value.denominator != 1 for value in steps):
            raise StorageError(
                f"{what} {list(values)} is no whole number of lattice steps {self}. "
                "Give all arrays of the run to the task, so that the lattice fits them all"
            )
        return Coordinate(int(value) for value in steps)

    def world(self, steps: int, axis: int) -> float:
        """A number of lattice steps along an axis in world units."""
        value = steps * self.step[axis]
        return int(value) if value.denominator == 1 else float(value)

    def __str__(self) -> str:
        return "(" + ", ".join(f"{float(step):g}" for step in self.step) + ")"
