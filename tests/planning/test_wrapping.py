"""Graphs with filters that wrap around: voxels, gates, and the memory of blocks at the border."""

import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.ndimage as ndi
import zarr
from funlib.geometry import Coordinate, Roi
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planned_runs import planned_here, run_here

import blockflow
from blockflow.errors import PlanError
from blockflow.operators import (
    OpDownsample,
    OpFlip,
    OpGaussianSmoothing,
    OpMedian,
    OpNormalizeMinMax,
    OpPad,
    OpTranspose,
    OpUpsample,
)
from blockflow.operators.scratch import peak_bytes
from blockflow.planning import Target, draft
from blockflow.planning.block_shape import inner_block
from blockflow.storage import ArraySpec, VolumeMetadata, open_array, use_lattice
from blockflow.tasks import prepare


def raw(folder, shape, chunks, dtype="uint8"):
    dims = len(shape)
    metadata = VolumeMetadata(
        (2,) * dims, (6,) * dims, ("nm",) * dims, tuple("zyx"[-dims:]), ("space",) * dims
    )
    ArraySpec(str(folder / "raw.zarr"), shape, dtype, metadata, chunks).create()
    zarr.open(str(folder / "raw.zarr"))[...] = np.random.default_rng(0).integers(0, 200, shape)
    return open_array(folder / "raw.zarr")


def after(upstream, cls, **parameters):
    operator = cls()
    operator.Input.setOrConnect(upstream)
    for name, value in parameters.items():
        operator.inputs[name].setValue(value)
    return operator


#: what may stand in a chain with filters that wrap
LINKS = {
    "smooth": (OpGaussianSmoothing, {"sigma": 0.8, "mode": "wrap"}),
    "far": (OpGaussianSmoothing, {"sigma": 4.0, "mode": "wrap"}),
    "median": (OpMedian, {"size": 4, "mode": "wrap"}),
    "pad": (OpPad, {"before": 5, "after": 2, "mode": "wrap"}),
    "reflecting": (OpGaussianSmoothing, {"sigma": 0.8}),
    "down": (OpDownsample, {"factor": 2}),
    "up": (OpUpsample, {"factor": 2}),
    "flip": (OpFlip, {}),
    "transpose": (OpTranspose, {}),
    "stage": (OpNormalizeMinMax, {}),
}


def linked(upstream, name):
    cls, parameters = LINKS[name]
    return after(upstream, cls, **parameters)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from([1, 2, 5, 13, 20]), min_size=1, max_size=3),
    st.lists(st.sampled_from(sorted(LINKS)), min_size=1, max_size=3),
    st.booleans(),
    st.data(),
)
def test_a_chain_that_wraps_equals_the_lazy_request(shape, links, stores, values):
    """Chains with wrapping filters, with or without a stored intermediate, give the voxels of the lazy whole."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chunks = tuple(values.draw(st.integers(-(-size // 4), size)) for size in shape)
        first = linked(raw(folder, tuple(shape), chunks), "smooth")
        slot, slots = first.Output, [first.Output] if stores else []
        for link in links:
            slot = linked(slot, link).Output
        slots.append(slot)
        targets = {}
        for number, one in enumerate(dict.fromkeys(slots)):
            unit = tuple(values.draw(st.integers(-(-size // 4), size)) for size in one.meta.shape)
            block = tuple(min(size, edge) for size, edge in zip(one.meta.shape, unit))
            targets[one] = Target(str(folder / f"{number}.zarr"), chunks=unit, block_shape=block)
        run_here(planned_here(targets, folder / "work"))
        for one, target in targets.items():
            np.testing.assert_array_equal(zarr.open(target.path)[...], one[:].wait())


def test_a_run_gives_what_scipy_gives(tmp_path):
    """Two wrapping filters, one stored and read again by the other, through `blockflow.run`: scipy's on the whole."""
    image = raw(tmp_path, (30, 20, 24), (8, 8, 8))
    smooth = after(image, OpGaussianSmoothing, sigma=1.5, mode="wrap")
    median = after(smooth.Output, OpMedian, size=3, mode="wrap")
    small = after(median.Output, OpDownsample, factor=2)
    outputs = {one.Output: str(tmp_path / f"{one.name}.zarr") for one in (smooth, median, small)}
    assert blockflow.run(outputs, run_dir=tmp_path / "run", compute_context="serial")
    expected = ndi.gaussian_filter(image.data[...], 1.5, output=np.float32, mode="wrap")
    np.testing.assert_array_equal(zarr.open(outputs[smooth.Output])[...], expected)
    expected = ndi.median_filter(expected, 3, mode="wrap")
    np.testing.assert_array_equal(zarr.open(outputs[median.Output])[...], expected)
    np.testing.assert_array_equal(zarr.open(outputs[small.Output])[...], small.Output[:].wait())


def test_blocks_at_the_border_wait_for_the_other_end(tmp_path):
    """Where a stored intermediate is wrapped around, blocks wait at a gate for all of it; elsewhere they do not."""
    smooth = after(raw(tmp_path, (64, 64), (8, 8)), OpGaussianSmoothing, sigma=0.5)
    for mode, kinds in (("wrap", ["apply", "gate", "apply"]), ("reflect", ["apply", "apply"])):
        again = after(smooth.Output, OpGaussianSmoothing, sigma=0.5, mode=mode)
        outputs = {
            smooth.Output: Target(str(tmp_path / f"{mode}1"), block_shape=(8, 8)),
            again.Output: Target(str(tmp_path / f"{mode}2"), block_shape=(8, 8)),
        }
        planned = planned_here(outputs, tmp_path / f"{mode}-work")
        assert [task.kind for task in planned.plan.tasks] == kinds


@pytest.mark.parametrize(
    ("cls", "parameters", "shape"),
    [
        (OpGaussianSmoothing, {"sigma": 1.0, "mode": "wrap"}, (40, 36, 44)),
        (OpGaussianSmoothing, {"sigma": 1.0, "mode": "wrap", "axes": (1,)}, (40, 36, 44)),
        (OpMedian, {"size": (2, 1, 2), "mode": "wrap"}, (40, 36, 44)),
        (OpPad, {"before": (90, 3, 0), "after": (7, 30, 2), "mode": "wrap"}, (40, 36, 44)),
        (OpGaussianSmoothing, {"sigma": 5.0, "mode": "wrap"}, (400,)),
        (OpPad, {"before": 1200, "after": 5, "mode": "wrap"}, (1600,)),
    ],
)
@pytest.mark.parametrize("more", [None, OpFlip, OpTranspose])
def test_the_memory_of_the_plan_is_that_of_the_block_that_takes_most(tmp_path, cls, parameters, shape, more):
    """No block of the whole grid is projected to take more than what the plan says, and one takes just that."""
    slot = after(raw(tmp_path, shape, (8,) * len(shape)), cls, **parameters).Output
    slot = after(slot, OpGaussianSmoothing, sigma=0.5).Output
    slot = after(slot, more).Output if more else slot
    chunks = (8,) * len(shape)
    target = Target(str(tmp_path / "out"), chunks=chunks, block_shape=chunks)
    made = draft({slot: target}, tmp_path / "work")
    (part,), (choice,) = made.parts, made.choices.values()
    blocks = [
        Roi(part.frame.roi.offset + choice.shape * Coordinate(at), choice.shape).intersect(part.frame.roi)
        for at in np.ndindex(*-(-np.array(part.frame.roi.shape) // np.array(choice.shape)))
    ]
    assert choice.cost.memory == max(part.cost(block).memory for block in blocks)
    assert choice.cost.memory > part.cost(inner_block(part.frame.roi, choice.shape)).memory


@pytest.mark.parametrize("axes", [(0,), (0, 1)])
def test_what_is_read_around_the_array_counts(tmp_path, axes):
    """The bytes that a plan says are read are those that all of its blocks read, those at the border too."""
    smooth = after(raw(tmp_path, (80, 48), (8, 8)), OpGaussianSmoothing, sigma=1.0, mode="wrap", axes=axes)
    target = Target(str(tmp_path / "out"), chunks=(8, 8), block_shape=(8, 8))
    outputs = {smooth.Output: target}
    (part,) = draft(outputs, tmp_path / "work").parts
    planned = planned_here(outputs, tmp_path / "work").plan
    frame = part.frame.roi
    blocks = (Roi(frame.offset + Coordinate(16, 16) * Coordinate(at), (16, 16)) for at in np.ndindex(10, 6))
    assert planned["out"].bytes_read == sum(part.cost(block).bytes_read for block in blocks)
    assert planned["out"].read_amplification == round(planned["out"].bytes_read / (80 * 48), 3) > 3
    assert any("reads all of" in one or "goes around" in one for one in planned.warnings)


def test_a_block_in_a_corner_takes_what_is_projected(tmp_path):
    """What the block in the corner takes, which reads the whole array, is within the projection, and half of it."""
    image = raw(tmp_path, (200, 192, 208), (64, 64, 64), "float32")
    smooth = after(image, OpGaussianSmoothing, sigma=2.0, mode="wrap")
    target = Target(str(tmp_path / "out"), chunks=(64,) * 3, block_shape=(64,) * 3)
    planned = planned_here({smooth.Output: target}, tmp_path / "work")
    (task,) = prepare(planned.tasks())
    for spec in task.specs:
        spec.create()
    with use_lattice(task.lattice):
        read_roi, write_roi = next(iter(task.grid))
        block = SimpleNamespace(read_roi=read_roi, write_roi=write_roi)
        task.task.process_function(block)  # imports, and what the program keeps open
        taken = peak_bytes(lambda: task.task.process_function(block))
    projected = planned.plan.tasks[0].memory
    assert image.data.size * 4 < projected / 2 < taken < projected


def test_where_no_block_fits_the_way_out_is_told(tmp_path):
    """A corner that reads the whole array does not fit small memory: the error names the filter and what else to do."""
    ArraySpec(
        str(tmp_path / "raw.zarr"),
        (2048,) * 3,
        "uint8",
        VolumeMetadata((1,) * 3, (0,) * 3, ("nm",) * 3, ("z", "y", "x"), ("space",) * 3),
        (64,) * 3,
    ).create()
    smooth = after(open_array(tmp_path / "raw.zarr"), OpGaussianSmoothing, mode="wrap")
    with pytest.raises(PlanError, match=r"even its smallest block.*GaussianSmoothing reads all of each axis"):
        draft({smooth.Output: str(tmp_path / "out")}, tmp_path / "work")
    smooth.axes.setValue((0,))
    assert draft({smooth.Output: str(tmp_path / "out")}, tmp_path / "work").parts
