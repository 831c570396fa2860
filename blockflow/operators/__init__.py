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
    from blockflow.operators.calculating import OpExpression
    from blockflow.operators.choosing import OpArgmax, OpMask, OpWhere
    from blockflow.operators.comparing import (
        OpAnd,
        OpEqual,
        OpGreater,
        OpGreaterEqual,
        OpLess,
        OpLessEqual,
        OpNot,
        OpNotEqual,
        OpOr,
        OpXor,
    )
    from blockflow.operators.contrast import OpLocalNormalization, OpTiledClahe
    from blockflow.operators.distances import OpDistanceTransform
    from blockflow.operators.filesets import (
        OpBlockwiseFilesetReader,
        OpBlockwiseFilesetWriter,
        OpRESTfulBlockwiseFilesetReader,
        OpRESTfulVolumeReader,
    )
    from blockflow.operators.functions import neighbourhood, operator_from, pointwise
    from blockflow.operators.grey_values import OpCast, OpClip, OpGamma, OpInvert, OpLookup, OpRescale
    from blockflow.operators.labelling import OpConnectedComponents
    from blockflow.operators.morphology import (
        OpBinaryClosing,
        OpBinaryDilation,
        OpBinaryErosion,
        OpBinaryOpening,
        OpBlackTopHat,
        OpGreyClosing,
        OpGreyDilation,
        OpGreyErosion,
        OpGreyOpening,
        OpMorphologicalGradient,
        OpWhiteTopHat,
    )
    from blockflow.operators.normalising import OpNormalizeMeanStd, OpNormalizeMinMax, OpNormalizePercentile
    from blockflow.operators.piping import (
        OpArrayPiper,
        OpMetadataInjector,
        OpMetadataSelector,
        OpSplitRequestsBlockwise,
        OpSubRegion,
    )
    from blockflow.operators.placing import OpCrop, OpFlip, OpPad, OpTranspose
    from blockflow.operators.predicting import OpPredict
    from blockflow.operators.ranking import OpMaximumFilter, OpMedian, OpMinimumFilter, OpRank, OpUniform
    from blockflow.operators.reordering import OpReorderAxes
    from blockflow.operators.resampling import OpDownsample, OpUpsample
    from blockflow.operators.single_values import OpPrecomputedInput, OpValueCache
    from blockflow.operators.sliced_caching import OpSlicedBlockedArrayCache
    from blockflow.operators.slicing import (
        OpMultiArraySlicer,
        OpMultiArraySlicer2,
        OpSelectChannels,
        OpSingleChannelSelector,
    )
    from blockflow.operators.smoothing import (
        OpDifferenceOfGaussians,
        OpGaussianDerivative,
        OpGaussianGradientMagnitude,
        OpGaussianSmoothing,
        OpLaplacianOfGaussian,
    )
    from blockflow.operators.stacking import OpConcatenate, OpMultiArrayStacker, OpStack
    from blockflow.operators.statistics import (
        OpHistogram,
        OpMaximumValue,
        OpMean,
        OpMinimumValue,
        OpPercentile,
        OpStandardDeviation,
        OpSum,
        OpVariance,
    )
    from blockflow.operators.tensors import OpHessianEigenvalues, OpStructureTensorEigenvalues
    from blockflow.operators.thresholding import OpThreshold
    from blockflow.operators.unblocked_caching import OpUnblockedArrayCache

__all__ = [
    "OPERATORS",
    "OpAbsoluteDifference",
    "OpAdd",
    "OpAnd",
    "OpArgmax",
    "OpArrayPiper",
    "OpBinaryClosing",
    "OpBinaryDilation",
    "OpBinaryErosion",
    "OpBinaryOpening",
    "OpBlackTopHat",
    "OpBlockedArrayCache",
    "OpBlockwiseFilesetReader",
    "OpBlockwiseFilesetWriter",
    "OpCast",
    "OpClip",
    "OpConcatenate",
    "OpConnectedComponents",
    "OpCrop",
    "OpDifferenceOfGaussians",
    "OpDistanceTransform",
    "OpDivide",
    "OpDownsample",
    "OpEqual",
    "OpExpression",
    "OpFlip",
    "OpFloorDivide",
    "OpGamma",
    "OpGaussianDerivative",
    "OpGaussianGradientMagnitude",
    "OpGaussianSmoothing",
    "OpGreater",
    "OpGreaterEqual",
    "OpGreyClosing",
    "OpGreyDilation",
    "OpGreyErosion",
    "OpGreyOpening",
    "OpHessianEigenvalues",
    "OpHistogram",
    "OpInvert",
    "OpLaplacianOfGaussian",
    "OpLess",
    "OpLessEqual",
    "OpLocalNormalization",
    "OpLookup",
    "OpMask",
    "OpMaximum",
    "OpMaximumFilter",
    "OpMaximumValue",
    "OpMean",
    "OpMedian",
    "OpMetadataInjector",
    "OpMetadataSelector",
    "OpMinimum",
    "OpMinimumFilter",
    "OpMinimumValue",
    "OpModulo",
    "OpMorphologicalGradient",
    "OpMultiArraySlicer",
    "OpMultiArraySlicer2",
    "OpMultiArrayStacker",
    "OpMultiply",
    "OpNormalizeMeanStd",
    "OpNormalizeMinMax",
    "OpNormalizePercentile",
    "OpNot",
    "OpNotEqual",
    "OpOr",
    "OpPad",
    "OpPercentile",
    "OpPower",
    "OpPrecomputedInput",
    "OpPredict",
    "OpRESTfulBlockwiseFilesetReader",
    "OpRESTfulVolumeReader",
    "OpRank",
    "OpReorderAxes",
    "OpRescale",
    "OpSelectChannels",
    "OpSingleChannelSelector",
    "OpSlicedBlockedArrayCache",
    "OpSplitRequestsBlockwise",
    "OpStack",
    "OpStandardDeviation",
    "OpStructureTensorEigenvalues",
    "OpSubRegion",
    "OpSubtract",
    "OpSum",
    "OpThreshold",
    "OpTiledClahe",
    "OpTranspose",
    "OpUnblockedArrayCache",
    "OpUniform",
    "OpUpsample",
    "OpValueCache",
    "OpVariance",
    "OpWhere",
    "OpWhiteTopHat",
    "OpXor",
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
