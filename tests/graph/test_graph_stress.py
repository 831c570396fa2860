"""Requests, cancels, values, dirtiness and reconfiguration, all at the same time, from 8 threads and 8 workers."""

import gc
import random
import sys
import threading

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from small_operators import OpPass, OpPlus, OpSum

from blockflow.errors import RoiError
from blockflow.graph import InputSlot, Operator, OperatorWrapper, OutputSlot, SlotNotReadyError
from blockflow.operators import OpBlockedArrayCache, OpUnblockedArrayCache
from blockflow.request import InvalidRequestException, Request, RequestPool
from blockflow.rtype import SubRegion

SOON = 60
THREADS = 8


@pytest.fixture(autouse=True)
def _eight_workers():
    """Eight workers, and threads that take turns every few instructions, so that they meet anywhere."""
    Request.reset_thread_pool(THREADS)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)
    Request.reset_thread_pool()


class OpRowCache(Operator):
    """Keeps each row that was computed, until it is dirty."""

    Input = InputSlot()
    Output = OutputSlot()

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.mutex, self.rows, self.ages = threading.Lock(), {}, {}

    def setupOutputs(self):
        if self.Output.meta != self.Input.meta:
            self.forget(range(1000))
        self.Output.meta.assignFrom(self.Input.meta)

    def forget(self, rows):
        with self.mutex:
            for row in rows:
                self.rows.pop(row, None)
                self.ages[row] = self.ages.get(row, 0) + 1

    def execute(self, slot, subindex, roi, result):
        width = self.Input.meta.shape[1]
        for place, row in enumerate(range(roi.start[0], roi.stop[0])):
            with self.mutex:
                data, age = self.rows.get(row), self.ages.get(row, 0)
            if data is None:
                data = self.Input.get(SubRegion(self.Input, (row, 0), (row + 1, width))).wait()
                with self.mutex:
                    if self.ages.get(row, 0) == age:
                        self.rows[row] = data
            result[place] = data[0, roi.start[1] : roi.stop[1]]

    def propagateDirty(self, slot, subindex, roi):
        self.forget(range(roi.start[0], roi.stop[0]))
        self.Output.setDirty(roi)


CACHES = (OpRowCache, OpBlockedArrayCache, OpUnblockedArrayCache)


class Net:
    """Two sources; the sum of one of them, cached, and of the other one, cached behind a number."""

    def __init__(self, cache):
        self.sources = [OpPass(), OpPass()]
        self.switch, self.plus, self.total, self.last = OpPass(), OpPlus(), OpSum(), OpPass()
        self.caches = [cache(), cache()]
        if cache is OpBlockedArrayCache:
            for one in self.caches:
                one.BlockShape.setValue((2, 2))
        self.switch.Input.connect(self.sources[0].Output)
        self.caches[0].Input.connect(self.switch.Output)
        self.plus.Input.connect(self.sources[1].Output)
        self.caches[1].Input.connect(self.plus.Output)
        self.total.A.connect(self.caches[0].Output)
        self.total.B.connect(self.caches[1].Output)
        self.last.Input.connect(self.total.Output)


def seen(request):
    """What a request gives, as its only element, or why it gives nothing."""
    try:
        data = request.wait(SOON) if Request.thread_pool().num_workers else request.wait()
    except (SlotNotReadyError, RoiError, InvalidRequestException) as error:
        return type(error).__name__
    values = set(data.ravel().tolist())
    assert len(values) == 1, "an answer of two states"
    return values.pop()


class GraphMachine(RuleBasedStateMachine):
    """A graph beside its model: an answer is that of a state between the request's start and its end."""

    @initialize(cache=st.sampled_from(CACHES))
    def make(self, cache):
        Request.reset_thread_pool(THREADS)
        self.net = Net(cache)
        self.values, self.number, self.connected, self.rows = [1, 1000], 1, 0, 4
        self.arrays = [None, None]
        self.pending = []
        for place in (0, 1):
            self.store(place)

    def store(self, place):
        self.arrays[place] = np.full((self.rows, 3), self.values[place])
        self.net.sources[place].Input.setValue(self.arrays[place])

    def expected(self):
        if self.connected is None:
            return "SlotNotReadyError"
        return self.values[self.connected] + self.values[1] + self.number

    def changed(self):
        for allowed, *_ in self.pending:
            allowed.add(self.expected())
            if self.rows < 4:
                allowed.add("RoiError")

    @rule(place=st.integers(0, 1), value=st.integers(0, 10**6))
    def set_value(self, place, value):
        self.values[place] = value
        self.store(place)
        self.changed()

    @rule(place=st.integers(0, 1), value=st.integers(0, 10**6), first=st.integers(0, 3))
    def set_dirty(self, place, value, first):
        """Change an array in place, in two steps of which each is told; the first alone is not whole."""
        if self.pending:
            return
        self.values[place] = value
        self.arrays[place][first:] = value
        self.net.sources[place].Input.setDirty(slice(min(first, self.rows), None))
        self.arrays[place][:first] = value
        self.net.sources[place].Input.setDirty(slice(None, min(first, self.rows)))

    @rule(number=st.integers(0, 10**6))
    def set_number(self, number):
        self.number = number
        self.net.plus.Number.setValue(number)
        self.changed()

    @rule(place=st.sampled_from([0, 1, None]))
    def connect(self, place):
        self.connected = place
        self.net.switch.Input.connect(None if place is None else self.net.sources[place].Output)
        self.changed()

    @precondition(lambda self: not self.pending)
    @rule(rows=st.integers(1, 6))
    def reshape(self, rows):
        self.rows = rows
        for place in (0, 1):
            try:
                self.store(place)
            except AssertionError:  # one has its new shape, the other one not yet: OpSum says so
                assert place == 0

    @rule(where=st.sampled_from(["last", "total"]))
    def ask(self, where):
        slot = getattr(self.net, where).Output
        if self.connected is None:
            with pytest.raises(SlotNotReadyError):
                slot[:]
        else:
            assert seen(slot[:]) == self.expected()

    @precondition(lambda self: self.connected is not None)
    @rule(row=st.integers(0, 5))
    def submit(self, row):
        slot = self.net.last.Output
        row = min(row, self.rows - 1)
        request = slot[row : row + 1].submit()
        self.pending.append(({self.expected()}, request, set()))

    @precondition(lambda self: self.pending)
    @rule(data=st.data())
    def cancel(self, data):
        allowed, request, _ = data.draw(st.sampled_from(self.pending))
        if request.cancel():
            allowed.add("InvalidRequestException")

    @precondition(lambda self: self.pending)
    @rule()
    def join(self):
        allowed, request, _ = self.pending.pop(0)
        assert seen(request) in allowed

    @invariant()
    def caches_hold_only_what_is_true(self):
        """No row that is kept as clean is stale."""
        if not hasattr(self, "net") or self.connected is None:
            return
        truths = (self.values[self.connected], self.values[1] + self.number)
        if not isinstance(self.net.caches[0], OpRowCache):
            return
        for cache, truth in zip(self.net.caches, truths):
            with cache.mutex:
                kept = {row: set(data.ravel().tolist()) for row, data in cache.rows.items()}
            assert all(values == {truth} for values in kept.values())

    def teardown(self):
        for allowed, request, _ in getattr(self, "pending", ()):
            assert seen(request) in allowed
        Request.reset_thread_pool()


GraphMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestGraphMachine = GraphMachine.TestCase


def run_all(*workers):
    """Run functions in threads of their own; raise what the first of them raised."""
    errors = []

    def run(work):
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
        assert not thread.is_alive(), "a deadlock"
    if errors:
        raise errors[0]


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("seed", range(2))
def test_eight_threads(seed, cache):
    """Editors, askers and cancellers at once: nothing hangs, and every answer is whole and not older than its request.

    Editors count upwards, each in its own digits, so that an answer tells which state it is of.
    """
    net = Net(cache)
    done = [0, 0, 0]  # of each editor the last value whose edit has returned
    begun = [0, 0, 0]
    base = 10**4
    net.sources[0].Input.setValue(np.zeros((4, 3), np.int64))
    net.sources[1].Input.setValue(np.zeros((4, 3), np.int64))
    net.plus.Number.setValue(0)
    flips = [0]

    def source_editor(place):
        def edit():
            for k in range(1, 120):
                begun[place] = k
                net.sources[place].Input.setValue(np.full((4, 3), k * base**place))
                done[place] = k

        return edit

    def number_editor():
        for k in range(1, 120):
            begun[2] = k
            net.plus.Number.setValue(k * base**2)
            done[2] = k

    def connector():
        # from and to a source without data, so that for a while the slots downstream are not ready
        empty = OpPass()
        for _ in range(40):
            net.switch.Input.connect(empty.Output)
            net.switch.Input.connect(net.sources[0].Output)
            flips[0] += 1

    def asker(number):
        chance = random.Random(100 * seed + number)

        def ask():
            answered = 0
            while answered < 60:
                low = list(done)
                start = chance.randrange(4)
                try:
                    request = net.last.Output[start : chance.randrange(start, 4) + 1]
                    if chance.random() < 0.3:
                        request.submit()
                    if chance.random() < 0.1:
                        request.cancel()
                    answer = seen(request)
                except SlotNotReadyError:
                    continue
                high = list(begun)
                if isinstance(answer, str):
                    continue
                answered += 1
                parts = [answer // base**k % base for k in range(3)]
                assert all(a <= part <= b for a, part, b in zip(low, parts, high)), (low, parts, high)

        return ask

    run_all(
        source_editor(0), source_editor(1), number_editor, connector, *(asker(number) for number in range(4))
    )
    assert seen(net.last.Output[:]) == 119 * (1 + base + base**2)
    for one, truth in zip(net.caches, (119, 119 * (base + base**2))):
        assert seen(one.Output[:]) == truth


@pytest.mark.parametrize("cache", CACHES)
def test_requests_that_edit(cache):
    """Requests that change the graph they are part of, from all workers at once, end, and so do those they overtake."""
    net = Net(cache)
    for source in net.sources:
        source.Input.setValue(np.zeros((4, 3), np.int64))
    lock = threading.Lock()
    count = [0]

    def edit():
        with lock:
            count[0] += 1
            k = count[0]
        net.plus.Number.setValue(k)
        net.last.Output[0:1].wait()
        net.sources[0].Input.setDirty(slice(0, 1))
        return net.last.Output[:].wait()

    pool = RequestPool(THREADS)
    for _ in range(100):
        pool.add(Request(edit))
        pool.add(net.last.Output[:])
    pool.wait()
    net.plus.Number.setValue(1000)
    assert seen(net.last.Output[:]) == 1000


def test_lists_that_change_while_they_are_asked():
    """Lanes come and go while others ask: every answer is that of a lane, whole; nothing hangs."""
    wrapper = OperatorWrapper(OpPlus, promotedSlotNames=["Input"])
    wrapper.Input.setValues([np.full((4, 3), k) for k in range(3)])
    stop = threading.Event()

    def edit():
        try:
            for k in range(60):
                wrapper.Input.insertSlot(1, 4)
                wrapper.Input[1].setValue(np.full((4, 3), 10 + k))
                wrapper.Input.removeSlot(1, 3)
        finally:
            stop.set()

    def ask():
        while not stop.is_set():
            try:
                lane = list(wrapper.Output)[1]
                answer = seen(lane[:])
            except (SlotNotReadyError, AttributeError):
                continue
            assert isinstance(answer, str) or answer == 2 or 11 <= answer < 71

    run_all(edit, ask, ask, ask)
    assert [one.value[0, 0] for one in wrapper.Output] == [1, 2, 3]


def test_operators_made_and_dropped_by_all_threads():
    """Building, connecting, asking and dropping graphs from many threads at once, garbage collected at any time."""
    source = OpPlus()
    source.Input.setValue(np.full((4, 3), 4))

    def work():
        for k in range(60):
            op, other = OpPlus(), OpPass()
            op.Input.connect(source.Output)
            other.Input.connect(op.Output)
            op.Number.setValue(k)
            assert seen(other.Output[:].submit()) == 5 + k

    run_all(*[work] * THREADS)
    for _ in range(250):  # a thread of the pool lets go of its last request when it gets to run
        gc.collect()
        if not source.Output.downstream_slots:
            break
        threading.Event().wait(0.02)
    assert source.Output.downstream_slots == []
    assert len(source.graph.operators) == 1
