"""Morphology: of masks by their neighbours, of grey values by boxes."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from blockflow.errors import OperatorError
from blockflow.graph import InputSlot, Slot
from blockflow.operators.bases import Array, LocalOperator
from blockflow.operators.filtering import inner_shape
from blockflow.operators.grid import named_axes
from blockflow.operators.parameters import Parameter, at_least, boolean, whole
from blockflow.operators.ranking import WindowFilter, extremes, extremes_bytes
from blockflow.operators.separable import run_passes
from blockflow.rtype import SubRegion

__all__ = [
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
]


class Binary(LocalOperator):
    """Steps of a mask: what is not 0 counts as true, and the output has truth values.

    `connectivity` says which neighbours count: those that differ along at most so many axes (1: faces).
    """

    Input = InputSlot()
    connectivity = Parameter(
        1, at_least(1, whole), "1: neighbours by a face; 2: also by an edge; 3: also by a corner"
    )
    iterations = Parameter(1, at_least(1, whole), "how many voxels far")
    axes = Parameter(
        None, None, "names or numbers of the axes it runs over; by default all of space", optional=True
    )

    parallel_inputs = False

    #: for each step: whether it erodes, or else dilates
    steps: tuple[bool, ...]

    def outside(self) -> int:
        """What lies beyond the border of the array: 0 or 1."""
        return 0

    def output_dtype(self, *dtypes: Any) -> Any:
        """Truth values."""
        return np.dtype(np.bool_)

    def context(self) -> list[tuple[int, int]]:
        """All iterations of all steps."""
        reach = self.iterations.value * len(self.steps)
        axes = named_axes(self.axes.value, self.Input.meta, self.axes.path)
        if self.connectivity.value > len(axes):
            raise OperatorError(
                f"{self.connectivity.path} is {self.connectivity.value}; there are {len(axes)} axes"
            )
        return [(reach, reach) if axis in axes else (0, 0) for axis in range(len(self.Input.meta.shape))]

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """Every step on the region with its context: what is wrong at its ends does not reach the core."""
        axes = sorted(named_axes(self.axes.value, self.Input.meta, self.axes.path))
        offsets = _neighbours(axes, data[0].ndim, self.connectivity.value)
        mask = data[0] if data[0].dtype == np.bool_ else data[0] != 0
        for erodes in self.steps:
            for _ in range(self.iterations.value):
                mask = _step(mask, offsets, erodes=erodes, outside=bool(self.outside()))
        result[...] = mask[core]

    def scratch_bytes(self, slot: Slot, subindex: tuple[int, ...], roi: SubRegion) -> int:
        """A mask of the region with its context, with a border around it, and the next one."""
        masks = 2 if self.Input.dtype == np.bool_ and self.iterations.value * len(self.steps) == 1 else 3
        return masks * int(math.prod(self.read_shape(roi)))


def _neighbours(axes: Sequence[int], dims: int, connectivity: int) -> list[tuple[int, ...]]:
    """The steps to the neighbours of a voxel that differ from it along at most `connectivity` of the axes."""
    every = itertools.product(*((-1, 0, 1) if axis in axes else (0,) for axis in range(dims)))
    return [step for step in every if 0 < sum(map(abs, step)) <= connectivity]


def _step(mask: Array, offsets: Sequence[tuple[int, ...]], *, erodes: bool, outside: bool) -> Array:
    """A mask where all (or, to dilate, some) of a voxel and its neighbours are true."""
    combine = np.logical_and if erodes else np.logical_or
    around = np.full([size + 2 for size in mask.shape], outside)
    around[(slice(1, -1),) * mask.ndim] = mask
    made: Array = mask.copy()
    for step in offsets:
        place = tuple(slice(1 + by, 1 + by + size) for by, size in zip(step, mask.shape, strict=True))
        combine(made, around[place], out=made)
    return made


class WithOutside(Binary):
    """A single step, for which the outside may be set."""

    border = Parameter(False, boolean, "whether voxels beyond the border of the array count as true")

    def outside(self) -> int:
        """As set."""
        return int(self.border.value)


class OpBinaryErosion(WithOutside):
    """True where a voxel and its neighbours are all true. Equal to `scipy.ndimage.binary_erosion`."""

    steps = (True,)


class OpBinaryDilation(WithOutside):
    """True where a voxel or one of its neighbours is true. Equal to `scipy.ndimage.binary_dilation`."""

    steps = (False,)


class OpBinaryOpening(Binary):
    """Erosion, then dilation: what is thinner than the reach vanishes. Equal to `scipy.ndimage.binary_opening`."""

    steps = (True, False)


class OpBinaryClosing(Binary):
    """Dilation, then erosion: gaps thinner than the reach are filled. Equal to `scipy.ndimage.binary_closing`.

    Beyond the border of the array all is 0, also for the erosion: what touches the border is eroded from there.
    """

    steps = (False, True)


class Grey(WindowFilter):
    """Steps of grey values: minima (erosion) and maxima (dilation) over boxes with an odd number of voxels."""

    #: for each step: whether it erodes, or else dilates
    steps: tuple[bool, ...] = (True,)

    def sizes(self) -> dict[int, int]:
        """The box, which must have a middle."""
        sizes = super().sizes()
        if any(size % 2 == 0 for size in sizes.values()):
            raise OperatorError(
                f"{self.size.path} is {self.size.value}; give odd numbers, so that the box has a middle"
            )
        return sizes

    def context(self) -> list[tuple[int, int]]:
        """The box, once for each step."""
        return [(before * len(self.steps), after * len(self.steps)) for before, after in super().context()]

    def step(self, erodes: bool, image: Array, core: tuple[slice, ...], result: Array) -> None:
        """One minimum or maximum, with the outside as `mode` says."""
        function = np.minimum if erodes else np.maximum
        cval = self.cval.value
        run_passes(image, core, extremes(function, self.sizes(), self.mode.value, cval), result)

    def last_step(self, image: Array, core: tuple[slice, ...], result: Array) -> None:
        """All steps; between two of them, the context of those that follow is kept."""
        if len(self.steps) == 1:
            self.step(self.steps[0], image, core, result)
            return
        middle = self._middle(core, image.shape)
        made = np.empty([part.stop - part.start for part in middle], image.dtype)
        self.step(self.steps[0], image, middle, made)
        within = tuple(
            slice(part.start - outer.start, part.stop - outer.start)
            for part, outer in zip(core, middle, strict=True)
        )
        self.step(self.steps[1], made, within, result)

    def _middle(self, core: tuple[slice, ...], shape: tuple[int, ...]) -> tuple[slice, ...]:
        """The core and the context of one step, where there is an array."""
        one = WindowFilter.context(self)
        return tuple(
            slice(max(part.start - before, 0), min(part.stop + after, size))
            for part, (before, after), size in zip(core, one, shape, strict=True)
        )

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """All steps."""
        self.last_step(data[0], core, result)

    def compute_bytes(self, roi: SubRegion) -> int:
        """Of each step, and what lies between two."""
        inner, itemsize, sizes = inner_shape(roi), self.Input.dtype.itemsize, self.sizes()
        shape = self.read_shape(roi)
        if len(self.steps) == 1:
            return extremes_bytes(shape, inner, sizes, itemsize)
        middle = [
            min(size, length + before + after)
            for size, length, (before, after) in zip(shape, inner, WindowFilter.context(self), strict=True)
        ]
        between = math.prod(middle) * itemsize
        return between + max(
            extremes_bytes(shape, middle, sizes, itemsize), extremes_bytes(middle, inner, sizes, itemsize)
        )


class OpGreyErosion(Grey):
    """The least value in a box. Equal to `scipy.ndimage.grey_erosion(image, size)`."""

    steps = (True,)


class OpGreyDilation(Grey):
    """The greatest value in a box. Equal to `scipy.ndimage.grey_dilation(image, size)`."""

    steps = (False,)


class OpGreyOpening(Grey):
    """Erosion, then dilation: bright spots smaller than the box vanish. Equal to `scipy.ndimage.grey_opening`."""

    steps = (True, False)


class OpGreyClosing(Grey):
    """Dilation, then erosion: dark spots smaller than the box vanish. Equal to `scipy.ndimage.grey_closing`."""

    steps = (False, True)


def _minus(one: Array, other: Array, result: Array) -> None:
    """One - other; for truth values, where they differ."""
    (np.logical_xor if result.dtype == np.bool_ else np.subtract)(one, other, out=result)


class OpWhiteTopHat(Grey):
    """The input minus its opening: bright spots smaller than the box. Equal to `scipy.ndimage.white_tophat`."""

    steps = (True, False)

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """The difference."""
        self.last_step(data[0], core, result)
        _minus(data[0][core], result, result)


class OpBlackTopHat(Grey):
    """The closing of the input minus the input: dark spots smaller than the box.

    Equal to `scipy.ndimage.black_tophat`.
    """

    steps = (False, True)

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """The difference."""
        self.last_step(data[0], core, result)
        _minus(result, data[0][core], result)


class OpMorphologicalGradient(Grey):
    """Dilation minus erosion: the range of values in a box. Equal to `scipy.ndimage.morphological_gradient`.

    Integers wrap around where the range is wider than that of a signed dtype.
    """

    steps = (False,)

    def compute(self, result: Array, core: tuple[slice, ...], *data: Any) -> None:
        """The difference."""
        self.step(False, data[0], core, result)
        eroded = np.empty_like(result, order="C")
        self.step(True, data[0], core, eroded)
        _minus(result, eroded, result)

    def compute_bytes(self, roi: SubRegion) -> int:
        """The erosion beside what a step takes."""
        eroded = math.prod(inner_shape(roi)) * self.Input.dtype.itemsize
        return super().compute_bytes(roi) + eroded
