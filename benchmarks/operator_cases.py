"""What `bench_operators.py` compares: for each operator of the catalogue its inputs, its parameters, and the same by
numpy or scipy on the whole array.

A case says of which kind it is where it may be slower than three quarters of that; `REASONS` has the sentence.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage as ndi

from blockflow.graph import Slot
from blockflow.operators import OpMetadataInjector, resolve_operator
from blockflow.storage import ArraySpec, VolumeMetadata, open_array

F32, F64 = np.float32, np.float64

REASONS = {
    "memory": (
        "bound by memory, not by computing. One call of numpy streams through arrays of one piece in some "
        "milliseconds; a block is a part of them whose rows are short (mostly 128 voxels), and numpy begins "
        "anew at each row. Each block has its request, too, which counts where all of it takes a millisecond"
    ),
    "convert": (
        "takes as long to read and write as to compute: what is written has several bytes for each that is read, or "
        "each voxel is a branch or a look at a table. Two threads share the one way to memory"
    ),
    "split": "asks for each block of its input by a request of its own and copies it, which is what it is for",
    "passes": "goes over the volume twice, block by block: once for the statistic, once to apply it",
    "context": "computes the context of each block again, and the kernel is scipy's own, to the bit",
    "uniform": (
        "computes the context of each block again, and sums each window directly, which gives the same for any block; "
        "scipy's running sum, which takes the same time for any window, does not"
    ),
    "components": (
        "labels each piece of 64^3 twice, in the pass and when the final numbers are given, finds and merges what "
        "touches between pieces, and writes 64-bit numbers; and cc3d holds Python's lock, so that two threads are no "
        "faster than one. Workers of a run are processes: [components.md](components.md)"
    ),
    "itself": "is compared with itself: the context of each block is computed again, and no more than that is shown",
}


@dataclass(frozen=True)
class Case:
    """How one operator is compared.

    Parameters
    ----------
    params : dict
        Values of parameters.
    whole : callable or None
        Gets the arrays of the inputs in order. None: nothing there is does the same; the whole is then one request
        to the operator itself.
    inputs : dict
        Kinds of data (`KINDS`), or a tuple of them for a list of slots, by input.
    reason : str
        Of `REASONS`, where it may be slower than 0.75.
    output : callable
        The slot that is asked, of the operator.
    small : bool
        Whether an eighth of the volume must do, as it takes long, or makes a volume eight times as large.
    """

    params: dict[str, Any]
    whole: Callable[..., Any] | None
    inputs: dict[str, Any] = field(default_factory=lambda: {"Input": "image"})
    reason: str = ""
    output: Callable[[Any], Slot] = lambda operator: operator.outputs["Output"]
    small: bool = False


#: operators that are not compared here
EXCEPTIONS = {
    "BlockedArrayCache": "a cache: bench_cache.py",
    "SlicedBlockedArrayCache": "a cache: bench_cache.py",
    "UnblockedArrayCache": "a cache: bench_cache.py",
    "ValueCache": "a cache of one value",
    "MetadataSelector": "its output is a field of the metadata, no array",
    "BlockwiseFilesetReader": "reads files: bench_fileset.py",
    "BlockwiseFilesetWriter": "writes files: bench_fileset.py",
    "RESTfulBlockwiseFilesetReader": "waits for a server",
    "RESTfulVolumeReader": "waits for a server",
}


def _image(random: Any, shape: tuple[int, ...]) -> Any:
    noise = random.integers(0, 256, shape, np.uint8)
    return ndi.gaussian_filter(noise, 1) + np.uint8(10)


def _mask(random: Any, shape: tuple[int, ...]) -> Any:
    return ndi.binary_dilation(random.random(shape, F32) < 0.004, iterations=3)


def _channels(random: Any, shape: tuple[int, ...]) -> Any:
    return random.integers(0, 256, (shape[0] // 2, *shape[1:], 4), np.uint8)


#: kind -> what makes it; `named` is an image with named axes
KINDS = {
    "image": _image,
    "other": _image,
    "named": _image,
    "mask": _mask,
    "other mask": _mask,
    "channels": _channels,
}


def data_of(edge: int) -> dict[str, Any]:
    """An array of each kind."""
    random = np.random.default_rng(0)
    return {kind: make(random, (edge,) * 3) for kind, make in KINDS.items()}


def arrays_of(case: Case, data: dict[str, Any]) -> list[Any]:
    """The arrays that `whole` gets."""
    return [
        data[kind]
        for kinds in case.inputs.values()
        for kind in (kinds if isinstance(kinds, tuple) else (kinds,))
    ]


def operator_of(name: str, data: dict[str, Any], folder: Path | None = None) -> Any:
    """The operator with its parameters and inputs: arrays in memory, or, with a `folder`, of the same form in zarr."""
    case = CASES[name]
    operator = resolve_operator(name)()
    for parameter, value in case.params.items():
        operator.inputs[parameter].setValue(value)
    for slot, kinds in case.inputs.items():
        if isinstance(kinds, tuple):
            operator.inputs[slot].resize(len(kinds))
            for part, kind in zip(operator.inputs[slot], kinds, strict=True):
                part.setOrConnect(_source(kind, data, folder))
        else:
            operator.inputs[slot].setOrConnect(_source(kinds, data, folder))
    return operator


def _source(kind: str, data: dict[str, Any], folder: Path | None) -> Any:
    array = data[kind]
    if folder is None:
        if kind != "named":
            return array
        injector = OpMetadataInjector()
        injector.Metadata.setValue({"axistags": "zyx"})
        injector.Input.setValue(array)
        return injector.Output
    path = folder / f"{kind.replace(' ', '_')}-{array.shape[0]}.zarr"
    if not path.exists():
        names = ["z", "y", "x", "c^"][: array.ndim]
        metadata = VolumeMetadata.parse({"axis_names": names, "voxel_size": [1, 1, 1]}, array.ndim, str(path))
        ArraySpec(str(path), array.shape, str(array.dtype), metadata, (64, 64, 64, 4)[: array.ndim]).create()
    return open_array(path)


def blur_model(image: Any) -> Any:
    """A model that is called with arrays, for `Predict`."""
    return ndi.gaussian_filter(image.astype(F32), 2, truncate=2, mode="nearest")


def _two(function: Callable[..., Any], kinds: tuple[str, str], reason: str = "memory") -> Case:
    return Case({}, function, {"A": kinds[0], "B": kinds[1]}, reason)


def _copied(params: dict[str, Any] | None = None, reason: str = "memory", **more: Any) -> Case:
    return Case(params or {}, lambda a: a.copy(), reason=reason, **more)


def _reduced(image: Any) -> Any:
    half = [size // 2 for size in image.shape]
    return np.rint(image.reshape(half[0], 2, half[1], 2, half[2], 2).mean((1, 3, 5))).astype(np.uint8)


def _cut_distance(mask: Any) -> Any:
    return np.minimum(ndi.distance_transform_edt(mask), 8).astype(F32)


def _local_normalisation(image: Any) -> Any:
    image = image.astype(float)
    mean = ndi.gaussian_filter(image, 2)
    deviation = np.sqrt(np.maximum(ndi.gaussian_filter(image * image, 2) - mean * mean, 0))
    return ((image - mean) / (deviation + 1e-6)).astype(F32)


def _eigenvalues(part: Callable[[int, int], Any], shape: tuple[int, ...]) -> Any:
    tensor = np.empty((*shape, 3, 3))
    for one in range(3):
        for other in range(one, 3):
            tensor[..., one, other] = tensor[..., other, one] = part(one, other)
    return np.moveaxis(np.linalg.eigvalsh(tensor)[..., ::-1], -1, 0).astype(F32)


def _hessian(image: Any) -> Any:
    orders = np.eye(3, dtype=int)
    return _eigenvalues(
        lambda one, other: ndi.gaussian_filter(image, 1, orders[one] + orders[other], F32), image.shape
    )


def _structure(image: Any) -> Any:
    gradient = [ndi.gaussian_filter(image, 1, order, F32) for order in np.eye(3, dtype=int)]
    return _eigenvalues(
        lambda one, other: ndi.gaussian_filter(gradient[one] * gradient[other], 2, output=F32), image.shape
    )


def _scaled(image: Any) -> Any:
    low, high = int(image.min()), int(image.max())
    return ((image - F64(low)) / (high - low)).astype(F32)


def _standardised(image: Any) -> Any:
    return ((image - image.mean()) / image.std()).astype(F32)


def _stretched(image: Any) -> Any:
    low, high = np.percentile(image, [1, 99])
    return ((image - low) / (high - low)).astype(F32)


def _components(mask: Any) -> Any:
    import cc3d

    return cc3d.connected_components(mask.view(np.uint8))


def _ratio(a: Any) -> Any:
    a = a.astype(float)
    return ((a - 10) / (a + 10)).astype(F32)


_IMAGES, _MASKS, _MASK = ("image", "other"), ("mask", "other mask"), {"Input": "mask"}
_CHANNELS = {"Input": "channels"}
_TABLE = np.arange(256, dtype=np.uint16)[::-1].copy()

CASES: dict[str, Case] = {
    # arithmetic and comparison
    "Add": _two(np.add, _IMAGES),
    "Subtract": _two(np.subtract, _IMAGES),
    "Multiply": _two(np.multiply, _IMAGES),
    "Divide": _two(np.divide, _IMAGES, "convert"),
    "FloorDivide": _two(np.floor_divide, _IMAGES, "convert"),
    "Modulo": _two(np.remainder, _IMAGES, "convert"),
    "Power": Case({"B": 2}, lambda a: a ** np.uint8(2), {"A": "image"}, "convert"),
    "Maximum": _two(np.maximum, _IMAGES),
    "Minimum": _two(np.minimum, _IMAGES),
    "AbsoluteDifference": _two(lambda a, b: np.maximum(a, b) - np.minimum(a, b), _IMAGES),
    "Equal": _two(np.equal, _IMAGES),
    "NotEqual": _two(np.not_equal, _IMAGES),
    "Greater": _two(np.greater, _IMAGES),
    "GreaterEqual": _two(np.greater_equal, _IMAGES),
    "Less": _two(np.less, _IMAGES),
    "LessEqual": _two(np.less_equal, _IMAGES),
    "And": _two(np.logical_and, _MASKS),
    "Or": _two(np.logical_or, _MASKS),
    "Xor": _two(np.logical_xor, _MASKS),
    "Not": Case({}, np.logical_not, _MASK, "memory"),
    "Where": Case({}, np.where, {"Condition": "mask", "A": "image", "B": "other"}, "convert"),
    "Mask": Case(
        {}, lambda a, mask: np.where(mask, a, np.uint8(0)), {"Input": "image", "Mask": "mask"}, "convert"
    ),
    "Argmax": Case({"axis": -1}, lambda a: a.argmax(-1), _CHANNELS),
    "Expression": Case({"expression": "(a - 10) / (a + 10)"}, _ratio, {"a": "image"}),
    # grey values
    "Threshold": Case({"threshold": 128}, lambda a: (a > 128).astype(np.uint8), reason="memory"),
    "Cast": Case({"dtype": "float32"}, lambda a: a.astype(F32), reason="convert"),
    "Clip": Case({"low": 20, "high": 200}, lambda a: np.clip(a, 20, 200), reason="memory"),
    "Rescale": Case({}, lambda a: np.clip(a / 255.0, 0, 1).astype(F32)),
    "Gamma": Case({"gamma": 0.7}, lambda a: np.rint((a / 255.0) ** 0.7 * 255).astype(np.uint8)),
    "Invert": Case({}, lambda a: 255 - a, reason="memory"),
    "Lookup": Case({"Table": _TABLE}, lambda a: _TABLE[a], reason="convert"),
    # neighbourhood
    "GaussianSmoothing": Case(
        {"sigma": 2.0}, lambda a: ndi.gaussian_filter(a, 2.0, output=F32), reason="context"
    ),
    "GaussianDerivative": Case(
        {"sigma": 2.0}, lambda a: ndi.gaussian_filter(a, 2.0, 1, F32), reason="context"
    ),
    "DifferenceOfGaussians": Case(
        {"sigma": 1, "sigma_outer": 1.6},
        lambda a: ndi.gaussian_filter(a, 1, output=F32) - ndi.gaussian_filter(a, 1.6, output=F32),
        reason="context",
    ),
    "LaplacianOfGaussian": Case(
        {"sigma": 1.5}, lambda a: ndi.gaussian_laplace(a, 1.5, F32), reason="context"
    ),
    "GaussianGradientMagnitude": Case(
        {"sigma": 1.5}, lambda a: ndi.gaussian_gradient_magnitude(a, 1.5, F32), reason="context"
    ),
    "HessianEigenvalues": Case({"sigma": 1.0}, _hessian, reason="context", small=True),
    "StructureTensorEigenvalues": Case(
        {"sigma": 1.0, "sigma_outer": 2.0}, _structure, reason="context", small=True
    ),
    "Median": Case({"size": 3}, lambda a: ndi.median_filter(a, 3), reason="context", small=True),
    "Rank": Case(
        {"size": 3, "rank": 20}, lambda a: ndi.percentile_filter(a, 20, 3), reason="context", small=True
    ),
    "Uniform": Case({"size": 7}, lambda a: ndi.uniform_filter(a, 7, F32), reason="uniform"),
    "MinimumFilter": Case({"size": 7}, lambda a: ndi.minimum_filter(a, 7)),
    "MaximumFilter": Case({"size": 7}, lambda a: ndi.maximum_filter(a, 7)),
    "LocalNormalization": Case({"sigma": 2}, _local_normalisation),
    "TiledClahe": Case({"tile": 32}, None, reason="itself"),
    "BinaryErosion": Case({}, ndi.binary_erosion, _MASK),
    "BinaryDilation": Case({"iterations": 3}, lambda a: ndi.binary_dilation(a, iterations=3), _MASK),
    "BinaryOpening": Case({}, ndi.binary_opening, _MASK),
    "BinaryClosing": Case({}, ndi.binary_closing, _MASK),
    "GreyErosion": Case({"size": 5}, lambda a: ndi.grey_erosion(a, 5)),
    "GreyDilation": Case({"size": 5}, lambda a: ndi.grey_dilation(a, 5)),
    "GreyOpening": Case({"size": 5}, lambda a: ndi.grey_opening(a, 5)),
    "GreyClosing": Case({"size": 5}, lambda a: ndi.grey_closing(a, 5)),
    "WhiteTopHat": Case({"size": 5}, lambda a: ndi.white_tophat(a, 5)),
    "BlackTopHat": Case({"size": 5}, lambda a: ndi.black_tophat(a, 5)),
    "MorphologicalGradient": Case({"size": 3}, lambda a: ndi.morphological_gradient(a, 3)),
    "DistanceTransform": Case({"limit": 8}, _cut_distance, _MASK, small=True),
    "Predict": Case({"model": f"{Path(__file__)}:blur_model", "context": 4}, blur_model, reason="context"),
    # shape
    "Downsample": Case({"factor": 2}, _reduced),
    "Upsample": Case(
        {"factor": 2},
        lambda a: np.repeat(np.repeat(np.repeat(a, 2, 0), 2, 1), 2, 2),
        reason="convert",
        small=True,
    ),
    "Crop": Case({"start": 8}, lambda a: a[8:, 8:, 8:].copy(), reason="memory"),
    "SubRegion": Case(
        {"Roi": ((8,) * 3, (120,) * 3)},
        lambda a: a[8:120, 8:120, 8:120].copy(),
        reason="memory",
        small=True,
    ),
    "Flip": Case({}, lambda a: np.flip(a).copy(), reason="memory"),
    "Transpose": Case({}, lambda a: np.ascontiguousarray(a.T), reason="memory"),
    "ReorderAxes": Case(
        {"AxisOrder": "xyz"}, lambda a: np.ascontiguousarray(a.T), {"Input": "named"}, "memory"
    ),
    "Pad": Case(
        {"before": 8, "after": 8, "mode": "reflect"}, lambda a: np.pad(a, 8, "symmetric"), reason="memory"
    ),
    "Stack": Case({}, lambda *images: np.stack(images), {"Images": _IMAGES}, "memory"),
    "MultiArrayStacker": Case(
        {"AxisFlag": "c"}, lambda *images: np.stack(images, -1), {"Images": _IMAGES}, "memory"
    ),
    "Concatenate": Case({}, lambda *images: np.concatenate(images), {"Images": _IMAGES}, "memory"),
    "SelectChannels": Case({"channels": [2, 0]}, lambda a: a[..., [2, 0]], _CHANNELS, "memory"),
    "SingleChannelSelector": Case({"Index": 1}, lambda a: a[..., 1:2].copy(), _CHANNELS, "memory"),
    "MultiArraySlicer": Case(
        {"AxisFlag": 3},
        lambda a: a[..., 1].copy(),
        _CHANNELS,
        "memory",
        lambda operator: operator.Slices[1],
    ),
    "MultiArraySlicer2": Case(
        {"AxisFlag": 3},
        lambda a: a[..., 1:2].copy(),
        _CHANNELS,
        "memory",
        lambda operator: operator.Slices[1],
    ),
    # what passes data on
    "ArrayPiper": _copied(),
    "MetadataInjector": _copied({"Metadata": {"note": 1}}),
    "SplitRequestsBlockwise": _copied({"BlockShape": (64, 64, 64)}, reason="split"),
    "PrecomputedInput": _copied(inputs={"SlowInput": "image"}),
    # of the whole
    "Sum": Case({}, lambda a: a.sum(), reason="memory"),
    "Mean": Case({}, lambda a: a.mean(), reason="memory"),
    "Variance": Case({}, lambda a: a.var()),
    "StandardDeviation": Case({}, lambda a: a.std()),
    "MinimumValue": Case({}, lambda a: a.min(), reason="memory"),
    "MaximumValue": Case({}, lambda a: a.max(), reason="memory"),
    "Histogram": Case({}, lambda a: np.histogram(a, 256, (0, 256))[0]),
    "Percentile": Case({"percent": 99}, lambda a: np.percentile(a, 99)),
    "NormalizeMinMax": Case({}, _scaled, reason="passes"),
    "NormalizeMeanStd": Case({}, _standardised, reason="passes"),
    "NormalizePercentile": Case({"low": 1, "high": 99}, _stretched, reason="passes"),
    "ConnectedComponents": Case({}, _components, _MASK, "components"),
}
