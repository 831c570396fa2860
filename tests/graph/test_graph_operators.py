import threading

import numpy as np
import pytest
from small_operators import OpPass, OpPlus, OpSum, chain

from blockflow.graph import Graph, InputSlot, Operator, OutputSlot
from blockflow.request import Request
from blockflow.stype import InvalidResult, Opaque

DATA = np.arange(24).reshape(4, 6)


class OpShort(Operator):
    """The signatures without subindex."""

    Inputs = InputSlot(level=1, optional=True)
    Outputs = OutputSlot(level=1)
    log = ()

    def setupOutputs(self):
        self.Outputs.resize(len(self.Inputs))
        for one, other in zip(self.Inputs, self.Outputs):
            other.meta.assignFrom(one.meta)

    def execute(self, slot, roi, result):
        self.log += (("execute", slot.subindex),)
        result[...] = self.Inputs[slot.subindex].get(roi).wait() * 2

    def propagateDirty(self, slot, roi):
        self.log += (("dirty", slot.subindex),)
        self.Outputs[slot.subindex].setDirty(roi)


class OpLong(Operator):
    """The signatures with subindex."""

    Inputs = InputSlot(level=2, optional=True)
    Outputs = OutputSlot(level=2)
    log = ()

    def setupOutputs(self):
        self.Outputs.resize(len(self.Inputs))
        for row, others in zip(self.Inputs, self.Outputs):
            others.resize(len(row))
            for one, other in zip(row, others):
                other.meta.assignFrom(one.meta)

    def execute(self, slot, subindex, roi, result):
        assert slot is self.Outputs
        self.log += (("execute", subindex),)
        result[...] = self.Inputs[subindex].get(roi).wait() * 2

    def propagateDirty(self, slot, subindex, roi):
        assert slot is self.Inputs
        self.log += (("dirty", subindex),)
        self.Outputs[subindex].setDirty(roi)


def test_both_signatures():
    """`execute` and `propagateDirty` with subindex get the declared slot, without it the very slot of the list."""
    op = OpShort()
    op.Inputs.resize(2)
    op.Inputs[1].setValue(DATA)
    op.Inputs[0].setValue(DATA)
    np.testing.assert_array_equal(op.Outputs[1][:].wait(), DATA * 2)
    op.Inputs[1].setDirty(slice(0, 1))
    assert op.log[-2:] == (("execute", (1,)), ("dirty", (1,)))


def test_subindex_of_deep_lists():
    """For a list of lists, subindex has two places."""
    op = OpLong()
    op.Inputs.resize(2)
    for row in op.Inputs:
        row.resize(2)
        for one in row:
            one.setValue(DATA)
    np.testing.assert_array_equal(op.Outputs[1, 0][:].wait(), DATA * 2)
    op.Inputs[0, 1].setDirty()
    assert op.log[-2:] == (("execute", (1, 0)), ("dirty", (0, 1)))


def test_mixed_signatures():
    """Each of the two methods is looked at for itself; a subclass may change it."""

    class OpMixed(OpShort):
        def execute(self, slot, subindex, roi, result):
            self.log += (("long", slot.level, subindex),)
            result[...] = 1

    op = OpMixed()
    op.Inputs.resize(1)
    op.Inputs[0].setValue(DATA)
    op.Outputs[0][:].wait()
    op.Inputs[0].setDirty()
    assert op.log[-2:] == (("long", 1, (0,)), ("dirty", (0,)))


def test_a_wrong_signature_is_refused_when_the_class_is_made():
    """A method of neither form is a TypeError that says what it should take."""
    with pytest.raises(
        TypeError, match=r"OpWrong\.execute takes 2 arguments; it takes \(slot, subindex, roi, result\)"
    ):

        class OpWrong(Operator):
            def execute(self, slot, roi):
                pass


# declaration


def test_slots_are_made_anew_for_each_operator():
    """Slots are declared on the class, and each operator has its own."""
    one, other = OpPass(), OpPass()
    assert one.Input is not other.Input
    assert one.Input is one.inputs["Input"]
    assert (one.Input.name, one.Input.operator) == ("Input", one)
    assert one.Output.getRealOperator() is one


def test_slots_are_inherited_in_order():
    """A subclass has the slots of its bases first, and may declare one anew in its place."""

    class OpSub(OpPlus):
        Extra = InputSlot(optional=True)
        Number = InputSlot(value=5)
        inputSlots = (InputSlot("Listed", optional=True),)

    op = OpSub()
    assert list(op.inputs) == ["Input", "Number", "Listed", "Extra"]
    assert list(op.outputs) == ["Output"]
    op.Input.setValue(DATA)
    np.testing.assert_array_equal(op.Output[:].wait(), DATA + 5)
    assert OpPlus().Number.value == 1
    assert op.Listed is op.inputs["Listed"]


def test_two_slots_of_one_name_are_refused():
    """A name stands for one slot, input or output."""
    with pytest.raises(TypeError, match="of one name twice"):

        class OpTwice(Operator):
            inputSlots = (InputSlot("X"),)
            outputSlots = (OutputSlot("X"),)


def test_an_unknown_slot_lists_the_others():
    """A wrong name is answered with the right ones."""
    with pytest.raises(KeyError, match="OpPass has no input 'Inptu'; it has Input"):
        _ = OpPass().inputs["Inptu"]


def test_a_slot_is_not_replaced_by_a_value():
    """Assigning to a slot's name is refused, with what was meant."""
    with pytest.raises(AttributeError, match=r"use Input\.setValue or Input\.connect"):
        OpPass().Input = DATA


def test_outputs_have_no_value_and_are_not_optional():
    """value and optional are for inputs."""
    with pytest.raises(ValueError, match="are for inputs"):
        OutputSlot(value=1)
    with pytest.raises(ValueError, match="are for inputs"):
        OutputSlot(optional=True)


def test_old_names_of_stypes_mean_arrays():
    """A string as stype is an array, as in old files."""

    class OpOld(OpPass):
        Input = InputSlot(stype="filestring")

    op = OpOld()
    op.Input.setValue(DATA)
    np.testing.assert_array_equal(op.Output[:].wait(), DATA)


def test_names():
    """An operator is called as its class, until it is given a name."""
    op = OpPass()
    assert op.name == "OpPass"
    op.name = "mine"
    assert OpPass().name == "OpPass"
    assert op.Input.path == "mine.Input"


# parents, graphs


def test_an_operator_needs_neither_parent_nor_graph():
    """`OpSum()` has a graph of its own; connecting joins the graphs of both."""
    one, other = OpPass(), OpPass()
    assert not one.graph.is_one_with(other.graph)
    other.Input.connect(one.Output)
    assert one.graph.is_one_with(other.graph)
    assert one.graph.operators == other.graph.operators == [one, other]


def test_a_graph_that_is_given_stays():
    """The operators of a given graph, and their children, have that very graph."""
    graph = Graph()
    op = OpPass(graph=graph)
    child = OpPass(parent=op)
    assert op.graph is graph
    assert child.graph.is_one_with(graph)
    assert graph.operators == [op, child]
    assert op.Input.graph is graph


def test_parents_and_children():
    """A child has its parent's graph; a graph that is not the parent's is refused, as is a parent that is none."""
    parent = OpPass(graph=Graph())
    first, second = OpPass(parent=parent), OpPass(parent=parent, graph=parent.graph)
    assert parent.children == [first, second]
    assert first.parent is parent
    with pytest.raises(ValueError, match="its graph is another one than that of its parent"):
        OpPass(parent=parent, graph=Graph())
    with pytest.raises(TypeError, match="parent of an operator is an operator"):
        OpPass(parent=Graph())


class OpNested(Operator):
    """Two operators inside of one; its own execute must never be called."""

    Input = InputSlot()
    Output = OutputSlot()

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.first, self.second = OpPlus(parent=self), OpPlus(parent=self)
        self.first.Input.connect(self.Input)
        self.second.Input.connect(self.first.Output)
        self.Output.connect(self.second.Output)

    def setupOutputs(self):
        pass

    def execute(self, slot, subindex, roi, result):
        raise AssertionError("called")

    def propagateDirty(self, slot, subindex, roi):
        pass


def test_nested_graphs_forward():
    """Inputs connected to inner inputs and outputs to inner outputs only forward: data, metadata and dirtiness."""
    op, dirty = OpNested(), []
    op.Output.notifyDirty(lambda _, roi: dirty.append(str(roi)))
    op.Input.setValue(DATA)
    assert op.Output.meta.shape == (4, 6)
    np.testing.assert_array_equal(op.Output[1:3].wait(), DATA[1:3] + 2)
    op.Input.setDirty(slice(2, 3))
    assert dirty[-1] == "(2, 0) to (3, 6)"
    op.first.Number.setValue(10)
    np.testing.assert_array_equal(op.Output[:].wait(), DATA + 11)


def test_nested_graphs_nest():
    """Operators within operators within operators work as one."""

    class OpOuter(OpNested):
        def __init__(self, *args, **kwargs):
            Operator.__init__(self, *args, **kwargs)
            self.inner = [OpNested(parent=self) for _ in range(3)]
            self.inner[0].Input.connect(self.Input)
            chain(self.inner)
            self.Output.connect(self.inner[-1].Output)

    op, after = OpOuter(), OpPlus()
    after.Input.connect(op.Output)
    op.Input.setValue(DATA)
    np.testing.assert_array_equal(after.Output[:].wait(), DATA + 7)


def test_default_setup_needs_connected_outputs():
    """An operator with an output of its own must define setupOutputs, execute and propagateDirty."""

    class OpBare(Operator):
        Input = InputSlot()
        Output = OutputSlot()

    with pytest.raises(NotImplementedError, match=r"OpBare must define setupOutputs, since OpBare\.Output"):
        OpBare().Input.setValue(1)

    class OpHalf(OpBare):
        def setupOutputs(self):
            self.Output.meta.assignFrom(self.Input.meta)

    op = OpHalf.__new__(OpHalf)  # the class itself is fine
    assert isinstance(op, OpHalf)

    class OpNoExecute(OpHalf):
        def propagateDirty(self, slot, subindex, roi):
            pass

    op = OpNoExecute()
    op.Input.setValue(DATA)
    with pytest.raises(NotImplementedError, match="must define execute"):
        op.Output[:].wait()
    with pytest.raises(NotImplementedError, match="must define propagateDirty"):
        OpHalf().Input.setValue(DATA)


# setting up


def test_setup_runs_after_init_and_when_all_is_ready():
    """setupOutputs never runs inside __init__, only once every input that is not optional is ready."""
    log = []

    class Op(OpSum):
        C = InputSlot(optional=True)

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.A.setValue(DATA)
            self.B.setValue(DATA)
            log.append("init over")

        def setupOutputs(self):
            log.append("setup")
            super().setupOutputs()

    op = Op()
    assert log == ["init over", "setup"]
    assert op.configured()
    log.clear()
    op.C.setValue(1)
    assert log == ["setup"]
    op.A.disconnect()
    assert not op.configured()
    assert log == ["setup"]


def test_losing_an_input_makes_outputs_unready_at_once():
    """All downstream are not ready when an input is lost; what the outputs were like stays in their metadata."""
    ops = chain(OpPass() for _ in range(3))
    ops[0].Input.setValue(DATA)
    assert ops[2].Output.ready()
    ops[0].Input.disconnect()
    assert not any(op.Output.ready() for op in ops)
    assert ops[2].Output.meta.shape == (4, 6)
    ops[0].Input.setValue(DATA)
    np.testing.assert_array_equal(ops[2].Output[:].wait(), DATA)


def test_downstream_hears_only_of_changes():
    """An output whose metadata stay as they were does not set up what is downstream."""
    ops = chain(OpPass() for _ in range(2))
    ops[0].Input.setValue(DATA)
    assert [op.setups for op in ops] == [1, 1]
    ops[0].Input.setValue(DATA + 1)
    assert [op.setups for op in ops] == [2, 1]
    ops[0].Input.setValue(DATA[:2])
    assert [op.setups for op in ops] == [3, 2]


def test_an_output_may_say_that_it_is_not_ready():
    """meta.NOTREADY makes an output unready, and what hangs on it."""

    class OpShy(OpPass):
        shy = True

        def setupOutputs(self):
            super().setupOutputs()
            if self.shy:
                self.Output.meta.NOTREADY = True

    op, after = chain([OpShy(), OpPass()])
    op.Input.setValue(DATA)
    assert not op.Output.ready()
    assert not after.Output.ready()
    op.shy = False
    op.Input.setValue(DATA + 1)
    np.testing.assert_array_equal(after.Output[:].wait(), DATA + 1)
    op.shy = True
    op.Input.setValue(DATA)
    assert not after.Output.ready()


def test_an_error_in_setup_reaches_who_made_the_change():
    """It has its own type, and the graph can be used again."""

    class OpPicky(OpPass):
        def setupOutputs(self):
            if self.Input.meta.shape[0] == 3:
                raise LookupError("three")
            super().setupOutputs()

    op = OpPicky()
    with pytest.raises(LookupError, match="three"):
        op.Input.setValue(np.zeros(3))
    op.Input.setValue(np.ones(4))
    np.testing.assert_array_equal(op.Output[:].wait(), np.ones(4))

    class OpBroken(Operator):
        def __init__(self):
            super().__init__()
            raise LookupError("construction")

    with pytest.raises(LookupError, match="construction"):
        OpBroken()


def test_call_when_setup_finished():
    """It is called at once where nothing is edited, else once the outermost change is through."""
    log, op = [], OpPass()
    op.graph.call_when_setup_finished(lambda: log.append("now"))
    op.Output.notifyMetaChanged(
        lambda slot: (op.graph.call_when_setup_finished(lambda: log.append("later")), log.append("meta"))
    )
    op.Output.notifyDirty(lambda *_: log.append("dirty"))
    op.Input.setValue(DATA)
    assert log == ["now", "meta", "dirty", "later"]


# execute


def test_results_may_be_returned():
    """An array of the right shape may be returned; it is copied into a given destination, else it is the result."""
    made = np.ones((4, 6), int)

    class OpReturning(OpPass):
        def execute(self, slot, subindex, roi, result):
            return made[roi.toSlice()]

    op = OpReturning()
    op.Input.setValue(DATA)
    assert np.shares_memory(op.Output[:].wait(), made)
    destination = np.zeros((4, 6))
    assert op.Output[:].writeInto(destination).wait() is destination
    assert destination.min() == 1


def test_a_returned_result_is_cast_to_the_dtype_of_the_slot():
    """A result of another dtype counts as if it had been written into `result`: stored and lazy data are the same."""

    class OpHalf(OpPass):
        def execute(self, slot, subindex, roi, result):
            return self.Input(roi.start, roi.stop).wait() / 2

    op = OpHalf()
    op.Input.setValue(np.arange(6, dtype=np.uint8))
    assert op.Output[:].wait().dtype == np.uint8
    assert op.Output[:].writeInto(np.zeros(6)).wait().tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("wrong", [np.zeros((1, 1)), [1], "text"])
def test_a_result_of_another_shape_is_refused(wrong):
    """A returned result that does not fit is an InvalidResult naming slot and region."""

    class OpWrong(OpPass):
        def execute(self, slot, subindex, roi, result):
            return wrong

    op = OpWrong()
    op.Input.setValue(DATA)
    with pytest.raises(InvalidResult) as caught:
        op.Output[:].wait()
    assert caught.value.__notes__ == ["in OpWrong.Output, (0, 0) to (4, 6)"]


def test_opaque_slots_carry_any_object():
    """An Opaque output gives the object that execute returns; nothing is allocated."""

    class OpMaker(Operator):
        Input = InputSlot(stype=Opaque)
        Output = OutputSlot(stype=Opaque)

        def setupOutputs(self):
            self.Output.meta.assignFrom(self.Input.meta)

        def execute(self, slot, subindex, roi, result):
            assert result is None
            return {"made of": self.Input.value}

        def propagateDirty(self, slot, subindex, roi):
            self.Output.setDirty()

    op, thing = OpMaker(), object()
    op.Input.setValue(thing)
    assert op.Output.value == {"made of": thing}
    assert op.Output[:].wait() == {"made of": thing}


def test_the_region_that_execute_gets_is_the_one_asked_for():
    """roi is in voxels of the slot, result has its shape and the slot's dtype."""
    seen = []

    class OpLook(OpPass):
        def execute(self, slot, subindex, roi, result):
            seen.append((slot, subindex, list(roi.start), list(roi.stop), result.shape, result.dtype))
            result[...] = 0

    op = OpLook()
    op.Input.setValue(DATA.astype(np.int16))
    op.Output[1:3, -2:].wait()
    assert seen == [(op.Output, (), [1, 4], [3, 6], (2, 2), np.int16)]


# forbidding parallel execution


class OpGuarded(OpPass):
    """Counts the executes that run."""

    barrier = None

    def __init__(self):
        super().__init__()
        self.mutex, self.inside = threading.Lock(), 0

    def execute(self, slot, subindex, roi, result):
        with self.mutex:
            self.inside += 1
        if self.barrier is not None:
            self.barrier.wait()
        self.Input.get(roi).writeInto(result).wait()
        with self.mutex:
            self.inside -= 1

    @Operator.forbidParallelExecute
    def alone(self):
        """How many executes run meanwhile."""
        return self.inside


def test_forbid_parallel_execute():
    """While a method so marked runs no execute does."""
    op = OpGuarded()
    op.Input.setValue(DATA)
    requests = [op.Output[:].submit() for _ in range(100)]
    found = [op.alone() for _ in range(100)]
    for request in requests:
        request.wait()
    assert set(found) == {0}
    assert OpPass()._exclusion is None


def test_executes_of_a_guarded_operator_run_beside_each_other():
    """Only the marked method is alone; two executes meet."""
    op = OpGuarded()
    op.barrier = threading.Barrier(2, timeout=20)
    op.Input.setValue(DATA)
    for request in [op.Output[:].submit() for _ in range(2)]:
        request.wait()


def test_forbidding_does_not_stop_what_is_computed_already():
    """An execute that needs its operator again is not stopped by one that waits to be alone."""
    waiting = threading.Event()

    class OpTwice(Operator):
        Input = InputSlot()
        Output = OutputSlot()
        Other = OutputSlot()

        def setupOutputs(self):
            self.Output.meta.assignFrom(self.Input.meta)
            self.Other.meta.assignFrom(self.Input.meta)

        def execute(self, slot, subindex, roi, result):
            if slot is self.Other:
                result[...] = 3
                return
            thread.start()
            while not self._exclusion._turnstile.locked():
                assert thread.is_alive()
            self.Other.get(roi).submit().wait()
            result[...] = self.Other.get(roi).wait()

        def propagateDirty(self, slot, subindex, roi):
            pass

        @Operator.forbidParallelExecute
        def alone(self):
            waiting.set()

    op = OpTwice()
    thread = threading.Thread(target=op.alone)
    op.Input.setValue(DATA)
    assert (op.Output[:].wait() == 3).all()
    assert waiting.wait(20)
    thread.join(20)


def test_a_cancelled_execute_does_not_forbid_for_ever():
    """Requests that are cancelled around a guarded execute leave the operator usable."""
    op, over = OpGuarded(), threading.Event()
    op.Input.setValue(DATA)
    for _ in range(200):
        op.Output[:].submit().cancel()
    threading.Thread(target=lambda: op.alone() == 0 and over.set(), daemon=True).start()
    assert over.wait(20)
    np.testing.assert_array_equal(op.Output[:].wait(), DATA)


def test_a_request_that_is_cancelled_before_it_shares_leaves_nothing_behind():
    """Wherever between asking and sharing a request is cancelled, the operator can be had alone after."""
    op = OpGuarded()
    op.Input.setValue(DATA)
    over = threading.Event()

    def work():
        Request.current_request()._cancelled = True
        op._exclusion.shared(0).__enter__()

    request = Request(work)
    request.notify_cancelled(over.set)
    request.submit()
    assert over.wait(20)
    assert not op._exclusion._sharing
    assert op.alone() == 0


def test_repr_and_draw():
    """Operators and slots show themselves, and a graph is text."""
    op, after = chain([OpPass(), OpPlus()])
    op.name = "first"
    assert repr(op) == "<OpPass 'first': Input not ready -> Output not ready>"
    op.Input.setValue(DATA.astype(np.uint8))
    assert repr(op) == "<OpPass 'first': Input uint8 (4, 6) -> Output uint8 (4, 6)>"
    assert repr(after.Output) == "<OutputSlot OpPlus.Output: uint8 (4, 6)>"
    assert op.graph.draw().splitlines() == [
        "first (OpPass)",
        "  Input   uint8 (4, 6)  = value",
        "  Output  uint8 (4, 6)",
        "OpPlus",
        "  Input   uint8 (4, 6)  <- first.Output",
        "  Number  int64 (1,)  = value",
        "  Output  uint8 (4, 6)",
    ]
