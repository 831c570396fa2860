"""Comparisons of two arrays, or of an array and a number, and logic of what they give."""

from typing import Any

import numpy as np

from blockflow.graph import InputSlot
from blockflow.operators.arithmetic import Arithmetic
from blockflow.operators.bases import Array, LocalOperator

__all__ = [
    "OpAnd",
    "OpEqual",
    "OpGreater",
    "OpGreaterEqual",
    "OpLess",
    "OpLessEqual",
    "OpNot",
    "OpNotEqual",
    "OpOr",
    "OpXor",
]


class OpEqual(Arithmetic):
    """True where A equals B. NaN equals nothing."""

    function = np.equal


class OpNotEqual(Arithmetic):
    """True where A does not equal B."""

    function = np.not_equal


class OpGreater(Arithmetic):
    """True where A is above B."""

    function = np.greater


class OpGreaterEqual(Arithmetic):
    """True where A is B or above it."""

    function = np.greater_equal


class OpLess(Arithmetic):
    """True where A is below B."""

    function = np.less


class OpLessEqual(Arithmetic):
    """True where A is B or below it."""

    function = np.less_equal


class OpAnd(Arithmetic):
    """True where A and B are both true (not 0)."""

    function = np.logical_and


class OpOr(Arithmetic):
    """True where A or B is true (not 0)."""

    function = np.logical_or


class OpXor(Arithmetic):
    """True where either A or B is true (not 0), but not both."""

    function = np.logical_xor


class OpNot(LocalOperator):
    """True where the input is 0."""

    Input = InputSlot()

    parallel_inputs = False

    def output_dtype(self, *dtypes: Any) -> Any:
        """Truth values."""
        return np.dtype(np.bool_)

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """Straight into the result."""
        np.logical_not(data[0], out=result)
