"""An operator for a formula."""

from functools import lru_cache
from typing import Any

import numpy as np

from blockflow.errors import OperatorError
from blockflow.graph import InputSlot, Slot
from blockflow.operators.bases import Array, LocalOperator, slab_voxels, slabs
from blockflow.operators.expressions import Formula, parse_formula
from blockflow.operators.grey_values import dtype_of, saturated
from blockflow.operators.parameters import Parameter
from blockflow.rtype import SubRegion

__all__ = ["OpExpression"]

#: the arrays that a formula may name
_NAMES = tuple("abcdefgh")


_parsed = lru_cache(100)(parse_formula)


def _formula(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise OperatorError(f"{where} is {value!r}; give a formula as text, as '(a - b) / (a + b)'")
    _parsed(value, _NAMES, where)
    return value


class OpExpression(LocalOperator):
    """A formula over the inputs `a` to `h`, as `"(a - b) / (a + b)"`, voxel by voxel.

    It has numbers, `+ - * / // % **`, comparisons, `and or not`, `x if condition else y`, and the functions abs, sqrt,
    exp, log, floor, ceil, round, isnan, min, max, clip, where. It is checked when it is set, and never run as Python.
    Computed in float64: integers do not wrap around, and those beyond 2^53 are rounded. An output of integers is
    rounded (ties to even) and ends at the limits of its dtype.
    """

    a = InputSlot(optional=True)
    b = InputSlot(optional=True)
    c = InputSlot(optional=True)
    d = InputSlot(optional=True)
    e = InputSlot(optional=True)
    f = InputSlot(optional=True)
    g = InputSlot(optional=True)
    h = InputSlot(optional=True)
    expression = Parameter(None, _formula, "the formula")
    dtype = Parameter("float32", dtype_of, "the output's dtype")

    def formula(self) -> Formula:
        """The formula, checked."""
        return _parsed(self.expression.value, _NAMES, self.expression.path)

    def data_inputs(self) -> list[Slot]:
        """Those that the formula names."""
        return [self.inputs[name] for name in self.formula().names]

    def output_dtype(self, *dtypes: Any) -> Any:
        """The one given."""
        return np.dtype(self.dtype.value)

    def describe(self) -> Any:
        """As the inputs that the formula names, which must be there."""
        missing = [slot.name for slot in self.data_inputs() if not slot.ready()]
        if missing:
            raise OperatorError(
                f"the formula {self.expression.value!r} needs {', '.join(missing)} to be connected"
            )
        return super().describe()

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """Slab by slab, so that what lies between the steps stays small."""
        formula = self.formula()
        for part in slabs(result.shape):
            values: dict[str, Any] = {
                name: np.float64(one)
                if np.ndim(one) == 0
                else np.array(one if one.shape == (1,) else one[part], np.float64, order="C")
                for name, one in zip(formula.names, data, strict=True)
            }
            made = formula(values)
            del values
            if np.shape(made) != result[part].shape or made.dtype != np.float64:
                made = np.array(np.broadcast_to(made, result[part].shape), np.float64, order="C")
            saturated(made, result[part])

    def scratch_bytes(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> int:
        """The inputs of a slab in float64, and what lies between the steps."""
        formula = self.formula()
        voxels = slab_voxels([b - a for a, b in zip(roi.start, roi.stop, strict=True)])
        return int(voxels * max(8 * len(formula.names) + formula.bytes_per_voxel(), 18))
