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
    from blockflow.operators.block_store import cache_budget, cached_bytes, set_cache_budget
    from blockflow.operators.blocked_caching import OpBlockedArrayCache
    from blockflow.operators.filesets import (
        OpBlockwiseFilesetReader,
        OpBlockwiseFilesetWriter,
        OpRESTfulBlockwiseFilesetReader,
        OpRESTfulVolumeReader,
    )
    from blockflow.operators.functions import neighbourhood, operator_from, pointwise
    from blockflow.operators.normalising import OpNormalizeMinMax
    from blockflow.operators.piping import (
        OpArrayPiper,
        OpMetadataInjector,
        OpMetadataSelector,
        OpSplitRequestsBlockwise,
        OpSubRegion,
    )
    from blockflow.operators.placing import OpCrop, OpTranspose
    from blockflow.operators.reordering import OpReorderAxes
    from blockflow.operators.resampling import OpDownsample, OpUpsample
    from blockflow.operators.single_values import OpPrecomputedInput, OpValueCache
    from blockflow.operators.sliced_caching import OpSlicedBlockedArrayCache
    from blockflow.operators.smoothing import OpGaussianSmoothing
    from blockflow.operators.stacking import (
        OpMultiArraySlicer,
        OpMultiArraySlicer2,
        OpMultiArrayStacker,
        OpSingleChannelSelector,
    )
    from blockflow.operators.thresholding import OpThreshold
    from blockflow.operators.unblocked_caching import OpUnblockedArrayCache

__all__ = [
    "OPERATORS",
    "OpAbsoluteDifference",
    "OpAdd",
    "OpArrayPiper",
    "OpBlockedArrayCache",
    "OpBlockwiseFilesetReader",
    "OpBlockwiseFilesetWriter",
    "OpCrop",
    "OpDivide",
    "OpDownsample",
    "OpFloorDivide",
    "OpGaussianSmoothing",
    "OpMaximum",
    "OpMetadataInjector",
    "OpMetadataSelector",
    "OpMinimum",
    "OpModulo",
    "OpMultiArraySlicer",
    "OpMultiArraySlicer2",
    "OpMultiArrayStacker",
    "OpMultiply",
    "OpNormalizeMinMax",
    "OpPower",
    "OpPrecomputedInput",
    "OpRESTfulBlockwiseFilesetReader",
    "OpRESTfulVolumeReader",
    "OpReorderAxes",
    "OpSingleChannelSelector",
    "OpSlicedBlockedArrayCache",
    "OpSplitRequestsBlockwise",
    "OpSubRegion",
    "OpSubtract",
    "OpThreshold",
    "OpTranspose",
    "OpUnblockedArrayCache",
    "OpUpsample",
    "OpValueCache",
    "Parameter",
    "cache_budget",
    "cached_bytes",
    "configure",
    "neighbourhood",
    "operator_from",
    "operator_names",
    "pointwise",
    "resolve_operator",
    "set_cache_budget",
]

__getattr__ = lazy_names(
    __name__,
    OPERATORS
    | dict.fromkeys(("neighbourhood", "operator_from", "pointwise"), "blockflow.operators.functions")
    | dict.fromkeys(("cache_budget", "cached_bytes", "set_cache_budget"), "blockflow.operators.block_store"),
)
