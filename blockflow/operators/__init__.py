"""Ready-made operators, one family per module; functions as operators; the catalogue that resolves names."""

from typing import TYPE_CHECKING

from blockflow.operators.catalogue import OPERATORS, configure, operator_names, resolve_operator
from blockflow.operators.parameters import Parameter
from blockflow.utility.lazy import lazy_names

if TYPE_CHECKING:
    from blockflow.operators.arithmetic import (
        OpAbsoluteDifference,
        OpAdd,
        OpDivide,
        OpFloorDivide,
        OpMaximum,
        OpMinimum,
        OpModulo,
        OpMultiply,
        OpPower,
        OpSubtract,
    )
    from blockflow.operators.functions import neighbourhood, operator_from, pointwise
    from blockflow.operators.normalising import OpNormalizeMinMax
    from blockflow.operators.placing import OpCrop, OpTranspose
    from blockflow.operators.resampling import OpDownsample, OpUpsample
    from blockflow.operators.smoothing import OpGaussianSmoothing
    from blockflow.operators.thresholding import OpThreshold

__all__ = [
    "OPERATORS",
    "OpAbsoluteDifference",
    "OpAdd",
    "OpCrop",
    "OpDivide",
    "OpDownsample",
    "OpFloorDivide",
    "OpGaussianSmoothing",
    "OpMaximum",
    "OpMinimum",
    "OpModulo",
    "OpMultiply",
    "OpNormalizeMinMax",
    "OpPower",
    "OpSubtract",
    "OpThreshold",
    "OpTranspose",
    "OpUpsample",
    "Parameter",
    "configure",
    "neighbourhood",
    "operator_from",
    "operator_names",
    "pointwise",
    "resolve_operator",
]

__getattr__ = lazy_names(
    __name__,
    OPERATORS
    | dict.fromkeys(("neighbourhood", "operator_from", "pointwise"), "blockflow.operators.functions"),
)
