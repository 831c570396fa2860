import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_operators import OpPass, OpPlus

from blockflow.graph import InputSlot, Operator, OperatorWrapper, OutputSlot

DATA = np.arange(24).reshape(4, 6)


class OpMany(Operator):
    """An output for each input, plus its place."""

    Inputs = InputSlot(level=1, optional=True)
    Outputs = OutputSlot(level=1)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.setups = 0

    def setupOutputs(self):
        self.setups += 1
        self.Outputs.resize(len(self.Inputs))
        for one, other in zip(self.Inputs, self.Outputs):
            if one.ready():
                other.meta.assignFrom(one.meta)
            else:
                other.meta.NOTREADY = True

    def execute(self, slot, subindex, roi, result):
        result[...] = self.Inputs[subindex].get(roi).wait() + subindex[0]

    def propagateDirty(self, slot, subindex, roi):
        self.Outputs[subindex].setDirty(roi)


class OpLists(Operator):
    """Lists that are only passed on."""

    Inputs = InputSlot(level=1)
    Outputs = OutputSlot(level=1)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.Outputs.connect(self.Inputs)

    def setupOutputs(self):
        pass

    def propagateDirty(self, slot, subindex, roi):
        pass


def watch(slot):
    log = []
    for name in ("Resize", "Resized", "Insert", "Inserted", "Remove", "Removed"):
        getattr(slot, f"notify{name}")(lambda _, *args, name=name: log.append((name, *args)))
    return log


def test_a_list_of_slots():
    """resize, indexing, iteration, length; setValues and each slot's own value."""
    op = OpMany()
    op.Inputs.setValues([DATA, DATA * 2])
    assert len(op.Inputs) == len(op.Outputs) == 2
    np.testing.assert_array_equal(op.Outputs[1][:].wait(), DATA * 2 + 1)
    assert [one.subindex for one in op.Inputs] == [(0,), (1,)]
    assert op.Inputs[1] is op.Inputs[(1,)] is list(op.Inputs)[1]
    assert op.Inputs[1].top_level_slot is op.Inputs
    assert op.Inputs.index(op.Inputs[1]) == 1
    assert op.Inputs[-1] is op.Inputs[1]
    with pytest.raises(IndexError):
        _ = op.Inputs[2]
    with pytest.raises(ValueError, match="is a list of slots"):
        _ = op.Inputs.value
    with pytest.raises(ValueError, match=r"ask one of them, as Outputs\[0\]"):
        op.Outputs((0, 0), (1, 1))


def test_ready():
    """A list is ready if it has slots and all of them are; one that becomes unready makes it unready."""
    op, log = OpLists(), []
    op.Inputs.notifyReady(lambda _: log.append("+"))
    op.Inputs.notifyUnready(lambda _: log.append("-"))
    assert not op.Inputs.ready()
    op.Inputs.resize(2)
    op.Inputs[0].setValue(DATA)
    assert not op.Inputs.ready()
    op.Inputs[1].setValue(DATA)
    assert op.Inputs.ready()
    assert op.Outputs.ready()
    op.Inputs[0].disconnect()
    assert not op.Inputs.ready()
    assert not op.Outputs.ready()
    assert log == ["+", "-"]


def test_one_unready_slot_of_many():
    """The others of a list can still be asked where the operator allows it."""
    op = OpMany()
    op.Inputs.resize(2)
    op.Inputs[1].setValue(DATA)
    assert not op.Outputs[0].ready()
    np.testing.assert_array_equal(op.Outputs[1][:].wait(), DATA + 1)


def test_signals_of_sizes():
    """Before and after: resize with old and new size, insert and remove with place and final size."""
    op = OpMany()
    log = watch(op.Inputs)
    op.Inputs.resize(2)
    assert log == [
        ("Resize", 0, 2),
        ("Insert", 0, 1),
        ("Inserted", 0, 1),
        ("Insert", 1, 2),
        ("Inserted", 1, 2),
        ("Resized", 0, 2),
    ]
    log.clear()
    op.Inputs.insertSlot(0, 3)
    op.Inputs.removeSlot(1, 2)
    assert log == [("Insert", 0, 3), ("Inserted", 0, 3), ("Remove", 1, 2), ("Removed", 1, 2)]
    log.clear()
    op.Inputs.resize(2)
    op.Inputs.resize(0)
    assert log[0] == ("Resize", 2, 0)
    assert log[-1] == ("Resized", 2, 0)


def test_sizes_follow_connections():
    """Growing goes up and down the connections, shrinking down; new slots are connected."""
    a, b, c = OpMany(), OpLists(), OpMany()
    b.Inputs.connect(a.Outputs)
    c.Inputs.connect(b.Outputs)
    a.Inputs.resize(2)
    assert [len(slot) for slot in (a.Outputs, b.Inputs, b.Outputs, c.Inputs, c.Outputs)] == [2] * 5
    for one in a.Inputs:
        one.setValue(DATA)
    np.testing.assert_array_equal(c.Outputs[1][:].wait(), DATA + 2)
    a.Inputs.insertSlot(0)
    a.Inputs[0].setValue(DATA * 10)
    assert len(c.Outputs) == 3
    np.testing.assert_array_equal(c.Outputs[0][:].wait(), DATA * 10)
    np.testing.assert_array_equal(c.Outputs[2][:].wait(), DATA + 4)
    a.Inputs.removeSlot(a.Inputs[0])
    assert [len(slot) for slot in (a.Outputs, b.Outputs, c.Outputs)] == [2] * 3


def test_removing_from_the_middle():
    """The slots after it move up: their places and subindex are right."""
    op = OpMany()
    op.Inputs.setValues([DATA, DATA * 2, DATA * 3])
    keep = op.Inputs[2]
    op.Inputs.removeSlot(0)
    assert [one.subindex for one in op.Inputs] == [(0,), (1,)]
    assert op.Inputs[1] is keep
    np.testing.assert_array_equal(op.Outputs[1][:].wait(), DATA * 3 + 1)


def test_lists_of_different_sizes_grow_to_the_longer():
    """Connecting lists resizes the shorter one."""
    long, short = OpLists(), OpLists()
    long.Inputs.resize(3)
    short.Inputs.resize(1)
    short.Inputs.connect(long.Inputs)
    assert len(short.Inputs) == 3
    longer, upstream = OpLists(), OpLists()
    longer.Inputs.resize(4)
    longer.Inputs.connect(upstream.Inputs)
    assert len(upstream.Inputs) == 4


def test_one_slot_goes_to_all_of_a_list():
    """A slot of lower level is broadcast to every slot of a list, also those that come later."""
    source, op = OpPlus(), OpMany()
    source.Input.setValue(DATA)
    op.Inputs.resize(2)
    op.Inputs.connect(source.Output)
    op.Inputs.resize(3)
    np.testing.assert_array_equal(op.Outputs[2][:].wait(), DATA + 3)
    assert [one.upstream_slot for one in op.Inputs] == [source.Output] * 3
    with pytest.raises(ValueError, match=r"level 0\) cannot be connected to OpMany\.Outputs \(level 1"):
        source.Input.connect(op.Outputs)


def test_a_value_goes_to_all_of_a_list():
    """A value that a list has goes to all of its slots, also those that come later."""
    op = OpMany()
    op.Inputs.resize(1)
    op.Inputs.setValue(DATA)
    op.Inputs.resize(2)
    np.testing.assert_array_equal(op.Outputs[1][:].wait(), DATA + 1)


def test_lists_of_lists():
    """Level 2: connected row by row, ready when all are."""

    class OpDeep(Operator):
        Inputs = InputSlot(level=2)
        Outputs = OutputSlot(level=2)

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.Outputs.connect(self.Inputs)

        def setupOutputs(self):
            pass

        def propagateDirty(self, slot, subindex, roi):
            pass

    a, b = OpDeep(), OpDeep()
    b.Inputs.connect(a.Outputs)
    a.Inputs.resize(2)
    a.Inputs[0].resize(1)
    a.Inputs[1].resize(2)
    assert [len(row) for row in b.Outputs] == [1, 2]
    for row in a.Inputs:
        for one in row:
            one.setValue(DATA)
    assert b.Outputs.ready()
    assert b.Outputs[1][1].subindex == (1, 1)
    np.testing.assert_array_equal(b.Outputs[1, 1][:].wait(), DATA)
    a.Inputs.removeSlot(0)
    assert b.Outputs[0, 1].subindex == (0, 1)
    np.testing.assert_array_equal(b.Outputs[0, 1][:].wait(), DATA)


def test_sizes_that_are_none():
    """Lists have 0 slots or more, and places within; single slots have none."""
    op = OpMany()
    with pytest.raises(ValueError, match="cannot have -1 slots"):
        op.Inputs.resize(-1)
    with pytest.raises(IndexError, match="has 0 slots; one cannot be inserted at 1"):
        op.Inputs.insertSlot(1)
    with pytest.raises(IndexError, match="there is none at 0"):
        op.Inputs.removeSlot(0)
    with pytest.raises(ValueError, match="declare it with level=1"):
        OpPass().Input.resize(1)
    with pytest.raises(ValueError, match="level is -1"):
        InputSlot(level=-1)


# an operator for each


@pytest.mark.parametrize("grow", ["promoted", "output"])
def test_a_wrapper_has_an_operator_for_each_slot(grow):
    """Promoted inputs and outputs are lists of one length, with an operator for each place; others are shared."""
    wrapper = OperatorWrapper(OpPlus, promotedSlotNames=["Input"])
    (wrapper.Input if grow == "promoted" else wrapper.Output).resize(2)
    assert len(wrapper) == len(wrapper.Input) == len(wrapper.Output) == 2
    assert [type(op) for op in wrapper.innerOperators] == [OpPlus, OpPlus]
    assert wrapper.children == wrapper.innerOperators
    wrapper.Input.setValues([DATA, DATA * 2])
    wrapper.Number.setValue(10)
    np.testing.assert_array_equal(wrapper.Output[1][:].wait(), DATA * 2 + 10)
    assert wrapper[1].Number.value == 10
    assert wrapper.Number.level == 0


def test_by_default_all_inputs_are_promoted():
    """All are lists but those declared nonlane, or named as broadcast."""

    class Op(OpPlus):
        Shared = InputSlot(value=0, nonlane=True)

    assert OperatorWrapper(Op).promotedSlotNames == ["Input", "Number"]
    assert OperatorWrapper(Op, broadcastingSlotNames=["Number"]).promotedSlotNames == ["Input"]
    with pytest.raises(ValueError, match="has no input Nope; it has Input, Number"):
        OperatorWrapper(OpPlus, promotedSlotNames=["Nope"])
    with pytest.raises(ValueError, match="not both"):
        OperatorWrapper(OpPlus, promotedSlotNames=["Input"], broadcastingSlotNames=["Number"])


def test_defaults_of_promoted_inputs():
    """A new place has the default of the class."""
    wrapper = OperatorWrapper(OpPlus)
    wrapper.Input.setValues([DATA])
    assert len(wrapper.Number) == 1
    np.testing.assert_array_equal(wrapper.Output[0][:].wait(), DATA + 1)


def test_arguments_of_wrapped_operators():
    """operator_args and operator_kwargs go to each of them."""

    class Op(OpPass):
        def __init__(self, first, *, second, parent=None, graph=None):
            super().__init__(parent=parent, graph=graph)
            self.got = (first, second)

    wrapper = OperatorWrapper(Op, operator_args=(1,), operator_kwargs={"second": 2})
    wrapper.Input.resize(2)
    assert [op.got for op in wrapper.innerOperators] == [(1, 2)] * 2


def test_resizing_leaves_the_others_alone():
    """Existing inner operators are neither replaced nor set up again when one is added or removed."""
    wrapper = OperatorWrapper(OpPass)
    wrapper.Input.setValues([DATA, DATA * 2])
    first, last = wrapper.innerOperators
    wrapper.Input.insertSlot(1, 3)
    assert wrapper.innerOperators[0] is first
    assert wrapper.innerOperators[2] is last
    wrapper.Input[1].setValue(DATA * 5)
    assert (first.setups, last.setups) == (1, 1)
    np.testing.assert_array_equal(wrapper.Output[1][:].wait(), DATA * 5)
    np.testing.assert_array_equal(wrapper.Output[2][:].wait(), DATA * 2)
    wrapper.Input.removeSlot(1, 2)
    assert wrapper.innerOperators == [first, last]
    assert (first.setups, last.setups) == (1, 1)
    np.testing.assert_array_equal(wrapper.Output[1][:].wait(), DATA * 2)


def test_wrappers_in_a_chain():
    """Lists that are connected to wrappers keep in step with them."""
    source, first, second = OpMany(), OperatorWrapper(OpPlus), OperatorWrapper(OpPass)
    first.Input.connect(source.Outputs)
    second.Input.connect(first.Output)
    source.Inputs.setValues([DATA, DATA * 2, DATA * 3])
    assert len(second.innerOperators) == 3
    np.testing.assert_array_equal(second.Output[2][:].wait(), DATA * 3 + 2 + 1)
    source.Inputs.removeSlot(1)
    assert len(second.innerOperators) == len(first.innerOperators) == 2
    np.testing.assert_array_equal(second.Output[1][:].wait(), DATA * 3 + 1 + 1)


def test_values_set_within_go_out():
    """setValue on an inner operator's input goes to the wrapper's slot."""
    wrapper = OperatorWrapper(OpPlus)
    wrapper.Input.resize(2)
    wrapper[1].Input.setValue(DATA)
    assert wrapper.Input[1].value is DATA
    np.testing.assert_array_equal(wrapper.Output[1][:].wait(), DATA + 1)


def test_dirtiness_through_a_wrapper():
    """Each lane hears of its own changes, and of those of shared inputs."""
    wrapper, dirty = OperatorWrapper(OpPlus, promotedSlotNames=["Input"]), []
    wrapper.Input.setValues([DATA, DATA])
    for one in wrapper.Output:
        one.notifyDirty(lambda slot, roi: dirty.append((slot.subindex, str(roi))))
    wrapper.Input[1].setDirty(slice(1, 2))
    assert dirty == [((1,), "(1, 0) to (2, 6)")]
    dirty.clear()
    wrapper.Number.setValue(7)
    assert sorted(dirty) == [((0,), "(0, 0) to (4, 6)"), ((1,), "(0, 0) to (4, 6)")]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_wrapper_stays_in_step(data):
    """Whatever lists grow or shrink, and where: lists, inner operators and data stay those of a plain Python list."""
    source, wrapper, after = OpLists(), OperatorWrapper(OpPlus, promotedSlotNames=["Input"]), OpLists()
    wrapper.Input.connect(source.Outputs)
    after.Inputs.connect(wrapper.Output)
    lists = (source.Inputs, source.Outputs, wrapper.Input, wrapper.Output, after.Inputs, after.Outputs)
    model = []
    for _ in range(data.draw(st.integers(1, 8))):
        action = data.draw(st.sampled_from(["insert", "remove", "resize", "set"]))
        if action == "insert":
            place = data.draw(st.integers(0, len(model)))
            slot = data.draw(st.sampled_from(lists))
            slot.insertSlot(place, len(model) + 1)
            model.insert(place, None)
        elif action == "remove" and model:
            place = data.draw(st.integers(0, len(model) - 1))
            data.draw(st.sampled_from(lists)).removeSlot(place, len(model) - 1)
            model.pop(place)
        elif action == "resize":
            size = data.draw(st.integers(0, 4))
            source.Inputs.resize(size)
            model = model[:size] + [None] * (size - len(model))
        elif action == "set" and model:
            place = data.draw(st.integers(0, len(model) - 1))
            number = data.draw(st.integers(0, 99))
            source.Inputs[place].setValue(np.array([number]))
            model[place] = number
        assert [len(one) for one in lists] == [len(model)] * 6
        assert len(wrapper.innerOperators) == len(model)
        for place, number in enumerate(model):
            for one in lists:
                assert one[place].subindex == (place,)
            assert after.Outputs[place].ready() == (number is not None)
            if number is not None:
                assert after.Outputs[place].value == number + 1
