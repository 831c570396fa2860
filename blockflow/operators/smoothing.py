"""Gaussian smoothing."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from blockflow.errors import OperatorError
from blockflow.graph import InputSlot, Slot
from blockflow.operators.bases import Array, LocalOperator
from blockflow.operators.grid import named_axes
from blockflow.operators.parameters import Parameter, at_least, each, number, one_of
from blockflow.operators.separable import Pass, passes_bytes, run_passes
from blockflow.rtype import SubRegion

__all__ = ["BOUNDARY_MODES", "OpGaussianSmoothing"]

#: what a filter sees beyond the border of the array, as in scipy.ndimage
BOUNDARY_MODES = ("reflect", "constant", "nearest", "mirror")


class Filter(LocalOperator):
    """A filter of one image over some of its axes, each time and channel for itself.

    Beyond the border of the array it sees what `mode` says, as in scipy.ndimage: `reflect` (d c b a | a b c d),
    `constant` (the value `cval`), `nearest` (a a a a | a b c d), `mirror` (d c b | a b c d).
    """

    Input = InputSlot()
    mode = Parameter("reflect", one_of(*BOUNDARY_MODES), "what lies beyond the border of the array")
    cval = Parameter(0.0, number, "the value beyond the border, for mode constant")
    axes = Parameter(
        None, None, "names or numbers of the axes it runs over; by default all of space", optional=True
    )

    parallel_inputs = False

    def filtered_axes(self) -> tuple[int, ...]:
        """The axes it runs over, as numbers."""
        return named_axes(self.axes.value, self.Input.meta, self.axes.path)

    def per_axis(self, name: str) -> dict[int, Any]:
        """A parameter for each axis that it runs over: one value for all of them, or one for each in order."""
        value = self.inputs[name].value
        axes = self.filtered_axes()
        if not isinstance(value, tuple):
            return dict.fromkeys(axes, value)
        if len(value) != len(axes):
            raise OperatorError(
                f"{self.inputs[name].path} is {list(value)}: {len(value)} values for {len(axes)} axes; "
                "give one value, or one for each axis that the operator runs over"
            )
        return dict(zip(axes, value, strict=True))

    def radii(self) -> dict[int, int]:
        """How far it looks along each axis it runs over, in voxels."""
        raise NotImplementedError

    def context(self) -> Sequence[tuple[int, int]]:
        """`radii`, on both sides."""
        radii = self.radii()
        return [(radii.get(axis, 0),) * 2 for axis in range(len(self.Input.meta.shape))]


class FloatFilter(Filter):
    """A filter whose output is float32, or float64 for an input of float64."""

    def output_dtype(self, *dtypes: Any) -> Any:
        """float64 stays; all else is float32."""
        (dtype,) = map(np.dtype, dtypes)
        if dtype.kind not in "biuf":
            raise OperatorError(f"{self.name} filters real numbers, not {dtype}")
        return np.dtype(np.float64 if dtype == np.float64 else np.float32)


class OpGaussianSmoothing(FloatFilter):
    """The input convolved with a Gaussian: exp(-x^2 / (2 sigma^2)), along one axis after the other.

    Sums are computed in float64; the output is float32 (float64 for an input of float64). Equal to
    `scipy.ndimage.gaussian_filter(image, sigma, output=float32, mode=mode, cval=cval, truncate=truncate)`.
    """

    sigma = Parameter(1.0, each(at_least(0)), "standard deviation in voxels, for all axes or each; 0: none")
    truncate = Parameter(4.0, at_least(0), "where the Gaussian ends, in standard deviations")

    def radii(self) -> dict[int, int]:
        """As scipy: truncate * sigma, rounded."""
        truncate = self.truncate.value
        return {axis: int(truncate * sigma + 0.5) for axis, sigma in self._sigmas().items()}

    def _sigmas(self) -> dict[int, float]:
        return {axis: sigma for axis, sigma in sorted(self.per_axis("sigma").items()) if sigma > 1e-15}

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """One pass for each axis, in the order of the axes."""
        from scipy.ndimage import gaussian_filter1d

        image = readable(data[0])
        options = {"mode": self.mode.value, "cval": self.cval.value, "truncate": self.truncate.value}
        run_passes(
            image,
            core,
            [
                Pass(axis, partial(_gaussian, gaussian_filter1d, axis, sigma, options))
                for axis, sigma in self._sigmas().items()
            ],
            result,
        )

    def scratch_bytes(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> int:
        """What lies between two passes."""
        inner = [b - a for a, b in zip(roi.start, roi.stop, strict=True)]
        shape = self.read_shape(roi)
        passes = passes_bytes(shape, inner, list(self._sigmas()), self.Output.dtype.itemsize)
        return passes + readable_bytes(self.Input, shape)


def _gaussian(
    filter1d: Any, axis: int, sigma: float, options: dict[str, Any], data: Array, output: Array
) -> None:
    filter1d(data, sigma, axis, output=output, **options)


def readable(image: Array) -> Array:
    """An image of a dtype that scipy's filters take: half floats become float32."""
    return image.astype(np.float32) if image.dtype == np.float16 else image


def readable_bytes(slot: Slot, shape: Sequence[int]) -> int:
    """What `readable` takes."""
    return int(np.prod(shape)) * 4 if slot.dtype == np.float16 else 0
