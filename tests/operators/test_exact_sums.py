"""Sums without rounding: any order and any cut gives the same bits, and they are the right ones."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockflow.operators.exact_sums import ExactSum

FLOATS = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=40)


@given(FLOATS, st.integers(0, 40))
def test_floats_are_added_without_rounding(values, cut):
    """Denormal, huge and opposite floats add up to what fractions give, however they are cut."""
    sums = [ExactSum(), ExactSum()]
    for one, part in zip(sums, (values[:cut], values[cut:])):
        one.add(np.array(part, np.float64))
    sums[1].merge(ExactSum.load(sums[0].dump()))
    assert sums[1].value() == sum(map(Fraction, values))


@given(FLOATS)
def test_squares_are_added_without_rounding(values):
    """The exact sum of the exact squares, too."""
    total = ExactSum()
    total.add(np.array(values, np.float64), squares=True)
    assert total.value(squares=True) == sum(Fraction(value) ** 2 for value in values)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int16", "uint32", "int32", "int64", "uint64"])
def test_integers_are_added_exactly(dtype):
    """Extreme integers of all sizes, their squares, and more of them than fit into 64 bits."""
    random = np.random.default_rng(1)
    info = np.iinfo(dtype) if dtype != "bool" else None
    values = (
        random.integers(0, 2, 300_001).astype(bool)
        if info is None
        else random.choice(np.array([info.min, info.max, 0, 1], dtype), 300_001)
    )
    total, squares = ExactSum(), ExactSum()
    total.add(values)
    squares.add(values, squares=True)
    counts = {int(value): int((values == value).sum()) for value in np.unique(values)}
    assert total.value() == sum(value * count for value, count in counts.items())
    assert squares.value(squares=True) == sum(value**2 * count for value, count in counts.items())


def test_infinities_and_nan():
    """They are what they would be in floats, whatever the order."""
    for values, expected in (
        ([1.0, np.inf], np.inf),
        ([-np.inf, 5.0], -np.inf),
        ([np.inf, -np.inf], np.nan),
        ([np.nan, 1.0], np.nan),
    ):
        total = ExactSum()
        for value in values:
            total.add(np.array([value]))
        assert np.array_equal(total.value(), expected, equal_nan=True)


def test_many_floats_equal_fsum():
    """Many floats of all sizes: the sum that math.fsum gives."""
    random = np.random.default_rng(2)
    values = random.standard_normal(300_000) * 10.0 ** random.integers(-30, 30, 300_000)
    total = ExactSum()
    total.add(values.reshape(300, 1000))
    assert float(total.value()) == math.fsum(values.tolist())


@pytest.mark.parametrize(
    "value", [np.nextafter(2.0, 1), 1.0 / 3, -np.finfo(float).max, 5e-324, 1e-300, 1e200]
)
def test_a_full_part_of_one_value(value):
    """As many equal numbers as are added at one time, with all of their bits set, and their squares."""
    values = np.full(2**17 + 3, value)
    for squares in (False, True):
        total = ExactSum()
        total.add(values, squares=squares)
        one = Fraction(float(value)) ** (2 if squares else 1)
        assert total.value(squares=squares) == one * len(values)
