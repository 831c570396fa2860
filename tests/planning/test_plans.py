"""Plans: contexts, block shapes, memory, gates, and what is stored by itself."""

import numpy as np
import pytest
import zarr
from planned_runs import planned_here, run_here

from blockflow.errors import PlanError, TaskError
from blockflow.graph import InputSlot, Operator, OutputSlot
from blockflow.operators import (
    OpDownsample,
    OpFlip,
    OpGaussianSmoothing,
    OpHessianEigenvalues,
    OpMean,
    OpPad,
    OpThreshold,
    OpTranspose,
    OpUpsample,
)
from blockflow.planning import Plan, Target
from blockflow.rtype import SubRegion
from blockflow.storage import ArraySpec, VolumeMetadata, open_array

METADATA = VolumeMetadata((4, 2, 2), (8, 0, 2), ("nm",) * 3, ("z", "y", "x"), ("space",) * 3)


def raw(folder, shape=(40, 48, 36), chunks=(8, 8, 8), dtype="uint8"):
    ArraySpec(str(folder / "raw.zarr"), shape, dtype, METADATA, chunks).create()
    if np.prod(shape) < 1e7:
        zarr.open(str(folder / "raw.zarr"))[...] = np.random.default_rng(0).integers(0, 200, shape)
    return open_array(folder / "raw.zarr")


def after(upstream, cls, **parameters):
    operator = cls()
    source = operator.inputs["Input"]
    source.setOrConnect(upstream)
    for name, value in parameters.items():
        operator.inputs[name].setValue(value)
    return operator


def plan_of(outputs, folder, **options):
    return planned_here(outputs, folder / "work", **options).plan


def test_contexts_add_up_and_scale(tmp_path):
    """Two smoothings of radius 4 need 8 voxels; behind a downsampling by 2 that is 4 of the output's."""
    first = after(raw(tmp_path), OpGaussianSmoothing, sigma=1.0)
    second = after(first.Output, OpGaussianSmoothing, sigma=1.0)
    small = after(second.Output, OpDownsample, factor=2)
    large = after(second.Output, OpUpsample, factor=2)
    plan = plan_of({second.Output: tmp_path / "a", small.Output: tmp_path / "b"}, tmp_path)
    assert plan["a"].context == ((8, 8),) * 3
    plan = plan_of({small.Output: tmp_path / "b"}, tmp_path)
    assert plan["b"].context == ((4, 4),) * 3
    plan = plan_of({large.Output: tmp_path / "c"}, tmp_path)
    assert plan["c"].context == ((16, 16),) * 3


def test_blocks_are_whole_write_units_and_several_for_each_worker(tmp_path):
    """Block shapes are multiples of the chunks, or of the shards, and workers have four blocks each where they can."""
    mask = after(raw(tmp_path, (256, 256, 256), (16, 16, 16)), OpThreshold, threshold=100)
    sharded = {"chunks": (8,) * 3, "shards": (32,) * 3}
    for options, unit in (({"chunks": (16, 32, 8)}, (16, 32, 8)), (sharded, (32,) * 3)):
        plan = plan_of({mask.Output: Target(str(tmp_path / "a"), **options)}, tmp_path, num_workers=3)
        assert all(size % edge == 0 for size, edge in zip(plan["a"].block_shape, unit))
        assert plan["a"].blocks >= 12


def test_a_block_shape_is_kept_or_refused_with_the_nearest(tmp_path):
    """One of whole units is used as it is; another is refused, naming the nearest one."""
    mask = after(raw(tmp_path), OpThreshold, threshold=100)
    wanted = Target(str(tmp_path / "a"), block_shape=(16, 8, 24))
    assert plan_of({mask.Output: wanted}, tmp_path)["a"].block_shape == (16, 8, 24)
    with pytest.raises(
        PlanError, match=r"\[15, 8, 24\].*are \[8, 8, 8\].*nearest good block_shape is \[16, 8, 24\]"
    ):
        plan_of({mask.Output: Target(str(tmp_path / "a"), block_shape=(15, 8, 24))}, tmp_path)


def test_memory_limits_the_blocks_and_one_too_small_is_refused_with_the_numbers(tmp_path):
    """With less memory blocks are smaller and the projection holds; where none fits, it says what one needs."""
    smooth = after(raw(tmp_path, (512,) * 3, (64,) * 3), OpGaussianSmoothing, sigma=2.0)
    target = {smooth.Output: tmp_path / "a"}
    large, small = (plan_of(target, tmp_path, memory=memory) for memory in (1_500_000_000, 150_000_000))
    assert large.memory <= 1_500_000_000
    assert small.memory <= 150_000_000
    assert np.prod(small["a"].block_shape) < np.prod(large["a"].block_shape)
    with pytest.raises(
        PlanError, match=r"even its smallest block, \[64, 64, 64\] voxels, needs .* Give more memory"
    ):
        plan_of(target, tmp_path, memory=115_000_000)


def test_a_plan_is_the_same_each_time_and_survives_json(tmp_path):
    """Planned twice, the plans are equal, in the same order; from its JSON a plan comes back as it was."""
    smooth = after(raw(tmp_path), OpGaussianSmoothing, sigma=1.0)
    outputs = {
        after(smooth.Output, OpThreshold, threshold=level).Output: tmp_path / f"mask{level}"
        for level in (90, 80, 70)
    }
    plans = [plan_of(outputs, tmp_path, num_workers=2) for _ in range(2)]
    assert plans[0] == plans[1] == Plan.from_json(plans[0].to_json())


def test_chunks_are_those_of_the_input_along_the_axes_of_space(tmp_path):
    """An output that has channels of its own keeps the input's chunks in space, with one channel in each."""
    hessian = after(raw(tmp_path), OpHessianEigenvalues, sigma=1.0)
    (output,) = planned_here({hessian.Output: tmp_path / "out"}, tmp_path / "work").draft.outputs
    assert output.spec.shape == (3, 40, 48, 36)
    assert output.spec.chunks == (1, 8, 8, 8)


@pytest.mark.parametrize(
    ("cls", "parameters"), [(OpTranspose, {"order": (2, 0, 1)}), (OpFlip, {"axes": (0,)})]
)
def test_what_is_read_from_elsewhere_waits_for_all_of_it(tmp_path, cls, parameters):
    """Blocks that are not above those they read wait at a gate, and have the voxels of the lazy whole."""
    smooth = after(raw(tmp_path), OpGaussianSmoothing, sigma=1.0)
    moved = after(smooth.Output, cls, **parameters)
    outputs = {
        smooth.Output: Target(str(tmp_path / "smooth"), block_shape=(8, 16, 16)),
        moved.Output: Target(str(tmp_path / "moved"), chunks=(8, 8, 8), block_shape=(8, 8, 8)),
    }
    planned = planned_here(outputs, tmp_path / "work")
    assert [task.kind for task in planned.plan.tasks] == ["apply", "gate", "apply"]
    assert planned.plan["moved"].upstream == ("smooth-all",)
    run_here(planned)
    np.testing.assert_array_equal(zarr.open(str(tmp_path / "moved"))[...], moved.Output[:].wait())


class OpUneven(Operator):
    """Its input, for which it looks one voxel ahead, and farther for the regions of 8 voxels that are named."""

    Input = InputSlot()
    Output = OutputSlot()

    def __init__(self, ahead, **kwargs):
        super().__init__(**kwargs)
        self.ahead = ahead

    def setupOutputs(self):
        self.Output.meta.assignFrom(self.Input.meta)

    def requiredInputRoi(self, slot, subindex, roi):
        reach = max(self.ahead.get(at // 8, 1) for at in range(roi.start[0], roi.stop[0]))
        return {self.Input: SubRegion(self.Input, roi.start, [roi.stop[0] + reach])}

    def execute(self, slot, subindex, roi, result):
        result[...] = self.Input(roi.start, roi.stop).wait()

    def propagateDirty(self, slot, subindex, roi):
        self.Output.setDirty()


def uneven(folder, ahead):
    """A plan with 100 blocks of 8 voxels that read what another task writes."""
    zarr.create_array(str(folder / "line"), data=np.arange(800, dtype=np.float32), chunks=(8,))
    first = after(open_array(folder / "line"), OpGaussianSmoothing, sigma=1.0)
    second = OpUneven(ahead, graph=first.graph)
    second.Input.connect(first.Output)
    outputs = {
        first.Output: Target(str(folder / "first"), block_shape=(8,)),
        second.Output: Target(str(folder / "second"), block_shape=(8,)),
    }
    return second, planned_here(outputs, folder / "work")


def test_blocks_that_no_one_looked_at_wait_for_what_they_need(tmp_path):
    """Where the blocks that are looked at differ, the context is so much wider, and holds for others."""
    second, planned = uneven(tmp_path, {5: 2, 23: 3})
    assert planned.plan["second"].context == ((0, 3),)
    assert planned.plan["second"].in_order == planned.plan["second"].inputs
    run_here(planned)
    np.testing.assert_array_equal(zarr.open(str(tmp_path / "second"))[...], second.Output[:].wait())


def test_a_block_that_needs_more_than_it_waits_for_fails_and_says_so(tmp_path):
    """What another task may not have written yet is never read: the block fails, with numbers and the cure."""
    _, planned = uneven(tmp_path, {23: 40})
    with pytest.raises(TaskError, match=r"first is needed, and the block's read ROI is.*requiredInputRoi"):
        run_here(planned)


def test_what_several_outputs_compute_at_length_is_stored_once(tmp_path):
    """Two outputs that share a long computation read its result, and the plan says that it stores it by itself."""
    slot = raw(tmp_path, (1024,) * 3, (64,) * 3)
    for _ in range(4):
        slot = after(slot, OpGaussianSmoothing, sigma=3.0).Output
    outputs = {
        after(slot, OpThreshold, threshold=level).Output: tmp_path / f"mask{level}" for level in (90, 100)
    }
    plan = plan_of(outputs, tmp_path, num_workers=2)
    (note,) = [note for note in plan.notes if "stored though nobody asked for it" in note]
    stored = next(task for task in plan.tasks if task.outputs[0] in note)
    assert all(stored.name in plan[f"mask{level}"].upstream for level in (90, 100))


@pytest.mark.parametrize(
    ("cls", "parameters", "said"),
    [
        (OpPad, {"before": 10**24}, r"OpPad\.Output has shape \(10+40.*no array holds more.*Is a width"),
        (OpUpsample, {"factor": 10**20}, "no array holds more"),
        (
            OpMean,
            {},
            r"OpMean\.Output has shape \(1,\), with 1 axes of space.*raw.zarr.*3: .*Output\[:\]\.wait",
        ),
    ],
)
def test_what_cannot_be_stored_is_refused_before_anything_else(tmp_path, cls, parameters, said):
    """Shapes beyond any array, and statistics: with the slot, the numbers, and what to do."""
    slot = after(raw(tmp_path), cls, **parameters).Output
    with pytest.raises(PlanError, match=said):
        plan_of({slot: tmp_path / "out"}, tmp_path)
