"""Eigenvalues of tensors of derivatives: how grey values change, in which directions."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from blockflow.graph import MetaDict, Slot
from blockflow.operators.bases import Array, Region, slab_voxels, slabs
from blockflow.operators.filtering import inner_shape, readable, readable_bytes
from blockflow.operators.grid import AxisFrom, regridded
from blockflow.operators.parameters import Parameter, at_least, each
from blockflow.operators.separable import passes_bytes
from blockflow.operators.smoothing import GaussianFilter
from blockflow.rtype import SubRegion

__all__ = ["OpHessianEigenvalues", "OpStructureTensorEigenvalues"]


class TensorFilter(GaussianFilter):
    """The eigenvalues of a symmetric tensor at each voxel, the greatest first, as a new first axis of channels."""

    @abstractmethod
    def component(self, image: Array, core: tuple[slice, ...], one: int, other: int, made: Array) -> None:
        """Fill `made` with a component of the tensor, of two axes."""

    def describe(self) -> MetaDict:
        """As the input, with an axis of eigenvalues in front."""
        flat = super().describe()
        count = len(self.filtered_axes())
        axes = [AxisFrom(None, name="eigenvalue^"), *(AxisFrom(axis) for axis in range(len(flat.shape)))]
        meta = regridded(flat, axes, (count, *flat.shape), self.Input.path)
        meta.dtype = flat.dtype
        return meta

    def requiredInputRoi(
        self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion
    ) -> Mapping[Slot, SubRegion]:
        """The region of the image, with context."""
        return super().requiredInputRoi(slot, subindex, roi.popDim(0))

    def dirtied(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> Region | None:
        """All eigenvalues."""
        region = super().dirtied(slot, subindex, roi)
        assert region is not None
        return [0, *region[0]], [self.Output.meta.shape[0], *region[1]]

    def execute(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion, result: Array) -> None:
        """The tensor in float64, and LAPACK's eigenvalues of each, slab by slab."""
        flat = roi.popDim(0)
        image, core = self.image_around(flat)
        image = readable(image)
        shape = result.shape[1:]
        axes = sorted(self.filtered_axes())
        parts = {}
        for place, one in enumerate(axes):
            for other_place, other in enumerate(axes[place:], start=place):
                made = np.empty(shape, result.dtype)
                self.component(image, core, one, other, made)
                parts[place, other_place] = made
        wanted = slice(roi.start[0], roi.stop[0])
        for part in slabs(shape):
            tensor = np.empty((*parts[0, 0][part].shape, len(axes), len(axes)))
            for (one, other), made in parts.items():
                tensor[..., one, other] = tensor[..., other, one] = made[part]
            found = np.linalg.eigvalsh(tensor)[..., ::-1]
            for row, values in zip(result, np.moveaxis(found, -1, 0)[wanted], strict=True):
                row[part] = values
            del tensor, found

    def scratch_bytes(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> int:
        """That of the region of the image."""
        return super().scratch_bytes(slot, subindex, roi.popDim(0))

    def compute_bytes(self, roi: SubRegion) -> int:
        """The components of the tensor, and either what one takes or the tensors of a slab."""
        inner = inner_shape(roi)
        count, itemsize = len(self.filtered_axes()), self.Output.dtype.itemsize
        shape = self.read_shape(roi)
        parts = count * (count + 1) // 2 * math.prod(inner) * itemsize
        slab = slab_voxels(inner) * (count * count + count) * 8
        return int(
            parts
            + max(slab, self.component_bytes(shape, inner, itemsize))
            + readable_bytes(self.Input, shape)
        )

    @abstractmethod
    def component_bytes(self, shape: Sequence[int], inner: Sequence[int], itemsize: int) -> int:
        """What `component` takes."""


class OpHessianEigenvalues(TensorFilter):
    """Eigenvalues of the matrix of second derivatives of the input smoothed by a Gaussian, the greatest first.

    In grey values per squared voxel. Dark tubes have large ones across them, bright ones negative ones.
    """

    def component(self, image: Array, core: tuple[slice, ...], one: int, other: int, made: Array) -> None:
        """The derivative along both axes."""
        self.smooth(image, core, made, {one: 2} if one == other else {one: 1, other: 1})

    def component_bytes(self, shape: Sequence[int], inner: Sequence[int], itemsize: int) -> int:
        """Passes."""
        return passes_bytes(shape, inner, list(self.sigmas()), itemsize)


class OpStructureTensorEigenvalues(TensorFilter):
    """Eigenvalues of the structure tensor, the greatest first: how strongly grey values change, in how many directions.

    The tensor is the outer product of the gradient (Gaussian derivatives of `sigma`), smoothed by a Gaussian of
    `sigma_outer`. In squared grey values per squared voxel. See Bigun and Granlund, ICCV 1987.
    """

    sigma_outer = Parameter(
        2.0, each(at_least(0)), "standard deviation of the smoothing of products, in voxels"
    )

    def radii(self) -> dict[int, int]:
        """Both, one after the other."""
        inner, outer = self.radii_of("sigma"), self.radii_of("sigma_outer")
        return {axis: inner.get(axis, 0) + outer.get(axis, 0) for axis in sorted({*inner, *outer})}

    def component(self, image: Array, core: tuple[slice, ...], one: int, other: int, made: Array) -> None:
        """The product of two derivatives, smoothed."""
        middle = self._middle(core, image.shape)
        product = np.empty([part.stop - part.start for part in middle], made.dtype)
        self.smooth(image, middle, product, {one: 1})
        if one == other:
            np.multiply(product, product, out=product)
        else:
            second = np.empty_like(product)
            self.smooth(image, middle, second, {other: 1})
            product *= second
            del second
        within = tuple(
            slice(part.start - outer.start, part.stop - outer.start)
            for part, outer in zip(core, middle, strict=True)
        )
        self.smooth(product, within, made, {}, "sigma_outer")

    def _middle(self, core: tuple[slice, ...], shape: Sequence[int]) -> tuple[slice, ...]:
        """The core with the context of the outer smoothing, where there is an array."""
        outer = self.radii_of("sigma_outer")
        return tuple(
            slice(max(part.start - outer.get(axis, 0), 0), min(part.stop + outer.get(axis, 0), shape[axis]))
            for axis, part in enumerate(core)
        )

    def component_bytes(self, shape: Sequence[int], inner: Sequence[int], itemsize: int) -> int:
        """Two products, and passes."""
        outer = self.radii_of("sigma_outer")
        middle = [
            min(size, length + 2 * outer.get(axis, 0))
            for axis, (size, length) in enumerate(zip(shape, inner, strict=True))
        ]
        product = math.prod(middle) * itemsize
        first = passes_bytes(shape, middle, list(self.sigmas()), itemsize)
        second = passes_bytes(middle, inner, list(self.sigmas("sigma_outer")), itemsize)
        return max(2 * product + first, product + second)
