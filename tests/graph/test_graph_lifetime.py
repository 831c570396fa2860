import gc
import weakref

import numpy as np
import pytest
from small_operators import OpPass, OpPlus, OpSum, chain

from blockflow.graph import Graph, OperatorWrapper
from blockflow.request import Request

DATA = np.arange(24).reshape(4, 6)


def references(*things):
    return [weakref.ref(thing) for thing in things]


def dead(refs):
    gc.collect()
    return [ref() is None for ref in refs]


def test_operators_die_when_dropped():
    """An operator that nobody holds goes by itself, with its slots, children and values, without cleanUp."""
    parent = OpPass(graph=Graph())
    child = OpPass(parent=parent)
    child.Input.connect(parent.Input)
    data = DATA.copy()
    parent.Input.setValue(data)
    child.Output[:].wait()
    refs = references(parent, child, parent.Input, child.Output, data)
    graph = parent.graph
    del parent, child, data
    assert all(dead(refs))
    assert graph.operators == []


def test_downstream_does_not_live_by_upstream():
    """An operator upstream does not keep those downstream alive, nor the other way round after a disconnection."""
    a, b, c = chain([OpPlus(), OpPlus(), OpPlus()])
    a.Input.setValue(DATA)
    c.Output[:].wait()
    refs = references(c)
    del c
    assert dead(refs) == [True]
    assert b.Output.downstream_slots == []
    b.Input.disconnect()
    refs = references(a)
    del a
    assert dead(refs) == [True]


def test_downstream_keeps_what_it_needs():
    """Holding the last operator of a chain holds all of it."""
    last = chain([OpPlus() for _ in range(10)])[-1]
    first = last
    while first.Input.upstream_slot is not None:
        first = first.Input.upstream_slot.operator
    first.Input.setValue(DATA)
    del first
    gc.collect()
    np.testing.assert_array_equal(last.Output[:].wait(), DATA + 10)


def test_a_thousand_operators_die():
    """A long chain goes without an overflow."""
    ops = chain([OpPass() for _ in range(1000)])
    ops[0].Input.setValue(DATA)
    ops[-1].Output[:].wait()
    refs = references(*ops)
    del ops
    assert all(dead(refs))


@pytest.mark.parametrize("way", ["wait", "submit", "notify", "fails", "cancelled", "never"])
def test_requests_and_results_die_when_dropped(way):
    """A request, its result and its operators are let go of, whatever became of it."""

    class OpMaybe(OpPass):
        def execute(self, slot, subindex, roi, result):
            if way == "fails":
                raise KeyError("x")
            super().execute(slot, subindex, roi, result)

    def use():
        ops = chain([OpMaybe(), OpPass()])
        total = OpSum()
        total.A.connect(ops[-1].Output)
        total.B.connect(ops[0].Output)
        ops[0].Input.setValue(DATA)
        request = total.Output[:]
        refs = references(total, *ops, request)
        if way == "wait":
            refs += references(request.wait())
        elif way == "submit":
            refs += references(request.submit().wait())
        elif way == "notify":
            request.notify(lambda done: None).wait()
        elif way == "fails":
            with pytest.raises(KeyError):
                request.submit().wait()
        elif way == "cancelled":
            request.cancel()
        return refs

    refs = use()
    for _ in range(50):  # a worker may still be about to put down what it did
        if all(dead(refs)):
            break
        Request(lambda: None).submit().wait()
    assert all(dead(refs))


def test_results_are_not_kept_by_the_requests_of_operators():
    """While a request is held, what was computed on the way to it is not."""
    refs = []

    class OpNote(OpPass):
        def execute(self, slot, subindex, roi, result):
            data = self.Input.get(roi).wait()
            refs.append(weakref.ref(data))
            result[...] = data

    ops = chain([OpPass(), OpNote(), OpNote()])
    ops[0].Input.setValue(DATA)
    request = ops[-1].Output[:]
    request.wait()
    assert dead(refs) == [True, True]


def test_callbacks_die_with_their_slot():
    """What a callback holds is let go of with the slot, or when it is ended."""

    class Thing:
        def heard(self, *_):
            pass

    op, thing, other = OpPass(), Thing(), Thing()
    op.Input.notifyDirty(thing.heard)
    end = op.Input.notifyDirty(other.heard)
    refs = references(thing, other)
    del thing, other
    assert dead(refs) == [False, False]
    end()
    del end
    assert dead(refs) == [False, True]
    del op
    assert dead(refs) == [True, True]


def test_many_roots_do_not_pile_up():
    """Requests that change a slot, one after the other, leave no record that grows."""
    op, source = OpPass(), OpPlus()
    op.Input.setValue(DATA)
    source.Input.connect(op.Output)
    for _ in range(500):
        Request(op.Input.setDirty).wait()
    assert len(source.Output._changes_by) < 100


# cleanUp


def test_cleaning_up():
    """cleanUp disconnects an operator and its children, and its parent forgets it."""
    parent = OpPass()
    op = OpPass(parent=parent)
    inner = OpPass(parent=op)
    op.Input.connect(parent.Input)
    inner.Input.connect(op.Input)
    op.Output.connect(inner.Output)
    parent.Input.setValue(DATA)
    op.cleanUp()
    assert parent.children == []
    assert not any(slot.connected() for slot in (op.Input, op.Output, inner.Input))
    assert parent.Input.downstream_slots == []
    np.testing.assert_array_equal(parent.Input[:].wait(), DATA)


def test_cleaning_up_what_others_need_is_refused():
    """While a slot outside is connected to it, cleanUp raises and changes nothing."""
    a, b = chain([OpPlus(), OpPlus()])
    a.Input.setValue(DATA)
    with pytest.raises(RuntimeError, match=r"OpPlus\.Input is still connected to OpPlus\.Output"):
        a.cleanUp()
    np.testing.assert_array_equal(b.Output[:].wait(), DATA + 2)
    b.cleanUp()
    a.cleanUp()
    c, d = chain([OpPlus(), OpPlus()])
    c.externally_managed = True
    c.cleanUp()
    assert not d.Input.connected()


def test_cleaning_up_a_wrapper():
    """A wrapper goes with its inner operators; one that is removed from it is cleaned up."""
    wrapper = OperatorWrapper(OpPlus)
    wrapper.Input.setValues([DATA, DATA])
    gone, stays = wrapper.innerOperators
    wrapper.Input.removeSlot(0, 1)
    assert not gone.Input.connected()
    refs = references(gone)
    del gone
    assert dead(refs) == [True]
    wrapper.cleanUp()
    assert not stays.Input.connected()
    refs = references(wrapper, stays)
    del wrapper, stays
    assert dead(refs) == [True, True]
