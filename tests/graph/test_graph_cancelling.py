import threading

import numpy as np
import pytest
from small_operators import OpPass, OpPlus, OpSum, chain

from blockflow.graph import InputSlot, Operator, OutputSlot
from blockflow.request import CancellationException, InvalidRequestException, Request, RequestPool
from blockflow.rtype import Everything, List
from blockflow.stype import Opaque

DATA = np.arange(24).reshape(4, 6)
SOON = 20


class OpLong(OpPass):
    """Works until it is told to stop, or let go."""

    def __init__(self):
        super().__init__()
        self.inside, self.gate, self.ended = threading.Event(), threading.Event(), []

    def execute(self, slot, subindex, roi, result):
        self.inside.set()
        try:
            while not self.gate.is_set():
                Request.raise_if_cancelled()
            super().execute(slot, subindex, roi, result)
            self.ended.append("done")
        except CancellationException:
            self.ended.append("cancelled")
            raise


@pytest.mark.parametrize("depth", [0, 5, 200])
def test_cancelling_reaches_operators_far_upstream(depth):
    """An operator upstream hears that the request it works for, however far downstream, was cancelled."""
    ops = chain([OpLong(), *(OpPass() for _ in range(depth))])
    ops[0].Input.setValue(DATA)
    over = threading.Event()
    request = ops[-1].Output[:]
    request.notify_cancelled(over.set)
    request.submit()
    assert ops[0].inside.wait(SOON)
    assert request.cancel()
    assert over.wait(SOON)
    assert ops[0].ended == ["cancelled"]
    with pytest.raises(InvalidRequestException):
        request.wait()
    ops[0].gate.set()
    np.testing.assert_array_equal(ops[-1].Output[:].wait(), DATA)


def test_cancelling_reaches_inputs_that_are_computed_ahead():
    """Inputs that are computed at the same time are all cancelled."""
    ops, total, over = [OpLong(), OpLong()], OpSum(), threading.Event()
    for op, slot in zip(ops, (total.A, total.B)):
        op.Input.setValue(DATA)
        slot.connect(op.Output)
    request = total.Output[:]
    request.notify_cancelled(over.set)
    request.submit()
    assert all(op.inside.wait(SOON) for op in ops)
    assert request.cancel()
    assert over.wait(SOON)
    while any(not op.ended for op in ops):
        Request(lambda: None).submit().wait()
    assert [op.ended for op in ops] == [["cancelled"], ["cancelled"]]


def test_a_failing_input_stops_those_that_are_computed_ahead():
    """When one input fails the operator fails, and the other one, which nobody needs any more, is cancelled."""

    class OpFail(OpPass):
        def execute(self, slot, subindex, roi, result):
            assert long.inside.wait(SOON)
            raise LookupError("fails")

    fail, long, total = OpFail(), OpLong(), OpSum()
    for op, slot in ((fail, total.A), (long, total.B)):
        op.Input.setValue(DATA)
        slot.connect(op.Output)
    with pytest.raises(LookupError):
        total.Output[:].wait()
    while not long.ended:
        Request(lambda: None).submit().wait()
    assert long.ended == ["cancelled"]


def test_a_cancelled_pool_of_slot_requests():
    """Cancelling what waits for a pool cancels the blocks that are computed, and the others are never begun."""
    op, over = OpLong(), threading.Event()
    op.Input.setValue(DATA)

    def work():
        with RequestPool() as pool:
            for row in range(4):
                pool.add(op.Output[row : row + 1])

    request = Request(work)
    request.notify_cancelled(over.set)
    request.submit()
    assert op.inside.wait(SOON)
    assert request.cancel()
    assert over.wait(SOON)
    assert set(op.ended) == {"cancelled"}
    assert len(op.ended) <= 2


def test_callbacks_of_slot_requests():
    """notify_finished gets the data, notify_failed the operator's exception; both before wait returns."""
    op, seen = OpPlus(), []
    op.Input.setValue(DATA)
    request = op.Output[0:1]
    request.notify_finished(lambda data: seen.append(data.tolist()))
    request.submit().wait()
    assert seen == [(DATA[0:1] + 1).tolist()]


# other kinds of regions


class OpNames(Operator):
    """Items of a list, and an object that has no parts."""

    Number = InputSlot(value=10)
    Items = OutputSlot(stype=Opaque, rtype=List)
    Whole = OutputSlot(stype=Opaque, rtype=Everything)

    def setupOutputs(self):
        pass

    def execute(self, slot, subindex, roi, result):
        if slot is self.Items:
            return {item: f"item {item}" for item in (roi if len(roi) else range(self.Number.value))}
        return {"number": self.Number.value}

    def propagateDirty(self, slot, subindex, roi):
        self.Items.setDirty([1, 2])
        self.Whole.setDirty()


def test_lists_and_everything():
    """A slot may be asked for items of a list, or for all of an object, and be dirty in these."""
    op, dirty = OpNames(), []
    assert op.Items[3].wait() == {3: "item 3"}
    assert op.Items([1, 2]).wait() == {1: "item 1", 2: "item 2"}
    assert op.Items[1, 2].wait() == op.Items[[1, 2]].wait() == op.Items.get(List(op.Items, [1, 2])).wait()
    assert len(op.Items[:].wait()) == 10
    assert op.Whole[:].wait() == op.Whole.value == {"number": 10}
    op.Items.notifyDirty(lambda _, roi: dirty.append(list(roi)))
    op.Whole.notifyDirty(lambda _, roi: dirty.append(type(roi)))
    op.Number.setValue(11)
    assert dirty == [[1, 2], Everything]
