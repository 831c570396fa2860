import os
import threading

import numpy as np
import pytest
from small_operators import OpPass, OpPlus, OpSum, chain

from blockflow.graph import InputSlot, Operator, OutputSlot, SlotNotReadyError
from blockflow.graph.edits import editing
from blockflow.request import Request

DATA = np.arange(24).reshape(4, 6)
SOON = 20


class OpGate(OpPass):
    """Stops in execute until it may go on; only the first `stops` times."""

    stops = 1

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.inside, self.gate = threading.Event(), threading.Event()

    def execute(self, slot, subindex, roi, result):
        super().execute(slot, subindex, roi, result)
        if self.stops:
            self.stops -= 1
            self.inside.set()
            assert self.gate.wait(SOON)


def overtaken(operator, request, edit):
    """Edit while an operator computes for a request; what the request then gives."""
    request.submit()
    assert operator.inside.wait(SOON)
    edit()
    operator.gate.set()
    return request.wait()


def test_a_request_that_is_overtaken_gives_the_new_answer():
    """A value set while a request computes does not stop, nor is stopped; the answer is that of the new value."""
    gate, last = chain([OpGate(), OpPlus()])
    gate.Input.setValue(DATA)
    answer = overtaken(gate, last.Output[:], lambda: gate.Input.setValue(DATA * 100))
    np.testing.assert_array_equal(answer, DATA * 100 + 1)


def test_both_inputs_are_of_one_state():
    """What an operator gets of two inputs is never of two states of the graph."""
    source, gate, plain, total = OpPlus(), OpGate(), OpPass(), OpSum()
    gate.Input.connect(source.Output)
    plain.Input.connect(source.Output)
    total.A.connect(gate.Output)
    total.B.connect(plain.Output)
    source.Input.setValue(DATA)
    answer = overtaken(gate, total.Output[:], lambda: source.Number.setValue(1000))
    np.testing.assert_array_equal(answer, 2 * (DATA + 1000))


def test_edits_elsewhere_do_not_disturb():
    """An edit that does not concern a slot does not make it compute again."""
    gate, other = OpGate(), OpPass()
    for op in (gate, other):
        op.Input.setValue(DATA)
    overtaken(gate, gate.Output[:], lambda: other.Input.setValue(DATA + 1))
    assert len(gate.asked) == 1


@pytest.mark.parametrize("edit", ["connect", "disconnect and back", "dirty"])
def test_any_edit_counts(edit):
    """Connecting elsewhere, losing the input and calling it dirty overtake a request, too."""
    source, other, gate = OpPlus(), OpPlus(), OpGate()
    source.Input.setValue(DATA)
    other.Input.setValue(DATA * 7)
    gate.Input.connect(source.Output)

    def change():
        if edit == "connect":
            gate.Input.connect(other.Output)
        elif edit == "dirty":
            source.Input.value[...] += 1
            source.Input.setDirty()
        else:
            gate.Input.disconnect()
            gate.Input.connect(source.Output)

    data = DATA.copy()
    source.Input.setValue(data, check_changed=False)
    answer = overtaken(gate, gate.Output[:], change)
    expected = {"connect": DATA * 7 + 1, "dirty": DATA + 2, "disconnect and back": DATA + 1}[edit]
    np.testing.assert_array_equal(answer, expected)
    assert len(gate.asked) == 2


def test_an_error_of_a_state_that_is_over_is_not_raised():
    """If an edit took a request's ground away and gave it back, the request is done again, not failed."""

    class OpTwoReads(OpGate):
        def execute(self, slot, subindex, roi, result):
            super().execute(slot, subindex, roi, result)
            result += self.Input.get(roi).wait()

    op = OpTwoReads()
    op.Input.setValue(DATA)

    def edit():
        op.Input.disconnect()
        op.Input.setValue(DATA * 3)

    np.testing.assert_array_equal(overtaken(op, op.Output[:], edit), DATA * 6)


def test_execute_may_edit_the_graph_it_is_part_of():
    """A request may set values, dirty, connect and resize in its own graph without a deadlock, also of itself."""

    class OpEditing(Operator):
        Input = InputSlot()
        Number = InputSlot(value=0)
        Output = OutputSlot()

        def setupOutputs(self):
            self.Output.meta.assignFrom(self.Input.meta)

        def execute(self, slot, subindex, roi, result):
            self.Number.setValue(self.Number.value + 1)
            self.Input.setDirty(roi)
            result[...] = self.Input.get(roi).wait() + self.Number.value

        def propagateDirty(self, slot, subindex, roi):
            self.Output.setDirty()

    for threads in (0, 1, 2):
        Request.reset_thread_pool(threads)
        op, last = OpEditing(), OpPass()
        last.Input.connect(op.Output)
        op.Input.setValue(DATA)
        np.testing.assert_array_equal(last.Output[:].submit().wait(), DATA + 1)
        np.testing.assert_array_equal(last.Output[:].wait(), DATA + 2)


def test_reconfiguring_while_an_execute_waits():
    """setupOutputs of an operator runs while an execute of it waits for a request, on any number of workers."""
    for threads in (1, 2):
        Request.reset_thread_pool(threads)
        gate, op = chain([OpGate(), OpPass()])
        gate.Input.setValue(DATA)
        request = op.Output[:].submit()
        assert gate.inside.wait(SOON)
        edit = (
            Request(lambda op=op: op.Input.connect(None)).submit()
            if threads > 1
            else Request(lambda op=op: op.Input.connect(None))
        )
        edit.wait()
        op.Input.connect(gate.Output)
        gate.gate.set()
        np.testing.assert_array_equal(request.wait(), DATA)


def test_an_edit_may_wait_for_a_request_that_edits():
    """The lock on edits is lent to whoever the editor waits for: no circle closes."""
    first, second = OpPlus(), OpPlus()
    second.Input.setValue(DATA)
    first.Input.notifyDirty(lambda *_: Request(lambda: second.Number.setValue(50)).submit().wait())
    first.Input.setValue(DATA)
    np.testing.assert_array_equal(second.Output[:].wait(), DATA + 50)


def test_a_request_that_is_overtaken_again_and_again_ends():
    """Edits from threads wait for a request that they overtook some times: it comes to an end."""
    op = OpPlus()
    op.Input.setValue(DATA)
    stop, versions = threading.Event(), iter(range(10**9))

    class OpSlow(OpPass):
        def execute(self, slot, subindex, roi, result):
            super().execute(slot, subindex, roi, result)
            edits = versions_seen[0]
            for _ in range(1000):  # until an edit came, if edits may come
                if versions_seen[0] != edits:
                    break
                Request(lambda: None).submit().wait()

    versions_seen = [0]
    slow = OpSlow()
    slow.Input.connect(op.Output)

    def edit():
        while not stop.is_set():
            versions_seen[0] = next(versions)
            op.Number.setValue(versions_seen[0])

    editor = threading.Thread(target=edit)
    editor.start()
    try:
        answers = [slow.Output[:].submit().wait() - DATA for _ in range(3)]
    finally:
        stop.set()
        editor.join(SOON)
    assert all(len(np.unique(answer)) == 1 for answer in answers)


def test_callbacks_of_a_request_see_whole_states():
    """What a callback of a request asks for is checked for edits like anything else."""
    gate, source, seen, over = OpGate(), OpPass(), [], threading.Event()
    source.Input.setValue(DATA)
    gate.Input.setValue(DATA)
    request = source.Output[:]
    request.add_done_callback(lambda _: (seen.append(gate.Output[:].wait()), over.set()))
    request.submit()
    assert gate.inside.wait(SOON)
    gate.Input.setValue(DATA * 5)
    gate.gate.set()
    assert over.wait(SOON)
    np.testing.assert_array_equal(seen[0], DATA * 5)


def test_edits_of_two_threads_do_not_meet_half_way():
    """Two threads that edit one graph leave it in one of the two states, whole."""
    source, left, right, total = OpPlus(), OpPlus(), OpPlus(), OpSum()
    left.Input.connect(source.Output)
    right.Input.connect(source.Output)
    total.A.connect(left.Output)
    total.B.connect(right.Output)
    source.Input.setValue(DATA)
    wrong = []
    total.Output.notifyDirty(
        lambda *_: wrong.append(1) if left.Output.meta.shape != right.Output.meta.shape else None
    )

    def edit(size):
        for k in range(100):
            source.Input.setValue(np.full((size, 3), k))

    threads = [threading.Thread(target=edit, args=(size,)) for size in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert wrong == []
    assert total.Output.meta.shape == source.Input.meta.shape
    answer = total.Output[:].wait()
    assert answer.tolist() == np.full(answer.shape, 2 * (99 + 2)).tolist()


def test_a_diamond_whose_operators_compare_their_inputs():
    """While a change is half way an operator may see one input new and one old: only what stands at the end counts."""
    source, left, right, total = (
        OpPlus(),
        OpPlus(),
        OpPlus(),
        OpSum(),
    )  # OpSum asserts that its inputs have one shape
    left.Input.connect(source.Output)
    right.Input.connect(source.Output)
    total.A.connect(left.Output)
    total.B.connect(right.Output)
    last, log = OpPass(), []
    last.Input.connect(total.Output)
    last.Output.notifyUnready(lambda _: log.append("unready"))
    for size in (2, 3, 4):
        source.Input.setValue(DATA[:size])
        assert last.Output.meta.shape == (size, 6)
        np.testing.assert_array_equal(last.Output[:].wait(), 2 * (DATA[:size] + 2))
    assert log == []


def test_an_error_that_stands_at_the_end_is_raised_and_leaves_outputs_unready():
    """Inputs that do not fit: the error of setupOutputs reaches who set the value, and nothing wrong can be asked."""
    total, last = OpSum(), OpPass()
    last.Input.connect(total.Output)
    total.A.setValue(DATA)
    total.B.setValue(DATA)
    with pytest.raises(AssertionError) as caught:
        total.B.setValue(DATA[:2])
    assert caught.value.__notes__ == ["in the set-up of OpSum"]
    assert not last.Output.ready()
    total.A.setValue(DATA[:2])
    np.testing.assert_array_equal(last.Output[:].wait(), 2 * DATA[:2])


def test_a_half_done_setup_is_taken_back():
    """Metadata that a failed set-up had set already are those of before, so that the next one is noticed."""

    class OpLate(OpSum):
        def setupOutputs(self):
            self.Output.meta.shape = self.A.meta.shape
            self.Output.meta.dtype = float
            assert self.A.meta.shape == self.B.meta.shape

    total, last = OpLate(), OpPass()
    last.Input.connect(total.Output)
    total.A.setValue(DATA)
    total.B.setValue(DATA)
    with pytest.raises(AssertionError):
        total.A.setValue(DATA[:3])
    total.B.setValue(DATA[:3])
    assert last.Output.meta.shape == (3, 6)


def test_deferred_callbacks_are_called_though_the_edit_failed():
    """What was put off to the end of an edit is not forgotten when the edit raises, nor left to the next one."""
    op, log = OpPass(), []
    op.Input.notifyMetaChanged(lambda _: log.append("deferred"), defer=True)

    def fail(*_):
        raise LookupError("callback")

    op.Input.notifyDirty(fail)
    with pytest.raises(LookupError):
        op.Input.setValue(DATA)
    assert log == ["deferred"]


def test_dirtiness_that_passed_a_failed_operator_by_is_made_up_for():
    """An operator that could not be set up for a while within an edit has all of its output dirty when it can again."""

    class OpQuiet(OpSum):
        def propagateDirty(self, slot, subindex, roi):
            if slot is self.A:
                super().propagateDirty(slot, subindex, roi)

    total, last = OpQuiet(), OpPass()
    last.Input.connect(total.Output)
    total.A.setValue(DATA)
    total.B.setValue(DATA)
    last.dirty.clear()
    with editing():
        total.A.setValue(DATA[:2])
        total.B.setValue(DATA[:2])
    assert [str(roi) for roi in last.dirty] == ["(0, 0) to (2, 6)"]


def test_a_slot_that_was_unready_and_is_gone_for_good():
    """A request of a slot that lost its input and then was cleaned up says that it is not ready."""
    op = OpPlus()
    op.Input.setValue(DATA)
    request = op.Output[:]
    op.Input.disconnect()
    op.cleanUp()
    with pytest.raises(SlotNotReadyError):
        request.wait()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_may_edit_though_a_thread_edited_when_it_forked():
    """An edit of a thread that the child does not have does not stop the child's."""
    op, other, inside, gate = OpPlus(), OpPlus(), threading.Event(), threading.Event()
    op.Input.notifyDirty(lambda *_: inside.set() or gate.wait(SOON))
    thread = threading.Thread(target=op.Input.setValue, args=(DATA,))
    thread.start()
    assert inside.wait(SOON)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            other.Input.setValue(DATA)
            status = int((other.Output[:].wait() != DATA + 1).any())
        finally:
            os._exit(status)
    gate.set()
    thread.join(SOON)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
