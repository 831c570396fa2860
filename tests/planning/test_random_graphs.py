"""Blockwise equals lazy, bit for bit: random graphs, shapes, chunks, block shapes, fits and physical grids."""

import itertools
import tempfile
from pathlib import Path

import numpy as np
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planned_runs import planned_here, run_here

from blockflow import neighbourhood, pointwise
from blockflow.graph import InputSlot, Operator, OutputSlot
from blockflow.operators.arithmetic import OpSubtract
from blockflow.operators.normalising import OpNormalizeMinMax
from blockflow.operators.placing import OpCrop, OpTranspose
from blockflow.operators.resampling import OpDownsample, OpUpsample
from blockflow.operators.smoothing import OpGaussianSmoothing
from blockflow.operators.thresholding import OpThreshold
from blockflow.planning import Target
from blockflow.storage import ArraySpec, open_array
from blockflow.storage.metadata import VolumeMetadata


@pointwise
def doubled(image):
    return image * 2


@neighbourhood(context=lambda radius: radius)
def highest(image, radius=1):
    from scipy.ndimage import maximum_filter

    return maximum_filter(image, 2 * radius + 1)


class OpTold(Operator):
    """Tells nothing of what it needs: two voxels before, one after."""

    Input = InputSlot()
    Output = OutputSlot()

    def setupOutputs(self):
        self.Output.meta.shape = self.Input.meta.shape
        self.Output.meta.dtype = np.float64

    def execute(self, slot, roi, result):
        shape = self.Input.meta.shape
        start = [max(0, a - 2) for a in roi.start]
        stop = [min(size, b + 1) for b, size in zip(roi.stop, shape)]
        data = np.pad(
            self.Input(start, stop).wait().astype(np.float64),
            [(2 - (a - low), 1 - (high - b)) for a, low, b, high in zip(roi.start, start, roi.stop, stop)],
        )
        result[...] = 0
        for shift in itertools.product(range(4), repeat=len(shape)):
            result[...] += data[tuple(slice(s, s + size) for s, size in zip(shift, result.shape))]

    def propagateDirty(self, slot, roi):
        self.Output.setDirty()


def chained(kind, upstream, values):
    """One more operator on a slot."""
    dims = len(upstream.meta.shape)
    if kind == "smooth":
        op = OpGaussianSmoothing()
        op.sigma.setValue(values.draw(st.sampled_from([0.5, 1.0, 1.7])))
        op.mode.setValue(values.draw(st.sampled_from(["reflect", "nearest", "mirror", "constant", "wrap"])))
    elif kind == "threshold":
        op = OpThreshold()
        op.threshold.setValue(values.draw(st.integers(0, 100)))
    elif kind == "down":
        op = OpDownsample()
        op.factor.setValue(values.draw(st.sampled_from([1, 2, 3])))
        op.method.setValue(values.draw(st.sampled_from(["mean", "max", "stride"])))
    elif kind == "up":
        op = OpUpsample()
        op.factor.setValue(2)
    elif kind == "crop":
        op = OpCrop()
        op.start.setValue(
            [values.draw(st.integers(0, max(0, size - 1) // 2)) for size in upstream.meta.shape]
        )
    elif kind == "transpose":
        op = OpTranspose()
        op.order.setValue(values.draw(st.permutations(range(dims))))
    elif kind == "normalise":
        op = OpNormalizeMinMax()
    elif kind == "function":
        op = highest()
        op.radius.setValue(values.draw(st.integers(0, 2)))
    else:
        op = {"told": OpTold, "doubled": doubled}[kind]()
    data = next(slot for name, slot in op.inputs.items() if name in ("Input", "image"))
    data.connect(upstream)
    return op


KINDS = ("smooth", "threshold", "down", "up", "crop", "transpose", "normalise", "function", "told", "doubled")


@st.composite
def volumes(draw):
    dims = draw(st.integers(1, 3))
    shape = tuple(draw(st.sampled_from([1, 2, 5, 7, 12, 13, 24, 31])) for _ in range(dims))
    dtype = draw(st.sampled_from(["uint8", "uint16", "int16", "float32"]))
    chunks = tuple(draw(st.integers(1, size)) for size in shape)
    scale = draw(st.sampled_from([1, 4, 0.5, 1.2]))
    metadata = VolumeMetadata(
        voxel_size=tuple(round(scale * (axis + 1), 6) for axis in range(dims)),
        offset=tuple(draw(st.sampled_from([0, 8, 3.5])) for _ in range(dims)),
        units=("nm",) * dims,
        axis_names=tuple("zyx"[-dims:]),
        types=("space",) * dims,
    )
    return shape, dtype, chunks, metadata, draw(st.integers(0, 2**31))


def stored(folder, volume):
    shape, dtype, chunks, metadata, seed = volume
    path = str(folder / "raw.zarr")
    ArraySpec(path, shape, dtype, metadata, chunks).create()
    data = np.random.default_rng(seed).integers(0, 120, shape).astype(dtype)
    zarr.open(path)[...] = data
    return open_array(path)


def target(values, folder, name, slot):
    shape = slot.meta.shape
    chunks = tuple(values.draw(st.integers(1, min(size, 9))) for size in shape)
    block = None
    if values.draw(st.booleans()):
        block = tuple(min(size, chunk * values.draw(st.integers(1, 3))) for chunk, size in zip(chunks, shape))
    fit = values.draw(st.sampled_from(["shrink", "shrink", "overhang", "valid"]))
    return Target(str(folder / f"{name}.zarr"), chunks=chunks, block_shape=block, fit=fit)


def check(slots, prepared):
    for slot, where in slots.items():
        expected = np.asarray(slot[:].wait())
        found = zarr.open(where.path)[...]
        task = next(task for task in prepared if where.path in task.outputs.values())
        array = open_array(where.path)
        covered = np.zeros(found.shape, bool)
        for _, write_roi in task.grid:
            start, stop = ArraySpec.planned(task.specs[0], task.lattice).voxels_of(write_roi)
            covered[tuple(map(slice, start, stop))] = True
        np.testing.assert_array_equal(found[covered], expected[covered])
        assert not found[~covered].any()
        if where.fit != "valid":
            assert covered.all()
        assert array.dtype == expected.dtype


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(volumes(), st.lists(st.sampled_from(KINDS), min_size=1, max_size=4), st.data())
def test_a_chain_equals_the_lazy_request(volume, kinds, values):
    """Chains of any operators, whatever the blocks are, give the voxels of the lazy whole."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = doubled()
        first.image.setValue(stored(folder, volume))
        operators, slot = [first], first.Output
        for kind in kinds:
            if kind in ("smooth", "told") and np.dtype(slot.meta.dtype).kind == "b":
                continue
            operators.append(chained(kind, slot, values))
            slot = operators[-1].Output
            if not slot.ready():  # this operator cannot work with that input
                operators.pop()
                slot = operators[-1].Output
        slots = {slot: target(values, folder, "result", slot)}
        check(slots, run_here(planned_here(slots, folder / "work")))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(volumes(), st.data())
def test_a_diamond_with_a_stage_and_two_resolutions_equals_the_lazy_request(volume, values):
    """Fan-out, a stored intermediate, a stage in the middle and outputs of two resolutions: all as lazily."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        smooth, wide, edges, norm, mask, small = (
            OpGaussianSmoothing(),
            OpGaussianSmoothing(),
            OpSubtract(),
            OpNormalizeMinMax(),
            OpThreshold(),
            OpDownsample(),
        )
        smooth.Input.setValue(stored(folder, volume))
        wide.Input.connect(smooth.Output)
        wide.sigma.setValue(values.draw(st.sampled_from([0.8, 1.5])))
        for taken, source in zip(list(edges.inputs.values())[:2], (smooth.Output, wide.Output)):
            taken.connect(source)
        norm.Input.connect(edges.Output)
        mask.Input.connect(norm.Output)
        mask.threshold.setValue(0.5)
        small.Input.connect(edges.Output)
        slots = {mask.Output: target(values, folder, "mask", mask.Output)}
        if small.Output.ready():
            slots[small.Output] = target(values, folder, "small", small.Output)
        if values.draw(st.booleans()):
            slots[smooth.Output] = Target(str(folder / "smooth.zarr"))
        check(slots, run_here(planned_here(slots, folder / "work", num_workers=2)))
