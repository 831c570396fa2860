"""Many regions of a slot: each once, few at a time, none kept; the first failure ends it."""

import itertools
import threading
import tracemalloc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockflow.errors import RoiError
from blockflow.graph import InputSlot, Operator, OutputSlot
from blockflow.request import Request, RequestPool
from blockflow.utility import BigRequestStreamer, RoiRequestBatch, RoiRequestBufferIter
from blockflow.utility.bigRequestStreamer import blocks_of_roi, choose_blockshape
from blockflow.utility.roiRequestBatch import RoiRequestBatchException


class OpNumber(Operator):
    """Each voxel is its number in C order; counts what is asked, and how much of it at one time."""

    Output = OutputSlot()

    def __init__(self, shape, dtype=np.int64, **meta):
        super().__init__()
        self.shape, self.dtype, self.extra = shape, dtype, meta
        self.lock = threading.Lock()
        self.active = self.most = 0
        self.rois = []
        self.alive = weakref.WeakSet()
        self.hook = lambda roi: None

    def setupOutputs(self):
        self.Output.meta.shape = tuple(self.shape)
        self.Output.meta.dtype = self.dtype
        self.Output.meta.update(self.extra)

    def execute(self, slot, subindex, roi, result):
        with self.lock:
            self.active += 1
            self.most = max(self.most, self.active)
            self.rois.append((tuple(roi.start), tuple(roi.stop)))
        try:
            self.hook(roi)
            grids = np.ix_(*(np.arange(a, b) for a, b in zip(roi.start, roi.stop)))
            strides = np.cumprod([1, *self.shape[:0:-1]])[::-1]
            result[...] = sum(int(stride) * grid for stride, grid in zip(strides, grids))
        finally:
            with self.lock:
                self.active -= 1

    def propagateDirty(self, slot, subindex, roi):
        pass


def truth(shape):
    return np.arange(np.prod(shape)).reshape(shape)


@pytest.fixture(params=[0, 1, 3], ids="{}workers".format)
def workers(request):
    """A thread pool of that many workers."""
    before = Request.thread_pool().num_workers
    Request.reset_thread_pool(request.param)
    yield request.param
    Request.reset_thread_pool(before)


SHAPES = st.lists(st.integers(1, 9), min_size=1, max_size=3)


@given(SHAPES, st.data())
def test_blocks_tile_a_region(shape, data):
    """The blocks of a region cover each voxel of it once, in C order, and lie within the grid's blocks."""
    start = [data.draw(st.integers(0, size - 1)) for size in shape]
    stop = [data.draw(st.integers(low + 1, size)) for low, size in zip(start, shape)]
    blockshape = [data.draw(st.integers(1, 10)) for _ in shape]
    origin = data.draw(st.sampled_from([start, [0] * len(shape)]))
    count = np.zeros(shape, int)
    blocks = list(blocks_of_roi(blockshape, (start, stop), origin))
    for first, last in blocks:
        count[tuple(map(slice, first, last))] += 1
        assert all(
            (a - o) // size == (b - 1 - o) // size for a, b, o, size in zip(first, last, origin, blockshape)
        )
    inside = np.zeros(shape, bool)
    inside[tuple(map(slice, start, stop))] = True
    assert (count == inside).all()
    assert blocks == sorted(blocks)


@pytest.mark.parametrize("alignment", ["absolute", "relative"])
def test_a_streamed_region_is_the_region(workers, alignment):
    """All blocks together are the region, each asked once; progress grows from 0 to 100; callbacks do not overlap."""
    op = OpNumber((20, 31, 7))
    roi = ((3, 2, 0), (20, 30, 7))
    streamer = BigRequestStreamer(op.Output, roi, (8, 8, 8), 3, alignment)
    out, percents, busy = np.zeros(op.shape, int), [], threading.Lock()

    def take(block, result):
        assert busy.acquire(blocking=False)
        out[tuple(map(slice, *block))] = result
        busy.release()

    streamer.resultSignal.subscribe(take)
    streamer.progressSignal.subscribe(percents.append)
    streamer.execute()
    inside = tuple(map(slice, *roi))
    expected = np.zeros(op.shape, int)
    expected[inside] = truth(op.shape)[inside]
    assert (out == expected).all()
    assert len(op.rois) == len(set(op.rois))
    assert percents == sorted(percents)
    assert (percents[0], percents[-1]) == (0, 100)
    assert op.most <= 3


def test_regions_come_from_a_generator_as_they_are_needed(workers):
    """An endless supply of regions is read one by one; what ends it, ends it."""
    op = OpNumber((10,))
    taken = []

    def endless():
        for number in itertools.count():
            if len(taken) >= 50:
                return
            yield (number % 10,), (number % 10 + 1,)

    batch = RoiRequestBatch(op.Output, endless(), batchSize=2)
    batch.resultSignal.subscribe(lambda roi, result: taken.append((roi, int(result[0]))))
    batch.execute()
    assert 50 <= len(taken) <= 52
    assert all(start[0] == value for (start, _), value in taken)


def test_results_do_not_pile_up(workers):
    """No more results are alive at one time than are asked for at one time."""
    op = OpNumber((400,))
    alive, most = weakref.WeakValueDictionary(), []

    def take(roi, result):
        alive[roi] = result
        most.append(len(alive))

    batch = RoiRequestBatch(op.Output, (((n,), (n + 1,)) for n in range(40)), batchSize=3)
    batch.resultSignal.subscribe(take)
    batch.execute()
    assert len(most) == 40
    assert max(most) <= 3


def test_four_gigabytes_stream_through_little_memory():
    """Streaming a slot of 4 GB, blocks of our own choice, holds less than 300 MB."""
    op = OpVirtual((4096, 1024, 1024))
    streamer = BigRequestStreamer(op.Output, ((0, 0, 0), op.shape))
    voxels = []
    streamer.resultSignal.subscribe(lambda roi, result: voxels.append(result.size))
    tracemalloc.start()
    try:
        streamer.execute()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(voxels) == 2**32
    assert peak < 300e6


class OpVirtual(OpNumber):
    """Voxels that take memory, but no time to make."""

    def __init__(self, shape):
        super().__init__(shape, np.uint8)

    def execute(self, slot, subindex, roi, result):
        result[..., 0] = 1


@pytest.mark.parametrize("where", ["request", "callback"])
def test_the_first_failure_ends_it(workers, where):
    """What fails is raised with its region and cause; nothing begins after it, and what is on its way is cancelled."""
    op = OpNumber((1000,))

    def fail(number):
        if number == 5:
            raise ZeroDivisionError("five")

    if where == "request":
        op.hook = lambda roi: fail(roi.start[0])
    batch = RoiRequestBatch(op.Output, (((n,), (n + 1,)) for n in range(1000)), batchSize=2)
    if where == "callback":
        batch.resultSignal.subscribe(lambda roi, result: fail(roi[0][0]))
    with pytest.raises(
        RoiRequestBatchException, match=r"region \(5,\) to \(6,\) .*: ZeroDivisionError: five"
    ) as caught:
        batch.execute()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert caught.value.roi == ((5,), (6,))
    asked = len(op.rois)
    assert asked < 20
    assert op.active == 0


@pytest.mark.parametrize("workers", [3], indirect=True)
def test_a_failure_cancels_what_waits(workers):
    """A request that waits while another fails is cancelled at once: the batch does not wait for what it waits for."""
    op = OpNumber((2,))
    waiting, begun, released = threading.Event(), threading.Event(), threading.Event()
    gate = Request(lambda: begun.set() or released.wait(60)).submit()
    assert begun.wait(60)  # by a worker, or who waits for it would work on it

    def hook(roi):
        if roi.start[0] == 0:
            waiting.set()
            gate.wait()
        else:
            assert waiting.wait(60)
            raise ZeroDivisionError

    op.hook = hook
    batch = RoiRequestBatch(op.Output, [((0,), (1,)), ((1,), (2,))], batchSize=2)
    taken = []
    batch.resultSignal.subscribe(lambda roi, result: taken.append(roi))
    try:
        with pytest.raises(RoiRequestBatchException, match="ZeroDivisionError"):
            batch.execute()
        assert not gate.finished
        assert taken == []
    finally:
        released.set()
        gate.wait()


def test_parallel_results(workers):
    """With `allowParallelResults` callbacks may run beside each other; all results arrive all the same."""
    op = OpNumber((64,))
    streamer = BigRequestStreamer(op.Output, ((0,), (64,)), (4,), 3, allowParallelResults=True)
    out = np.zeros(64, int)

    def take(roi, result):
        out[roi[0][0] : roi[1][0]] = result

    streamer.resultSignal.subscribe(take)
    streamer.execute()
    assert (out == np.arange(64)).all()


def test_a_plain_array_is_streamed():
    """A slot whose value is a plain array, without axis names, is as good as any."""

    class OpPass(Operator):
        Input = InputSlot()

        def propagateDirty(self, slot, subindex, roi):
            pass

    op = OpPass()
    op.Input.setValue(np.arange(24).reshape(4, 6))
    streamer = BigRequestStreamer(op.Input, ((0, 0), (4, 6)))
    taken = []
    streamer.resultSignal.subscribe(lambda roi, result: taken.append((roi, result.sum())))
    streamer.execute()
    assert taken == [(((0, 0), (4, 6)), 276)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"roi": ((0, 0), (4, 7))}, "not within"),
        ({"roi": ((0,), (4,))}, "it has 2 axes"),
        ({"blockshape": (0, 1)}, "must be 2 positive numbers"),
        ({"blockAlignment": "left"}, "valid are 'absolute' and 'relative'"),
        ({"batchSize": 0}, "give 1 or more"),
    ],
)
def test_wrong_arguments_are_refused_at_once(arguments, message):
    """Arguments are checked when a streamer is made, not when it runs."""
    op = OpNumber((4, 6))
    with pytest.raises(ValueError, match=message):
        BigRequestStreamer(op.Output, **({"roi": ((0, 0), (4, 6))} | arguments))


@given(
    shape=st.tuples(*[st.integers(1, 3000)] * 3),
    ideal=st.none() | st.tuples(*[st.sampled_from([0, 1, 16, 64, 100])] * 3),
    itemsize=st.sampled_from([1, 2, 8]),
    batch=st.integers(1, 8),
)
def test_a_chosen_block_shape_fits(shape, ideal, itemsize, batch):
    """A chosen block has voxels, is no larger than the region, and a batch of them fits in memory."""
    op = OpNumber(shape, np.dtype(f"u{itemsize}").type, ideal_blockshape=ideal)
    chosen = choose_blockshape(op.Output.meta, ((0, 0, 0), shape), batch)
    assert all(1 <= one <= size for one, size in zip(chosen, shape))
    assert np.prod(chosen, dtype=float) * 4 * itemsize * batch <= 2**27


def test_channels_stay_together_and_points_in_time_apart():
    """A block that we choose has all channels, and one point in time."""
    op = OpNumber((5, 4000, 4000, 3), np.uint8, axistags="tyxc", ideal_blockshape=(1, 64, 64, 1))
    t, y, x, c = choose_blockshape(op.Output.meta, ((0, 0, 0, 0), op.shape), 2)
    assert (t, c) == (1, 3)
    assert y % 64 == x % 64 == 0


@pytest.mark.parametrize("axes", ["tz", [0, 1]])
def test_slices_come_in_order(workers, axes):
    """Slices are those of the slot, in C order, as many as `len` says, and progress ends at 100."""
    op = OpNumber((2, 3, 4, 5), axistags="tzyx")
    slices = RoiRequestBufferIter(op.Output, 2, axes)
    percents = []
    slices.progress_signal.subscribe(percents.append)
    found = list(slices)
    assert len(found) == len(slices) == 6
    assert (np.concatenate(found).reshape(op.shape) == truth(op.shape)).all()
    assert percents[-1] == 100


def test_slices_are_computed_as_they_are_read(workers):
    """Of a long sequence no more is computed than was read and fits in the batch; leaving it cancels the rest."""
    op = OpNumber((1000, 2), axistags="zx")
    reader = iter(RoiRequestBufferIter(op.Output, 3, "z"))
    for number in range(5):
        assert next(reader)[0, 0] == 2 * number
    assert len(op.rois) <= 8
    reader.close()
    pool = RequestPool()
    pool.add(Request(lambda: None))
    pool.wait()
    assert len(op.rois) <= 8


def test_a_failing_slice_is_raised_at_its_place(workers):
    """The slices before a failing one are given, then its own exception."""
    op = OpNumber((10, 2), axistags="zx")

    def fail(roi):
        if roi.start[0] == 4:
            raise ZeroDivisionError

    op.hook = fail
    found = []
    with pytest.raises(ZeroDivisionError):
        found.extend(slice_[0, 0] for slice_ in RoiRequestBufferIter(op.Output, 1, "z"))
    reader = iter(RoiRequestBufferIter(op.Output, 1, "z"))
    assert [next(reader)[0, 0] for _ in range(4)] == [0, 2, 4, 6]
    with pytest.raises(ZeroDivisionError):
        next(reader)


@pytest.mark.parametrize(("axes", "batch"), [("z", 0), ([4], 1), ([-1], 1)])
def test_wrong_slices_are_refused(axes, batch):
    """A batch of nothing and an axis that is not there are refused."""
    op = OpNumber((4, 2), axistags="zx")
    with pytest.raises((ValueError, RoiError)):
        RoiRequestBufferIter(op.Output, batch, axes)


def test_axes_without_names_need_numbers():
    """Where a slot does not name its axes, numbers are asked for."""
    with pytest.raises(RoiError, match="give numbers instead of 'z'"):
        RoiRequestBufferIter(OpNumber((4, 2)).Output, 1, "z")
