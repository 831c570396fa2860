"""The catalogue: which operators there are, and which one a name in a config means."""

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blockflow.errors import OperatorError
from blockflow.graph import Operator, Slot
from blockflow.operators.parameters import Parameter
from blockflow.utility.python_files import load_module
from blockflow.utility.words import choices

__all__ = ["OPERATORS", "configure", "operator_names", "resolve_operator"]

_FAMILIES: dict[str, tuple[str, ...]] = {
    "arithmetic": (
        "OpAbsoluteDifference",
        "OpAdd",
        "OpDivide",
        "OpFloorDivide",
        "OpMaximum",
        "OpMinimum",
        "OpModulo",
        "OpMultiply",
        "OpPower",
        "OpSubtract",
    ),
    "blocked_caching": ("OpBlockedArrayCache",),
    "calculating": ("OpExpression",),
    "choosing": (
        "OpArgmax",
        "OpMask",
        "OpWhere",
    ),
    "comparing": (
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
    ),
    "contrast": (
        "OpLocalNormalization",
        "OpTiledClahe",
    ),
    "distances": ("OpDistanceTransform",),
    "filesets": (
        "OpBlockwiseFilesetReader",
        "OpBlockwiseFilesetWriter",
        "OpRESTfulBlockwiseFilesetReader",
        "OpRESTfulVolumeReader",
    ),
    "grey_values": (
        "OpCast",
        "OpClip",
        "OpGamma",
        "OpInvert",
        "OpLookup",
        "OpRescale",
    ),
    "morphology": (
        "OpBinaryClosing",
        "OpBinaryDilation",
        "OpBinaryErosion",
        "OpBinaryOpening",
        "OpBlackTopHat",
        "OpGreyClosing",
        "OpGreyDilation",
        "OpGreyErosion",
        "OpGreyOpening",
        "OpMorphologicalGradient",
        "OpWhiteTopHat",
    ),
    "labelling": ("OpConnectedComponents",),
    "normalising": (
        "OpNormalizeMeanStd",
        "OpNormalizeMinMax",
        "OpNormalizePercentile",
    ),
    "piping": (
        "OpArrayPiper",
        "OpMetadataInjector",
        "OpMetadataSelector",
        "OpSplitRequestsBlockwise",
        "OpSubRegion",
    ),
    "placing": (
        "OpCrop",
        "OpFlip",
        "OpPad",
        "OpTranspose",
    ),
    "predicting": ("OpPredict",),
    "ranking": (
        "OpMaximumFilter",
        "OpMedian",
        "OpMinimumFilter",
        "OpRank",
        "OpUniform",
    ),
    "reordering": ("OpReorderAxes",),
    "resampling": (
        "OpDownsample",
        "OpUpsample",
    ),
    "single_values": (
        "OpPrecomputedInput",
        "OpValueCache",
    ),
    "sliced_caching": ("OpSlicedBlockedArrayCache",),
    "slicing": (
        "OpMultiArraySlicer",
        "OpMultiArraySlicer2",
        "OpSelectChannels",
        "OpSingleChannelSelector",
    ),
    "smoothing": (
        "OpDifferenceOfGaussians",
        "OpGaussianDerivative",
        "OpGaussianGradientMagnitude",
        "OpGaussianSmoothing",
        "OpLaplacianOfGaussian",
    ),
    "stacking": (
        "OpConcatenate",
        "OpMultiArrayStacker",
        "OpStack",
    ),
    "statistics": (
        "OpHistogram",
        "OpMaximumValue",
        "OpMean",
        "OpMinimumValue",
        "OpPercentile",
        "OpStandardDeviation",
        "OpSum",
        "OpVariance",
    ),
    "tensors": (
        "OpHessianEigenvalues",
        "OpStructureTensorEigenvalues",
    ),
    "thresholding": ("OpThreshold",),
    "unblocked_caching": ("OpUnblockedArrayCache",),
}

#: the module of each ready-made operator, by the name of its class
OPERATORS: dict[str, str] = {
    name: f"blockflow.operators.{module}" for module, names in _FAMILIES.items() for name in names
}


def operator_names() -> list[str]:
    """The ready-made operators as a config names them: `Threshold` for `OpThreshold`."""
    return sorted(name.removeprefix("Op") for name in OPERATORS)


def resolve_operator(name: str, folder: Path | None = None) -> type[Operator]:
    """The operator class that a name means.

    Parameters
    ----------
    name : str
        Of a ready-made operator, with or without `Op`; or `package.module:Class`; or `path/to/file.py:Class`.
    folder : Path, optional
        Where a relative path begins; by default the working directory.

    Raises
    ------
    OperatorError
        If there is none, with those there are.
    """
    if ":" not in name:
        return _ready_made(name)
    place, _, attribute = name.rpartition(":")
    if place.endswith(".py"):
        module: Any = load_module((folder or Path.cwd()) / place, OperatorError)
    else:
        module = _module(place, name)
    found = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise OperatorError(
                f"operator {name!r}: {place} has no {attribute!r}; {choices(attribute, _classes(module))}"
            )
        found = getattr(found, part)
    if not (isinstance(found, type) and issubclass(found, Operator)):
        raise OperatorError(
            f"operator {name!r} is a {type(found).__name__}, not an operator class; a function becomes one by "
            f"@blockflow.pointwise or @blockflow.neighbourhood; {choices(attribute, _classes(module))}"
        )
    return found


def _ready_made(name: str) -> type[Operator]:
    known = name if name in OPERATORS else f"Op{name}"
    if known not in OPERATORS:
        raise OperatorError(
            f"there is no operator {name!r}; {choices(name.removeprefix('Op'), operator_names())}. "
            "Others are named as package.module:Class or path/to/file.py:Class"
        )
    found: type[Operator] = getattr(importlib.import_module(OPERATORS[known]), known)
    return found


def _module(place: str, name: str) -> Any:
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and (place == error.name or place.startswith(f"{error.name}.")):
            raise OperatorError(
                f"operator {name!r}: there is no module {place!r}; install it, or name its file as "
                "path/to/file.py:Class"
            ) from None
        raise


def _classes(module: Any) -> list[str]:
    return [
        name
        for name, one in vars(module).items()
        if isinstance(one, type) and issubclass(one, Operator) and one.__module__ == module.__name__
    ]


def configure(operator: Operator, inputs: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Give an operator what a config says: `inputs` connects input slots, `params` sets values on them.

    Parameters
    ----------
    operator : Operator
    inputs : mapping of str to Slot, array, or a list of them for a list of slots
    params : mapping of str to value
        For parameters, and for data inputs that are to be numbers.

    Raises
    ------
    OperatorError
        For an input that there is not, one that is given twice, and a value that it cannot take.
    """
    for name in [*inputs, *params]:
        if name not in operator.inputs:
            raise OperatorError(
                f"{operator.name} has no input or parameter {name!r}; {choices(name, operator.inputs)}"
            )
        if name in inputs and name in params:
            raise OperatorError(f"{operator.name}: {name!r} is given both as an input and as a parameter")
    for name, value in params.items():
        operator.inputs[name].setValue(value)
    for name, source in inputs.items():
        _give(operator.inputs[name], source)


def _give(slot: Slot, source: Any) -> None:
    if slot.level and isinstance(source, list | tuple):
        slot.resize(len(source))
        for one, part in zip(slot, source, strict=True):
            _give(one, part)
    elif isinstance(source, list | tuple):
        raise OperatorError(f"{slot.path} takes one array or slot, not a list of {len(source)}")
    elif isinstance(slot, Parameter) and not isinstance(source, Slot):
        raise OperatorError(f"{slot.path} is a parameter: give its value under params, or connect a slot")
    else:
        slot.setOrConnect(source)
