"""What is known to go wrong in lazyflow, and must not here: one test for each."""

import threading
import tracemalloc

import numpy as np
import pytest
from small_operators import OpPass, OpPlus, OpSum, chain

from blockflow.errors import RoiError
from blockflow.graph import InputSlot, Operator, OutputSlot
from blockflow.request import Request, RequestLock, RequestPool

DATA = np.arange(24).reshape(4, 6)
SOON = 20


class OpFour(Operator):
    """The documented style: wait for each input in turn."""

    inputSlots = tuple(InputSlot(name) for name in "ABCD")
    Output = OutputSlot()

    def setupOutputs(self):
        self.Output.meta.assignFrom(self.A.meta)

    def requiredInputRoi(self, slot, subindex, roi):
        return dict.fromkeys(self.inputs.values(), roi)

    def execute(self, slot, subindex, roi, result):
        a = self.A.get(roi).wait()
        b = self.B.get(roi).wait()
        c = self.C.get(roi).wait()
        d = self.D.get(roi).wait()
        result[...] = a + b + c + d

    def propagateDirty(self, slot, subindex, roi):
        self.Output.setDirty(roi)


def test_1_the_documented_style_is_parallel():
    """Four inputs that are waited for in turn are computed in pairs on two workers, also when asked from outside."""
    barrier = threading.Barrier(2, timeout=SOON)

    class OpMeet(OpPass):
        def execute(self, slot, subindex, roi, result):
            barrier.wait()
            super().execute(slot, subindex, roi, result)

    op = OpFour()
    for slot in op.inputs.values():
        source = OpMeet()
        source.Input.setValue(DATA)
        slot.connect(source.Output)
    np.testing.assert_array_equal(op.Output[:].wait(), 4 * DATA)


def test_2_what_becomes_dirty_while_it_is_computed_is_not_served():
    """A region that is called dirty while a request computes it is computed again, not given as it was."""
    inside, gate = threading.Event(), threading.Event()

    class OpSlow(OpPass):
        def execute(self, slot, subindex, roi, result):
            super().execute(slot, subindex, roi, result)
            inside.set()
            assert gate.wait(SOON)

    data, op = np.zeros((4, 6), int), OpSlow()
    op.Input.setValue(data)
    request = op.Output[:].submit()
    assert inside.wait(SOON)
    data[1] = 7
    op.Input.setDirty(slice(1, 2))
    gate.set()
    assert request.wait()[1].tolist() == [7] * 6


def test_3_reconfiguring_from_within_does_not_deadlock():
    """setValue within one's own execute, and while one's own execute waits on the only worker, comes to an end."""

    class OpSelf(OpPlus):
        def execute(self, slot, subindex, roi, result):
            self.Number.setValue(5)
            Request(lambda: self.Number.setValue(6)).submit().wait()
            super().execute(slot, subindex, roi, result)

    for threads in (1, 2):
        Request.reset_thread_pool(threads)
        op = OpSelf()
        op.Input.setValue(DATA)
        np.testing.assert_array_equal(op.Output[:].submit().wait(), DATA + 6)


def test_4_a_cancelled_waiter_does_not_keep_a_lock():
    """An owner that fails beside a waiter that is cancelled leaves the lock free."""
    lock, inside, over = RequestLock(), threading.Event(), threading.Event()
    asked = threading.Event()

    def own():
        with lock:
            inside.set()
            assert asked.wait(SOON)
            raise KeyError("owner")

    def wait():
        with lock:
            pass

    owner, waiter = Request(own), Request(wait)
    waiter.add_done_callback(lambda _: over.set())
    owner.submit()
    assert inside.wait(SOON)
    waiter.submit()
    while not lock._turns:
        Request(lambda: None).submit().wait()
    waiter.cancel()
    asked.set()
    with pytest.raises(KeyError):
        owner.wait()
    assert over.wait(SOON)
    assert lock.acquire(timeout=SOON)


def test_5_chains_are_as_deep_as_one_likes():
    """Data, set-up and dirtiness of 1,500 operators in a row."""
    ops = chain(OpPlus() for _ in range(1500))
    ops[0].Input.setValue(DATA)
    np.testing.assert_array_equal(ops[-1].Output[:].wait(), DATA + 1500)
    ops[0].Input.setDirty()
    ops[0].Input.setValue(DATA + 1)
    np.testing.assert_array_equal(ops[-1].Output[:].submit().wait(), DATA + 1501)


def test_6_resumed_requests_go_on_in_parallel():
    """Requests that waited, whichever worker they began on, are resumed beside each other."""
    barrier, go = threading.Barrier(2, timeout=SOON), threading.Event()
    started = threading.Event()
    awaited = Request(lambda: started.set() or go.wait(SOON)).submit()
    assert started.wait(SOON)
    Request.reset_thread_pool(1)
    inside = threading.Semaphore(0)

    def work():
        inside.release()
        awaited.wait()
        barrier.wait()

    requests = [Request(work).submit() for _ in range(2)]
    for _ in requests:
        assert inside.acquire(timeout=SOON)
    go.set()
    for request in requests:
        request.wait(SOON)


def test_7_cancelling_a_finished_request_changes_nothing():
    """It keeps its result."""
    op = OpPass()
    op.Input.setValue(DATA)
    request = op.Output[:].submit()
    request.wait()
    assert not request.cancel()
    np.testing.assert_array_equal(request.wait(), DATA)


def test_8_a_failing_pool_leaves_nothing_running():
    """When `wait` raises, every request of the pool is over: done, failed or cancelled."""
    began = threading.Event()

    def slow():
        began.set()
        while True:  # until it is told
            Request(lambda: None).submit().wait()

    def fail():
        assert began.wait(SOON)
        raise LookupError("fails")

    requests = [Request(slow), Request(fail), *(Request(lambda: 1) for _ in range(10))]
    pool = RequestPool()
    for request in requests:
        pool.add(request)
    with pytest.raises(LookupError):
        pool.wait()
    assert all(request.finished for request in requests)
    assert requests[0].cancelled
    assert all(request.cancelled for request in requests[2:])


def test_9_values_are_not_aliased_and_bounds_are_checked():
    """What a value slot gives cannot be written into, and a region outside is refused when it is asked for."""
    data, op = DATA.copy(), OpPass()
    op.Input.setValue(data)
    got = op.Input[:].wait()
    with pytest.raises(ValueError, match="read-only"):
        got[...] = 0
    np.testing.assert_array_equal(data, DATA)
    for slot in (op.Input, op.Output):
        with pytest.raises(RoiError):
            slot((0, 0), (5, 6))
        with pytest.raises(RoiError):
            slot[0:5]


def test_10_setting_the_same_array_costs_nothing():
    """The same object, or a view of it, is not compared; an equal one in little memory; NaN is equal to NaN."""

    class Untouchable(np.ndarray):
        compared = 0

        def __eq__(self, other):
            type(self).compared += 1
            return super().__eq__(other)

        __hash__ = None

    op = OpPass()
    data = np.zeros(2**24, np.uint8).view(Untouchable)
    op.Input.setValue(data)
    op.Input.setValue(data)
    op.Input.setValue(data[:])
    assert Untouchable.compared == 0
    assert len(op.dirty) == 1
    data = np.full(2**20, np.nan)
    op.Input.setValue(data)
    tracemalloc.start()
    op.Input.setValue(data.copy())
    peak = tracemalloc.get_traced_memory()[1] - data.nbytes
    tracemalloc.stop()
    assert len(op.dirty) == 2
    assert peak < data.nbytes


def test_11_exceptions_keep_their_type():
    """`except ValueError` around wait() works."""

    class OpFail(OpPass):
        def execute(self, slot, subindex, roi, result):
            raise ValueError("it")

    ops = chain([OpFail(), OpPass(), OpPass()])
    ops[0].Input.setValue(DATA)
    for request in (ops[-1].Output[:], ops[-1].Output[:].submit()):
        with pytest.raises(ValueError, match="it") as caught:
            request.wait()
        assert type(caught.value) is ValueError
        assert caught.value.__cause__ is None


def test_sums_in_the_documented_style():
    """The pages' own operator, with plain arrays and nothing else."""
    op = OpSum()
    op.A.setValue(np.zeros((10, 20)))
    op.B.setValue(np.ones((10, 20)))
    assert (op.Output[0:10, 0:20].wait() == 1).all()
