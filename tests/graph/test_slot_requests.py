import threading

import numpy as np
import pytest
from small_operators import OpPass, OpPlus, OpSum, chain

from blockflow.errors import RoiError
from blockflow.graph import InputSlot, Operator, OutputSlot, Slot, SlotNotReadyError
from blockflow.request import Request
from blockflow.rtype import SubRegion

DATA = np.arange(24).reshape(4, 6)


def summed():
    op = OpSum()
    op.A.setValue(DATA)
    op.B.setValue(DATA)
    return op


def test_all_three_ways_to_ask():
    """A slicing, start and stop, or a roi: each gives a request, not data."""
    op = summed()
    roi = SubRegion(op.Output, (1, 2), (3, 5))
    requests = [
        op.Output[1:3, 2:5],
        op.Output(start=(1, 2), stop=(3, 5)),
        op.Output((1, 2), (3, 5)),
        op.Output(pslice=(slice(1, 3), slice(2, 5))),
        op.Output.get(roi),
    ]
    for request in requests:
        assert isinstance(request, Request)
        assert not request.started
        np.testing.assert_array_equal(request.wait(), 2 * DATA[1:3, 2:5])


@pytest.mark.parametrize(
    "key", [slice(None), (), None, Ellipsis, 2, -1, (0, slice(1, 3)), (Ellipsis, -2), slice(-3, -1)]
)
def test_slicings(key):
    """Ints keep their axis; negative indices, missing axes and an Ellipsis mean what they mean in numpy."""
    for slot in (summed().Output, summed().A):
        expected = slot._value if slot._value is not None else 2 * DATA
        numpys = expected[()] if key is None else expected[key]
        got = slot[key].wait()
        np.testing.assert_array_equal(got.ravel(), numpys.ravel())
        assert got.ndim == 2


@pytest.mark.parametrize("key", [slice(None, None, 2), (0, 0, 0), 4, -5, "x"])
def test_other_slicings_are_refused(key):
    """Strides, too many and impossible indices are ValueErrors."""
    for slot in (summed().Output, summed().A):
        with pytest.raises(ValueError, match=r"."):
            slot[key]


@pytest.mark.parametrize(
    ("start", "stop"),
    [((0, 0), (5, 6)), ((-1, 0), (2, 2)), ((0,), (2,)), ((0, 0, 0), (1, 1, 1)), ((9, 9), (9, 9))],
)
def test_a_request_out_of_bounds_is_refused_when_it_is_made(start, stop):
    """The error names slot, shape and region, for computed and for value slots, in all ways to ask."""
    op = summed()
    for slot in (op.Output, op.A):
        with pytest.raises(
            RoiError, match=rf"OpSum\.{slot.name} has shape \(4, 6\); .* reaches outside of it"
        ):
            slot(start, stop)
        with pytest.raises(RoiError):
            slot.get(SubRegion(None, start, stop))
    for slot in (op.Output, op.A):
        with pytest.raises(RoiError, match=r"has shape \(4, 6\); \(0, 0\) to \(9, 6\)"):
            slot[0:9]
        with pytest.raises(RoiError, match=r"\(0, -2\) to \(4, 3\)"):
            slot[:, -8:3]


def test_empty_regions():
    """A region without voxels is legal, and gives an empty array."""
    assert summed().Output[2:2].wait().shape == (0, 6)
    assert summed().A[2:2].wait().shape == (0, 6)


def test_write_into():
    """`writeInto` returns the request; `wait` then returns the destination, which holds the result."""
    op = summed()
    destination = np.zeros((4, 6), np.float32)
    request = op.Output[:]
    assert request.writeInto(destination) is request
    assert request.wait() is destination
    np.testing.assert_array_equal(destination, 2 * DATA)
    value = np.zeros((2, 6))
    assert op.A[1:3].writeInto(value).wait() is value
    np.testing.assert_array_equal(value, DATA[1:3])


@pytest.mark.parametrize("shape", [(2, 2), (1, 6), (3, 4, 6), ()])
def test_a_destination_of_another_shape_is_refused(shape):
    """A destination has the region's shape; another one is refused at once, also where numpy would broadcast."""
    op = summed()
    for slot in (op.Output, op.A):
        with pytest.raises(
            RoiError, match=r"the destination has shape .*; \(0, 0\) to \(4, 6\) has \(4, 6\)"
        ):
            slot[:].writeInto(np.zeros(shape))


def test_write_into_with_notify():
    """`writeInto` may be combined with `notify`."""
    op, called, seen = summed(), threading.Event(), []
    destination = np.zeros((4, 6))
    op.Output[:].writeInto(destination).notify(lambda request: (seen.append(request.wait()), called.set()))
    assert called.wait(20)
    assert seen[0] is destination
    np.testing.assert_array_equal(destination, 2 * DATA)


def test_write_into_comes_before_the_start():
    """A request that was started takes no destination any more."""
    request = summed().Output[:]
    request.wait()
    with pytest.raises(RuntimeError, match="writeInto comes before submit, notify and wait"):
        request.writeInto(np.zeros((4, 6)))


def test_a_request_of_a_value_is_done():
    """A value is there at once: no work, a view of it that cannot be written."""
    op = summed()
    request = op.A[1:3]
    assert request.finished
    data = request.wait()
    assert np.shares_memory(data, op.A.value)
    with pytest.raises(ValueError, match="read-only"):
        data[0, 0] = 1
    assert DATA[1, 0] == 6


def test_plain_values():
    """A scalar slot gives its value as a list of one; any object may be a value."""

    class Op(Operator):
        Number = InputSlot(value=3)
        Thing = InputSlot(value={"a": 1})

    op = Op()
    assert op.Number[:].wait() == [3]
    assert op.Thing[:].wait() == [{"a": 1}]
    assert (op.Number.value, op.Thing.value) == (3, {"a": 1})
    assert (op.Number.meta.shape, op.Number.meta.dtype) == ((1,), int)


def test_value_through_connections():
    """`value` of a connected slot is computed each time; one element of shape (1,), else the array."""
    ops = chain(OpPass() for _ in range(2))
    ops[0].Input.setValue(np.array([5]))
    assert ops[1].Output.value == 5
    assert ops[1].Input.value == 5
    assert len(ops[0].asked) == 2
    ops[0].Input.setValue(DATA)
    np.testing.assert_array_equal(ops[1].Output.value, DATA)


# not ready


def test_not_ready_names_the_first_unready_input():
    """A request of an unready slot is refused when it is made, naming the input that is missing."""
    ops = chain(OpPass() for _ in range(3))
    ops[0].name = "first"
    for ask in (lambda s: s[:], lambda s: s((0,), (1,)), lambda s: s.get(SubRegion(None, (0,), (1,)))):
        with pytest.raises(SlotNotReadyError, match=r"OpPass\.Output is not ready: first\.Input is neither"):
            ask(ops[2].Output)
    assert Slot.SlotNotReadyError is SlotNotReadyError
    with pytest.raises(Slot.SlotNotReadyError):
        _ = ops[2].Input.value


def test_a_slot_without_a_shape_says_so():
    """An array output that has no shape is refused with what setupOutputs must set."""

    class OpForgetful(OpPass):
        def setupOutputs(self):
            self.Output.meta.dtype = float

    op = OpForgetful()
    op.Input.setValue(DATA)
    with pytest.raises(SlotNotReadyError, match=r"OpForgetful\.Output has no meta\.shape"):
        op.Output[:]
    with pytest.raises(SlotNotReadyError, match=r"has no meta\.shape"):
        op.Output((0,), (1,))


def test_an_input_that_is_lost_before_the_work_begins():
    """A request that was made in time and starts too late fails with the same error."""
    op = summed()
    request = op.Output[:]
    op.B.disconnect()
    with pytest.raises(SlotNotReadyError, match=r"OpSum\.B"):
        request.wait()


def test_a_region_that_is_gone_before_the_work_begins():
    """A request of a region that its slot has no more is refused, not computed from what is there."""
    op = OpPlus()
    op.Input.setValue(DATA)
    request = op.Output[:]
    op.Input.setValue(DATA[:2])
    with pytest.raises(RoiError, match=r"has shape \(2, 6\); \(0, 0\) to \(4, 6\)"):
        request.wait()


# a lazy array to its neighbours


def test_a_slot_is_a_lazy_array():
    """shape, dtype, ndim, len, and numpy's functions take a slot, or a request, as an array."""
    op = summed()
    assert (op.Output.shape, op.Output.dtype, op.Output.ndim, len(op.Output)) == ((4, 6), DATA.dtype, 2, 4)
    np.testing.assert_array_equal(np.asarray(op.Output), 2 * DATA)
    np.testing.assert_array_equal(np.asarray(op.Output[1:3]), 2 * DATA[1:3])
    assert np.asarray(op.Output, dtype=float).dtype == float
    assert np.array(op.A, copy=True).flags.writeable
    with pytest.raises(TypeError, match="is one slot, not a list of slots"):
        iter(op.Output)
    assert bool(op.Output)


class LazyArray:
    """An array-like that records what is read of it."""

    def __init__(self, data):
        self.data, self.read = data, []
        self.shape, self.dtype = data.shape, data.dtype

    def __getitem__(self, key):
        self.read.append(key)
        return self.data[key]


def test_array_likes_are_read_piece_by_piece():
    """Anything with shape, dtype and slicing is a value, and only what is asked for is read."""
    lazy, op = LazyArray(DATA), OpPlus()
    op.Input.setValue(lazy)
    assert lazy.read == []
    assert op.Output.meta.shape == (4, 6)
    assert op.Output.meta.dtype is np.int64
    np.testing.assert_array_equal(op.Output[1:3, 2:4].wait(), DATA[1:3, 2:4] + 1)
    assert lazy.read == [(slice(1, 3), slice(2, 4))]
    destination = np.zeros((1, 6))
    op.Input[0].writeInto(destination).wait()
    np.testing.assert_array_equal(destination, DATA[:1])
    op.Input.setValue(lazy)
    assert len(lazy.read) == 2


def test_zarr_arrays(tmp_path):
    """A zarr array is such a value."""
    import zarr

    array = zarr.create_array(str(tmp_path / "a.zarr"), shape=(4, 6), dtype="uint8", chunks=(2, 3))
    array[:] = DATA
    op = OpPlus()
    op.Input.setValue(array)
    np.testing.assert_array_equal(op.Output[1:3].wait(), DATA[1:3] + 1)


# inputs at the same time


class OpMeet(OpPass):
    """Computes only while another one does."""

    barrier = None

    def execute(self, slot, subindex, roi, result):
        self.barrier.wait()
        super().execute(slot, subindex, roi, result)


def meeting():
    """Two operators whose executes meet, and the sum of them."""
    barrier = threading.Barrier(2, timeout=20)
    ops = [OpMeet(), OpMeet()]
    total = OpSum()
    for op, slot in zip(ops, (total.A, total.B)):
        op.barrier = barrier
        op.Input.setValue(DATA)
        slot.connect(op.Output)
    return ops, total


def test_sibling_inputs_are_computed_at_the_same_time():
    """Where requiredInputRoi is declared, two inputs are computed in parallel, though waited for in turn."""
    ops, total = meeting()
    np.testing.assert_array_equal(total.Output[1:3].wait(), 2 * DATA[1:3])
    assert [len(op.asked) for op in ops] == [1, 1]
    with_pool = total.Output[:].submit()
    np.testing.assert_array_equal(with_pool.wait(), 2 * DATA)


def test_submitting_before_waiting_computes_at_the_same_time():
    """Without a declaration, requests that are submitted before the first is waited for run in parallel."""

    class OpPlainSum(OpSum):
        def requiredInputRoi(self, slot, subindex, roi):
            return None

        def execute(self, slot, subindex, roi, result):
            requests = [self.A.get(roi).submit(), self.B.get(roi).submit()]
            result[...] = requests[0].wait() + requests[1].wait()

    ops, _ = meeting()
    total = OpPlainSum()
    total.A.connect(ops[0].Output)
    total.B.connect(ops[1].Output)
    np.testing.assert_array_equal(total.Output[:].wait(), 2 * DATA)


def test_parallel_inputs_can_be_turned_off():
    """With parallel_inputs = False inputs are computed one after the other."""
    running, most = [], []

    class OpWatch(OpPass):
        def execute(self, slot, subindex, roi, result):
            running.append(1)
            most.append(len(running))
            super().execute(slot, subindex, roi, result)
            running.pop()

    class OpSerialSum(OpSum):
        parallel_inputs = False

    total = OpSerialSum()
    for slot in (total.A, total.B):
        op = OpWatch()
        op.Input.setValue(DATA)
        slot.connect(op.Output)
    for _ in range(20):
        total.Output[:].wait()
    assert max(most) == 1


def test_inputs_computed_ahead_may_be_written_into_a_destination():
    """What was computed ahead is a request as any other: writeInto, notify, submit and get work on it."""

    class OpInto(OpSum):
        def execute(self, slot, subindex, roi, result):
            other = np.empty_like(result)
            seen = []
            a = self.A.get(roi).writeInto(result)
            b = self.B.get(roi).writeInto(other)
            b.notify(seen.append)
            assert a.wait() is result
            assert b.wait() is other
            assert seen == [b]
            result += other

    ops, _ = meeting()
    total = OpInto()
    total.A.connect(ops[0].Output)
    total.B.connect(ops[1].Output)
    np.testing.assert_array_equal(total.Output[:].wait(), 2 * DATA)


def test_what_is_computed_ahead_in_vain_is_let_go_of(capsys):
    """An input that execute does not ask for in the end, or that fails as well, makes no noise and no difference."""

    class OpFail(OpPass):
        def execute(self, slot, subindex, roi, result):
            raise KeyError(self.name)

    class OpFirstOnly(OpSum):
        def execute(self, slot, subindex, roi, result):
            result[...] = self.A.get(roi).wait()

    first, second = OpPass(), OpFail()
    for op in (first, second):
        op.Input.setValue(DATA)
    for kind in (OpFirstOnly, OpSum):
        total = kind()
        total.A.connect(first.Output)
        total.B.connect(second.Output)
        if kind is OpFirstOnly:
            np.testing.assert_array_equal(total.Output[:].wait(), DATA)
        else:
            total.A.connect(second.Output)
            total.B.connect(first.Output)
            with pytest.raises(KeyError):
                total.Output[:].wait()


def test_a_declared_region_may_reach_outside():
    """What a declaration says beyond the input's bounds is not asked for; execute gets what it asks for."""

    class OpWide(OpSum):
        def requiredInputRoi(self, slot, subindex, roi):
            return {one: roi.adjustRoi(1) for one in (self.A, self.B)}

        def execute(self, slot, subindex, roi, result):
            wide = roi.adjustRoi(1)
            wide.setInputShape(self.A.meta.shape)
            inner = tuple(slice(a - b, c - b) for a, c, b in zip(roi.start, roi.stop, wide.start))
            result[...] = (self.A.get(wide).wait() + self.B.get(wide).wait())[inner]

    ops, _ = meeting()
    total = OpWide()
    total.A.connect(ops[0].Output)
    total.B.connect(ops[1].Output)
    np.testing.assert_array_equal(total.Output[0:2, 1:3].wait(), 2 * DATA[0:2, 1:3])
    assert [[str(roi) for roi in op.asked] for op in ops] == [["(0, 0) to (3, 4)"]] * 2


def test_outputs_without_inputs():
    """An operator without inputs is set up when it is made."""

    class OpSource(Operator):
        Output = OutputSlot()

        def setupOutputs(self):
            self.Output.meta.shape, self.Output.meta.dtype = (3,), np.uint8

        def execute(self, slot, subindex, roi, result):
            result[...] = 7

        def propagateDirty(self, slot, subindex, roi):
            pass

    assert OpSource().Output[:].wait().tolist() == [7, 7, 7]
