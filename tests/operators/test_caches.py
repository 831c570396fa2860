"""Caches: each block is asked for once, none is stale, and the budget holds at every moment."""

import gc
import threading

import numpy as np
import pytest
from operators.arrays import slots

from blockflow.errors import TaskError
from blockflow.graph import InputSlot, Operator, OutputSlot
from blockflow.operators import (
    OpBlockedArrayCache,
    OpSlicedBlockedArrayCache,
    OpUnblockedArrayCache,
    OpValueCache,
    cached_bytes,
    set_cache_budget,
)
from blockflow.request import Request
from blockflow.rtype import SubRegion
from blockflow.tasks.graph_data import GraphData
from blockflow.testing.operators import check_operator

CACHES = {
    "blocked": lambda **values: slots(OpBlockedArrayCache(), BlockShape=(4, 5, 6), **values),
    "compressed": lambda **values: slots(
        OpBlockedArrayCache(), BlockShape=(4, 5, 6), CompressionEnabled=True, **values
    ),
    "unblocked": lambda **values: slots(OpUnblockedArrayCache(), **values),
    "sliced": lambda **values: slots(
        OpSlicedBlockedArrayCache(), BlockShape=[(1, 0, 0), (0, 1, 0), (0, 0, 1)], **values
    ),
}


class OpSource(Operator):
    """Its data, and what was asked of it; `before` is called before each answer."""

    Input = InputSlot()
    Output = OutputSlot()

    def __init__(self, data, **kwargs):
        super().__init__(**kwargs)
        self.asked = []
        self.before = lambda: None
        self.Input.setValue(data)

    def setupOutputs(self):
        self.Output.meta.assignFrom(self.Input.meta)

    def execute(self, slot, subindex, roi, result):
        self.asked.append((tuple(roi.start), tuple(roi.stop)))
        data = self.Input.get(SubRegion(self.Input, roi.start, roi.stop)).wait().copy()
        self.before()
        result[...] = data

    def propagateDirty(self, slot, subindex, roi):
        self.Output.setDirty(roi)

    def setInSlot(self, slot, subindex, roi, value):
        pass


@pytest.fixture
def data():
    return np.random.default_rng(3).integers(0, 99, (11, 12, 13), np.uint8)


@pytest.fixture(params=CACHES)
def cached(request, data):
    source = OpSource(data.copy())
    cache = CACHES[request.param]()
    cache.Input.connect(source.Output)
    return source, cache


@pytest.fixture(autouse=True)
def _default_budget():
    yield
    set_cache_budget()


@pytest.mark.parametrize("kind", CACHES)
def test_caches_keep_the_promises(kind, data):
    """A cache gives what its input has, asks for what it says, and passes changes on."""
    check_operator(CACHES[kind](Input=data), lambda image: image)


def test_what_is_kept_is_not_asked_for_again(cached, data):
    """The same region a second time comes from the cache."""
    source, cache = cached
    for _ in range(2):
        np.testing.assert_array_equal(cache.Output[2:7, 3:4, :].wait(), data[2:7, 3:4, :])
    asked = len(source.asked)
    cache.Output[2:7, 3:4, :].wait()
    assert len(source.asked) == asked == len(set(source.asked))
    assert cache.usedMemory() > 0
    assert cache.freeMemory() > 0 == cache.usedMemory()


def test_many_at_once_ask_once(cached):
    """Requests for one region at the same time have it computed once."""
    source, cache = cached
    together = threading.Barrier(4)
    results = []

    def ask():
        together.wait(10)
        results.append(cache.Output[0:4, 0:5, 0:6].wait())

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(results) == 4
    assert len(source.asked) == len(set(source.asked))


def test_a_change_reaches_what_is_kept(cached, data):
    """What was kept of a changed region is asked for anew, and the change is announced."""
    source, cache = cached
    cache.Output[:].wait()
    told = []
    cache.Output.notifyDirty(lambda slot, roi: told.append(roi))
    source.Input[5:6, 5:6, 5:6] = np.full((1, 1, 1), 200, np.uint8)
    assert cache.Output[5, 5, 5].wait().item() == 200
    assert any(roi.start[0] <= 5 < roi.stop[0] for roi in told)
    expected = data.copy()
    expected[5, 5, 5] = 200
    np.testing.assert_array_equal(cache.Output[:].wait(), expected)


def test_a_block_that_changes_while_it_is_computed_is_not_kept(cached):
    """Partial dirtiness during the computation of a block leaves no stale block behind."""
    source, cache = cached
    changes = iter([7])

    def change():
        for value in changes:
            new = np.full((1, 1, 1), value, np.uint8)
            elsewhere = threading.Thread(target=source.Input.__setitem__, args=((slice(1, 2),) * 3, new))
            elsewhere.start()
            elsewhere.join(30)

    source.before = change
    assert cache.Output[0:4, 0:5, 0:6].wait()[1, 1, 1] == 7
    assert cache.Output[1:2, 1:2, 1:2].wait().item() == 7
    assert cache.Output[:].wait()[1, 1, 1] == 7


def test_an_error_reaches_all_and_is_not_kept(cached, data):
    """What the input raises reaches who asks; the next request tries anew."""
    source, cache = cached

    def fail():
        raise KeyError("no data today")

    source.before = fail
    with pytest.raises(KeyError, match="no data today"):
        cache.Output[0:4, 0:5, 0:6].wait()
    source.before = lambda: None
    np.testing.assert_array_equal(cache.Output[0:4].wait(), data[0:4])


def test_a_cancelled_owner_leaves_the_work_to_others(cached, data):
    """If the request that computes a block is cancelled, one that waits for the block still gets it."""
    source, cache = cached
    entered, go_on = threading.Event(), threading.Event()

    def hold():
        entered.set()
        assert go_on.wait(30)
        Request.raise_if_cancelled()

    source.before = hold
    owner = Request(cache.Output[0:4, 0:5, 0:6].wait).submit()
    assert entered.wait(30)
    waiting = Request(cache.Output[0:4, 0:5, 0:6].wait).submit()
    owner.cancel()
    source.before = lambda: None
    go_on.set()
    np.testing.assert_array_equal(waiting.wait(), data[0:4, 0:5, 0:6])


def test_fixed_caches_give_what_they_have_and_catch_up_at_once(cached, data):
    """While fixed: kept data stay, others are zero, nothing is announced; then one dirty region for all of it."""
    source, cache = cached
    known = cache.Output[0:4, 0:5, 0:6].wait()
    told = []
    cache.Output.notifyDirty(lambda slot, roi: told.append((list(roi.start), list(roi.stop))))
    cache.fixAtCurrent.setValue(True)
    source.Input[1:2, 1:2, 1:2] = np.full((1, 1, 1), 200, np.uint8)
    np.testing.assert_array_equal(cache.Output[0:4, 0:5, 0:6].wait(), known)
    if not isinstance(cache, OpSlicedBlockedArrayCache):
        assert not cache.Output[10, 11, 12].wait().any()
    assert told == []
    cache.fixAtCurrent.setValue(False)
    assert len(told) == 1
    start, stop = told[0]
    assert all(a <= 1 < b for a, b in zip(start, stop))
    data[1, 1, 1] = 200
    np.testing.assert_array_equal(cache.Output[:].wait(), data)


def test_another_shape_empties_the_cache(cached):
    """Metadata that change leave nothing of what was kept."""
    source, cache = cached
    cache.Output[:].wait()
    source.Input.setValue(np.full((5, 4, 3), 9, np.uint16))
    assert cache.Output[:].wait().tolist() == np.full((5, 4, 3), 9).tolist()
    source.Input.disconnect()
    assert cache.usedMemory() == 0


def test_a_cache_that_is_gone_takes_its_blocks_along(data):
    """The memory of a cache that nobody holds is free."""
    gc.collect()
    before = cached_bytes()
    cache = slots(OpBlockedArrayCache(), Input=data)
    cache.Output[:].wait()
    assert cached_bytes() == before + data.nbytes
    del cache
    gc.collect()
    assert cached_bytes() == before


def test_the_budget_holds_and_the_least_recently_used_goes(data):
    """When there is no room, the block that was not used for the longest time goes, also that of another cache."""
    one, other = (slots(OpBlockedArrayCache(), BlockShape=(4, 0, 0), Input=data + add) for add in range(2))
    size = 4 * 12 * 13
    gc.collect()
    set_cache_budget(cached_bytes() + 2 * size)
    one.Output[0:4].wait()
    one.Output[4:8].wait()
    one.Output[0:1].wait()  # used last
    other.Output[0:4].wait()
    assert one.CleanBlocks.value == [(slice(0, 4), slice(0, 12), slice(0, 13))]
    assert one.usedMemory() + other.usedMemory() == 2 * size
    set_cache_budget(0)
    assert one.usedMemory() + other.usedMemory() == 0
    np.testing.assert_array_equal(one.Output[:].wait(), data)
    assert one.usedMemory() == 0


def test_bypass_asks_for_whole_blocks_and_keeps_nothing(data):
    """BypassModeEnabled leaves the blocks, and drops what they hold."""
    source = OpSource(data)
    cache = slots(OpBlockedArrayCache(), BlockShape=(4, 0, 0), BypassModeEnabled=True)
    cache.Input.connect(source.Output)
    for _ in range(2):
        np.testing.assert_array_equal(cache.Output[1:2].wait(), data[1:2])
    assert source.asked == [((0, 0, 0), (4, 12, 13))] * 2
    assert (cache.CleanBlocks.value, cache.usedMemory()) == ([], 0)


def test_a_block_shape_of_other_axes_is_told():
    """The output is not ready, and says why, if the block shape does not fit."""
    cache = slots(OpBlockedArrayCache(), BlockShape=(4, 4), Input=np.zeros((5, 5, 5)))
    with pytest.raises(Exception, match=r"BlockShape is \(4, 4\), but the input has shape \(5, 5, 5\)"):
        cache.Output[:]
    cache.BlockShape.setValue((4, 4, 4))
    assert cache.Output[:].wait().shape == (5, 5, 5)


def test_pushed_data_are_kept(data):
    """`op.Input[...] = data` fills blocks without asking upstream."""
    source = OpSource(data)
    blocked = slots(OpBlockedArrayCache(), BlockShape=(4, 0, 0))
    unblocked = OpUnblockedArrayCache()
    for cache in (blocked, unblocked):
        cache.Input.connect(source.Output)
        cache.Input[4:9, 0:12, 0:13] = np.full((5, 12, 13), 77, np.uint8)
        assert (cache.Output[4:8].wait() == 77).all()
    assert source.asked == []
    assert blocked.CleanBlocks.value == [(slice(4, 8), slice(0, 12), slice(0, 13))]
    assert unblocked.CleanBlocks.value == [(slice(4, 9), slice(0, 12), slice(0, 13))]


def test_a_region_within_a_kept_one_is_a_hit(data):
    """The unblocked cache looks into larger regions, and asks for others as they are."""
    source = OpSource(data)
    cache = OpUnblockedArrayCache()
    cache.Input.connect(source.Output)
    cache.Output[0:6].wait()
    cache.Output[2:5, 3:4].wait()
    cache.Output[4:8].wait()
    assert source.asked == [((0, 0, 0), (6, 12, 13)), ((4, 0, 0), (8, 12, 13))]


def test_what_is_not_to_be_cached_passes_through(data):
    """`meta.dontcache` is respected."""
    source = OpSource(data)
    cache = OpBlockedArrayCache()
    source.Output.meta.dontcache = True
    cache.Input.connect(source.Output)
    cache.Output[1:2].wait()
    assert (source.asked, cache.usedMemory()) == ([((1, 0, 0), (2, 12, 13))], 0)


def test_slices_go_to_the_nearest_inner_cache(data):
    """A request is served by the cache whose blocks are nearest to its shape."""
    source = OpSource(data)
    cache = slots(OpSlicedBlockedArrayCache(), BlockShape=[(1, 0, 0), (0, 1, 0), (0, 0, 1)])
    cache.Input.connect(source.Output)
    cache.Output[3].wait()
    cache.Output[:, 4].wait()
    cache.Output[:, :, 5].wait()
    assert source.asked == [
        ((3, 0, 0), (4, 12, 13)),
        ((0, 4, 0), (11, 5, 13)),
        ((0, 0, 5), (11, 12, 6)),
    ]
    assert [len(slot) for slot in cache.InnerOutputs] == [11, 11, 11]


def test_nothing_is_stale_while_everything_changes():
    """Readers on several threads see no value older than the last one that was set before they asked."""
    source = OpSource(np.zeros((8, 8, 8), np.int64))
    cache = slots(OpBlockedArrayCache(), BlockShape=(4, 4, 4))
    cache.Input.connect(source.Output)
    latest, wrong, done = [0], [], threading.Event()

    def read(seed):
        random = np.random.default_rng(seed)
        while not done.is_set():
            start = random.integers(0, 8, 3)
            stop = [int(random.integers(a + 1, 9)) for a in start]
            least = latest[0]
            found = cache.Output(start.tolist(), stop).wait()
            if found.min() < least:
                wrong.append((least, found.min()))

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for value in range(1, 60):
        source.Input.setValue(np.full((8, 8, 8), value, np.int64))
        latest[0] = value
    done.set()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert (cache.Output[:].wait() == 59).all()


@pytest.mark.parametrize("make", CACHES.values(), ids=CACHES)
@pytest.mark.parametrize("held", ["fixed", "pushed"])
def test_a_cache_that_holds_other_data_than_its_input_cannot_be_run(make, held, tmp_path):
    """Workers would make it anew, empty, and give zeros or the input: it is refused."""

    data = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)
    cache = make(Input=data)
    assert GraphData.of([cache.Output])
    if held == "fixed":
        cache.fixAtCurrent.setValue(True)
    else:
        cache.Input[...] = data + 1
    with pytest.raises(TaskError, match="which workers cannot have"):
        GraphData.of([cache.Output])


def test_a_value_cache_that_holds_another_value_than_its_input_cannot_be_run():
    """A forced value, until the input changes, and one that is fixed are refused: workers would not have them."""
    cache = slots(OpValueCache(), Input=1)
    cache.forceValue(2)
    with pytest.raises(TaskError, match="a value that was forced"):
        GraphData.of([cache.Output])
    cache.Input.setValue(3)
    assert GraphData.of([cache.Output])
    cache.fixAtCurrent.setValue(True)
    with pytest.raises(TaskError, match="fixAtCurrent"):
        GraphData.of([cache.Output])
