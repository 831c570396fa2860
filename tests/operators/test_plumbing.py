"""lazyflow's operators that pass data on: pipes, regions, axes, lists, values, metadata."""

import threading
from functools import partial

import numpy as np
import pytest
from operators.arrays import slots

from blockflow.graph import InputSlot, Operator, OutputSlot, SlotNotReadyError
from blockflow.operators import (
    OpArrayPiper,
    OpMetadataInjector,
    OpMetadataSelector,
    OpMultiArraySlicer,
    OpMultiArraySlicer2,
    OpMultiArrayStacker,
    OpPrecomputedInput,
    OpReorderAxes,
    OpSingleChannelSelector,
    OpSplitRequestsBlockwise,
    OpSubRegion,
    OpValueCache,
)
from blockflow.testing.operators import check_operator


@pytest.fixture
def data():
    return np.random.default_rng(3).integers(0, 99, (7, 8, 9), np.uint8)


def tagged(operator, data, **meta):
    operator.Input.setValue(data, extra_meta=meta)
    return operator


def test_a_pipe_gives_its_input(data):
    """Data, metadata and changes pass through."""
    op = tagged(OpArrayPiper(), data, axistags="zyx", anything=5)
    assert (op.Output.meta.axistags, op.Output.meta.anything) == ("zyx", 5)
    check_operator(op, lambda image: image)


@pytest.mark.parametrize("whole_blocks", [True, False])
def test_requests_are_split_into_blocks(data, whole_blocks):
    """Nothing larger than a block is asked of the input."""
    asked = []

    class OpRecord(OpArrayPiper):
        def execute(self, slot, subindex, roi, result):
            asked.append((tuple(roi.start), tuple(roi.stop)))
            return super().execute(slot, subindex, roi, result)

    record = slots(OpRecord(), Input=data)
    op = slots(OpSplitRequestsBlockwise(whole_blocks), BlockShape=(4, 4, None))
    op.Input.connect(record.Output)
    np.testing.assert_array_equal(op.Output[3:5, 1:4].wait(), data[3:5, 1:4])
    assert op.Output.meta.ideal_blockshape == (4, 4, 9)
    expected = (
        [((0, 0, 0), (4, 4, 9)), ((4, 0, 0), (7, 4, 9))]
        if whole_blocks
        else [((3, 1, 0), (4, 4, 9)), ((4, 1, 0), (5, 4, 9))]
    )
    assert sorted(asked) == expected
    check_operator(
        slots(OpSplitRequestsBlockwise(whole_blocks), BlockShape=(4, 4, None), Input=data),
        lambda image: image,
    )


def test_a_sub_region(data):
    """`Roi` cuts a part out, which must be there."""
    check_operator(
        slots(OpSubRegion(), Roi=((1, 2, 3), (5, 8, 9)), Input=data), lambda image: image[1:5, 2:8, 3:9]
    )
    op = slots(OpSubRegion(), Roi=((1, 2, 3), (5, 9, 9)), Input=data)
    with pytest.raises(SlotNotReadyError, match=r"no part of the shape \(7, 8, 9\)"):
        op.Output[:]


@pytest.mark.parametrize("order", ["xyz", "tzyxc", "zcyxt", "yzx"])
def test_axes_are_reordered(data, order):
    """Axes come in the order asked for; those that are missing are added with size 1."""
    op = slots(OpReorderAxes(), AxisOrder=order)
    tagged(op, data, axistags="zyx", voxel_size=(40, 4, 5), offset=(0, 8, 10))

    def reference(image):
        moved = image.transpose(["zyx".index(name) for name in order if name in "zyx"])
        return moved.reshape(
            [
                moved.shape["".join(n for n in order if n in "zyx").index(k)] if k in "zyx" else 1
                for k in order
            ]
        )

    check_operator(op, reference)
    meta = op.Output.meta
    assert (meta.axistags, "".join(meta.original_axistags), meta.original_shape) == (order, "zyx", (7, 8, 9))
    sizes = dict(zip("zyx", (40, 4, 5)))
    assert meta.voxel_size == tuple(sizes[name] for name in order if name in sizes)


def test_axes_of_size_one_are_dropped(data):
    """An axis that the order leaves out must have one voxel."""
    op = tagged(slots(OpReorderAxes(), AxisOrder="xzy"), data[:, None, :, :, None], axistags="ztyxc")
    check_operator(op, lambda image: image[:, 0, :, :, 0].transpose(2, 0, 1))
    op = tagged(slots(OpReorderAxes(), AxisOrder="xz"), data, axistags="zyx")
    with pytest.raises(SlotNotReadyError, match="leaves out y, which has more than one voxel"):
        op.Output[:]


def test_arrays_are_stacked_along_a_new_axis(data):
    """Where the arrays do not have the axis, it is added."""
    for index, axis in ((None, 3), (0, 0), (2, 2)):
        op = slots(OpMultiArrayStacker(), AxisFlag="c", AxisIndex=index)
        check_operator(
            op,
            partial(lambda axis, *images: np.stack(images, axis), axis),
            arrays={"Images": [data, data + 1, data[::-1].copy()]},
        )
    op.Images[0].setValue(data, extra_meta={"axistags": "zyx", "voxel_size": (3, 2, 1)})
    assert (op.Output.meta.axistags, op.Output.meta.voxel_size) == ("zycx", (3, 2, 1))


def test_arrays_are_joined_along_an_axis_that_they_have(data):
    """Where the arrays have the axis, they follow each other along it."""
    op = slots(OpMultiArrayStacker(), AxisFlag="y")
    op.Images.resize(2)
    op.Images[0].setValue(data, extra_meta={"axistags": "zyx"})
    op.Images[1].setValue(data[:, :3].astype(np.uint16), extra_meta={"axistags": "zyx"})
    assert op.Output.dtype == np.uint16
    check_operator(op, lambda *images: np.concatenate(images, 1))
    op.Images[1].setValue(data[:2], extra_meta={"axistags": "zyx"})
    with pytest.raises(SlotNotReadyError, match="they must be the same but for axis 1"):
        op.Output[:]


@pytest.mark.parametrize("cls", [OpMultiArraySlicer, OpMultiArraySlicer2])
def test_an_array_is_cut_into_slices(data, cls):
    """Each slice is a slot, without the axis or with one voxel of it; changes reach the slices they touch."""
    op = tagged(slots(cls(), AxisFlag="y"), data, axistags="zyx")
    assert len(op.Slices) == 8
    for index in (0, 5):
        expected = data[:, index] if cls is OpMultiArraySlicer else data[:, index : index + 1]
        np.testing.assert_array_equal(op.Slices[index][:].wait(), expected)
        np.testing.assert_array_equal(op.Slices[index][2:4].wait(), expected[2:4])
    told = []
    for slot in op.Slices:
        slot.notifyDirty(lambda slot, roi: told.append((slot.subindex, tuple(roi.start), tuple(roi.stop))))
    op.Input.setDirty((1, 3, 2), (2, 5, 4))
    low, high = ((1, 2), (2, 4)) if cls is OpMultiArraySlicer else ((1, 0, 2), (2, 1, 4))
    assert told == [((3,), low, high), ((4,), low, high)]


def test_some_slices(data):
    """`SliceIndexes` chooses slices."""
    op = slots(OpMultiArraySlicer2(), AxisFlag=0, SliceIndexes=[5, 2], Input=data)
    assert [slot[:].wait().tolist() for slot in op.Slices] == [data[5:6].tolist(), data[2:3].tolist()]


def test_one_channel(data):
    """The channel axis is found by its name, else it is the last."""
    check_operator(slots(OpSingleChannelSelector(), Index=4, Input=data), lambda image: image[:, :, 4:5])
    op = tagged(slots(OpSingleChannelSelector(), Index=6), data, axistags="czy")
    check_operator(op, lambda image: image[6:7])
    op.Index.setValue(7)
    with pytest.raises(SlotNotReadyError, match="is to give channel 7; there are 7 channels"):
        op.Output[:]


class OpCount(Operator):
    """How often it was asked."""

    Input = InputSlot()
    Output = OutputSlot()
    times = 0

    def setupOutputs(self):
        self.Output.meta.shape, self.Output.meta.dtype = (1,), int

    def execute(self, slot, subindex, roi, result):
        self.times += 1
        result[0] = self.times

    def propagateDirty(self, slot, subindex, roi):
        self.Output.setDirty()


def test_a_value_is_computed_once_until_its_input_changes():
    """OpValueCache asks once for many, can be given a value, and waits while it is fixed."""
    count = slots(OpCount(), Input=0)
    op = OpValueCache()
    op.Input.connect(count.Output)
    together = threading.Barrier(4)
    values = []

    def ask():
        together.wait(10)
        values.append(op.Output.value)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert values == [1] * 4
    count.Input.setValue(1)
    assert op.Output.value == 2
    op.forceValue(17)
    assert op.Output.value == 17
    op.fixAtCurrent.setValue(True)
    count.Input.setValue(2)
    assert op.Output.value == 17
    op.fixAtCurrent.setValue(False)
    assert op.Output.value == 3


def test_precomputed_data_are_used_until_their_source_changes(data):
    """The slow input takes over when it changes, until `Reset`."""
    op = slots(OpPrecomputedInput(), SlowInput=data, PrecomputedInput=data + 100)
    np.testing.assert_array_equal(op.Output[:].wait(), data + 100)
    op.SlowInput.setDirty((0, 0, 0), (1, 1, 1))
    np.testing.assert_array_equal(op.Output[:].wait(), data)
    op.Reset()
    np.testing.assert_array_equal(op.Output[:].wait(), data + 100)
    other = slots(OpPrecomputedInput(), PrecomputedInput=data + 100, SlowInput=data)
    np.testing.assert_array_equal(other.Output[:].wait(), data + 100)
    plain = slots(OpPrecomputedInput(), SlowInput=data)
    np.testing.assert_array_equal(plain.Output[:].wait(), data)


def test_metadata_are_injected_and_selected(data):
    """A field is added on the way, and read as a value that tells of its changes."""
    injector = slots(OpMetadataInjector(), Metadata={"drange": (0, 99), "note": "x"}, Input=data)
    check_operator(injector, lambda image: image)
    selector = slots(OpMetadataSelector(), MetadataKey="note")
    selector.Input.connect(injector.Output)
    assert selector.Output.value == "x"
    told = []
    selector.Output.notifyDirty(lambda slot, roi: told.append(slot.ready() and slot.value))
    injector.Metadata.setValue({"note": "y"})
    assert told[-1] == "y"
    selector.MetadataKey.setValue("nothing")
    with pytest.raises(SlotNotReadyError, match="the metadata of its input have no 'nothing'"):
        _ = selector.Output.value
