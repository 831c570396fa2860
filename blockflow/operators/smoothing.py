"""Gaussian smoothing, and what follows from derivatives of a Gaussian."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from blockflow.errors import OperatorError
from blockflow.operators.bases import Array
from blockflow.operators.filtering import FloatFilter, inner_shape, readable, readable_bytes
from blockflow.operators.parameters import Parameter, at_least, each, whole
from blockflow.operators.separable import Pass, passes_bytes, run_passes
from blockflow.rtype import SubRegion

__all__ = [
    "GaussianFilter",
    "OpDifferenceOfGaussians",
    "OpGaussianDerivative",
    "OpGaussianGradientMagnitude",
    "OpGaussianSmoothing",
    "OpLaplacianOfGaussian",
    "gaussian_passes",
]


class GaussianFilter(FloatFilter):
    """A filter by a Gaussian or its derivatives: one pass for each axis, in the order of the axes.

    Sums are computed in float64, and rounded after each pass to the dtype of the output, as by scipy.
    """

    sigma = Parameter(1.0, each(at_least(0)), "standard deviation in voxels, for all axes or each; 0: none")
    truncate = Parameter(4.0, at_least(0), "where the Gaussian ends, in standard deviations")

    def sigmas(self, name: str = "sigma") -> dict[int, float]:
        """The standard deviation along each axis that has one, in the order of the axes."""
        return {axis: sigma for axis, sigma in sorted(self.per_axis(name).items()) if sigma > 1e-15}

    def radii(self) -> dict[int, int]:
        """As scipy: truncate * sigma, rounded."""
        return self.radii_of("sigma")

    def radii_of(self, name: str) -> dict[int, int]:
        """The radius along each axis, of a parameter that holds standard deviations."""
        truncate = self.truncate.value
        return {axis: int(truncate * sigma + 0.5) for axis, sigma in self.sigmas(name).items()}

    def smooth(
        self,
        image: Array,
        core: tuple[slice, ...],
        result: Array,
        orders: Mapping[int, int],
        name: str = "sigma",
    ) -> None:
        """Fill `result` with the image convolved by derivatives of a Gaussian of the given orders (0: none)."""
        options = {"mode": self.mode.value, "cval": self.cval.value, "truncate": self.truncate.value}
        run_passes(image, core, gaussian_passes(self.sigmas(name), orders, options), result)

    def smooth_bytes(self, roi: SubRegion, name: str = "sigma") -> int:
        """What `smooth` takes for a region."""
        return passes_bytes(
            self.read_shape(roi), inner_shape(roi), list(self.sigmas(name)), self.Output.dtype.itemsize
        )

    def compute_bytes(self, roi: SubRegion) -> int:
        """What lies between two passes, and arrays of the region beside the result."""
        voxels = math.prod(inner_shape(roi))
        own = self.arrays_beside() * voxels * self.Output.dtype.itemsize
        return self.smooth_bytes(roi) + own + readable_bytes(self.Input, self.read_shape(roi))

    def arrays_beside(self) -> int:
        """How many arrays of the region it holds beside the result."""
        return 0


def gaussian_passes(
    sigmas: Mapping[int, float], orders: Mapping[int, int], options: Mapping[str, Any]
) -> list[Pass]:
    """One pass of `scipy.ndimage.gaussian_filter1d` for each axis."""
    from scipy.ndimage import gaussian_filter1d

    def run(axis: int, sigma: float, data: Array, output: Array) -> None:
        gaussian_filter1d(data, sigma, axis, orders.get(axis, 0), output, **options)

    return [Pass(axis, partial(run, axis, sigma)) for axis, sigma in sigmas.items()]


class OpGaussianSmoothing(GaussianFilter):
    """The input convolved with a Gaussian: exp(-x^2 / (2 sigma^2)), along one axis after the other.

    The output is float32, or float64 for an input of float64. Equal to `scipy.ndimage.gaussian_filter(image, sigma,
    output=float32, mode=mode, cval=cval, truncate=truncate)`.
    """

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """One pass for each axis."""
        self.smooth(readable(data[0]), core, result, {})


class OpGaussianDerivative(GaussianFilter):
    """A derivative of the input smoothed by a Gaussian: of `order` 0, 1, 2 or 3 along each axis.

    In units of grey value per voxel (to the power of the order). Equal to `scipy.ndimage.gaussian_filter(image, sigma,
    order, output=float32)`.
    """

    order = Parameter(1, each(at_least(0, whole)), "0 to 3, for all axes or each")

    def radii(self) -> dict[int, int]:
        """As for smoothing."""
        if any(order > 3 for order in self.per_axis("order").values()):
            raise OperatorError(f"{self.order.path} is {self.order.value}; give 0 to 3")
        return super().radii()

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """One pass for each axis."""
        self.smooth(readable(data[0]), core, result, self.per_axis("order"))


class OpDifferenceOfGaussians(GaussianFilter):
    """The input smoothed by `sigma`, minus that smoothed by the larger `sigma_outer`: blobs of a size in between."""

    sigma_outer = Parameter(
        1.6, each(at_least(0)), "the larger standard deviation in voxels, for all axes or each"
    )

    def radii(self) -> dict[int, int]:
        """The larger one along each axis."""
        inner, outer = self.radii_of("sigma"), self.radii_of("sigma_outer")
        return {axis: max(inner.get(axis, 0), outer.get(axis, 0)) for axis in sorted({*inner, *outer})}

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """Each with its own context, and the difference in the output's dtype."""
        image = readable(data[0])
        self.smooth(image, core, result, {})
        outer = np.empty_like(result, order="C")
        self.smooth(image, core, outer, {}, "sigma_outer")
        result -= outer

    def smooth_bytes(self, roi: SubRegion, name: str = "sigma") -> int:
        """Of the two, the one that takes more."""
        return max(super().smooth_bytes(roi, "sigma"), super().smooth_bytes(roi, "sigma_outer"))

    def arrays_beside(self) -> int:
        """The outer one."""
        return 1


class OpLaplacianOfGaussian(GaussianFilter):
    """The sum of the second derivatives of the input smoothed by a Gaussian: dark blobs positive, bright ones negative.

    Equal to `scipy.ndimage.gaussian_laplace(image, sigma, output=float32)`.
    """

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """The second derivative along one axis after the other, added up in the output's dtype."""
        image, axes = readable(data[0]), sorted(self.filtered_axes())
        self.smooth(image, core, result, {axes[0]: 2})
        made = np.empty_like(result, order="C")
        for axis in axes[1:]:
            self.smooth(image, core, made, {axis: 2})
            result += made

    def arrays_beside(self) -> int:
        """One derivative."""
        return 1


class OpGaussianGradientMagnitude(GaussianFilter):
    """The length of the gradient of the input smoothed by a Gaussian: high at edges. Grey values per voxel.

    Equal to `scipy.ndimage.gaussian_gradient_magnitude(image, sigma, output=float32)`.
    """

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """The square root of the sum of the squared first derivatives."""
        image, axes = readable(data[0]), sorted(self.filtered_axes())
        self.smooth(image, core, result, {axes[0]: 1})
        np.multiply(result, result, out=result)
        made = np.empty_like(result, order="C")
        for axis in axes[1:]:
            self.smooth(image, core, made, {axis: 1})
            np.multiply(made, made, out=made)
            result += made
        np.sqrt(result, out=result)

    def arrays_beside(self) -> int:
        """One derivative."""
        return 1
