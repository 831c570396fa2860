"""Operators that were changed after they were made: workers, who make them anew, would not have it."""

import numpy as np
import pytest
from planned_runs import planned_here
from small_operators import OpPass, OpPlus

from blockflow.errors import TaskError
from blockflow.graph import Graph, InputSlot, Operator, OperatorWrapper, OutputSlot
from blockflow.tasks.graph_data import GraphData, reference


class OpScale(OpPass):
    """Multiplies by an attribute."""

    gain = 1

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._offset = 0
        self.calls = 0
        self.Input.notifyMetaChanged(self._count)

    def _count(self, slot):
        self.changes = getattr(self, "changes", 0) + 1

    @property
    def offset(self):
        return self._offset

    @offset.setter
    def offset(self, value):
        self._offset = value

    def shift(self, value):
        self._offset = value

    def execute(self, slot, subindex, roi, result):
        self.calls += 1
        result[...] = self.Input.get(roi).wait() * self.gain + self._offset


class OpPlusPlus(Operator):
    """Two parts."""

    Input = InputSlot()
    Output = OutputSlot()

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.first, self.second = OpPlus(parent=self), OpPlus(parent=self)
        self.first.Number.setValue(3)
        self.first.Input.connect(self.Input)
        self.second.Input.connect(self.first.Output)
        self.Output.connect(self.second.Output)

    def propagateDirty(self, slot, subindex, roi):
        pass


def made(kind):
    op = kind(graph=Graph())
    op.Input.setValue(np.arange(12).reshape(3, 4))
    op.Output[:].wait()
    op.Input.setDirty()
    return op


CHANGES = {
    "an attribute of the class": (OpScale, lambda op: setattr(op, "gain", 2), "OpScale.gain"),
    "a new attribute": (OpScale, lambda op: setattr(op, "table", [1]), "OpScale.table"),
    "by a property": (OpScale, lambda op: setattr(op, "offset", 2), "OpScale._offset"),
    "by a method": (OpScale, lambda op: op.shift(2), "OpScale._offset"),
    "a value of a part": (OpPlusPlus, lambda op: op.first.Number.setValue(5), "OpPlus.Number"),
    "a connection of a part": (
        OpPlusPlus,
        lambda op: op.second.Input.connect(op.Input),
        "OpPlus.Input",
    ),
    "a value taken away": (OpPlusPlus, lambda op: op.first.Number.disconnect(), "OpPlus.Number"),
    "another part": (OpPlusPlus, lambda op: OpPass(parent=op), "OpPass"),
    "a method": (OpScale, lambda op: setattr(op, "execute", op.setupOutputs), "OpScale.execute"),
    "a value of an output": (OpScale, lambda op: op.Output.setValue(np.ones(2)), "OpScale.Output"),
    "a connection of an output": (
        OpPlusPlus,
        lambda op: op.Output.connect(op.first.Output),
        "OpPlusPlus.Output",
    ),
}


@pytest.mark.parametrize(("kind", "change", "what"), CHANGES.values(), ids=CHANGES)
def test_what_was_changed_afterwards_is_refused_by_name(kind, change, what):
    """A run would not have it: refused before anything runs, with what it is and what to do."""
    op = made(kind)
    change(op)
    with pytest.raises(TaskError, match=rf"{what} was set after it was made.*as an argument of __init__"):
        GraphData.of([op.Output])


@pytest.mark.parametrize("kind", [OpScale, OpPlusPlus])
def test_what_the_graph_itself_changes_is_no_change(kind):
    """Names, values and connections of inputs, and what operators note of themselves, are taken down or follow."""
    op = made(kind)
    op.name = "mine"
    op.Input.setValue(np.ones((2, 2)))
    op.Input.disconnect()
    op.Input.setValue(np.ones((3, 2)))
    other = OpPass(graph=op.graph)
    other.Input.connect(op.Output)
    other.Output[:].wait()
    assert [node.name for node in GraphData.of([other.Output]).nodes] == ["mine", "OpPass"]


class OpLazy(OpPass):
    """Keeps what it finds out when it is asked."""

    def requiredInputRoi(self, slot, subindex, roi):
        self.asked_for = roi
        return {self.Input: roi}

    def scratch_bytes(self, slot, subindex, roi):
        self.bytes = super().scratch_bytes(slot, subindex, roi)
        return self.bytes


def test_what_an_operator_keeps_when_a_plan_asks_it_is_no_change(tmp_path):
    """It may be planned again and again."""
    op = made(OpLazy)
    for _ in range(2):
        planned_here({op.Output: tmp_path / "out.zarr"}, tmp_path / "work").tasks()


def test_what_is_undone_or_changes_nothing_is_no_change():
    """A part that is cleaned up again, a connection that is there already."""
    op = made(OpPlusPlus)
    part = OpPass(parent=op)
    part.Input.connect(op.first.Output)
    part.cleanUp()
    op.second.Input.connect(op.first.Output)
    assert len(GraphData.of([op.Output]).nodes) == 1


def test_a_value_that_a_wrapper_passes_on_is_one_of_its_own():
    """A value set at a lane goes to the wrapper's list, which workers have."""
    wrapper = OperatorWrapper(OpPlus, graph=Graph())
    wrapper.Input.resize(1)
    wrapper[0].Input.setValue(np.ones((2, 2)))
    (node,) = GraphData.of([wrapper.Output[0]]).nodes
    assert "Input[0]" in node.values


def test_operators_of_a_wrapper_come_and_go_with_its_lists():
    """Parts that the graph makes are no changes."""
    wrapper = OperatorWrapper(OpPlus, graph=Graph())
    wrapper.Input.resize(2)
    for slot in wrapper.Input:
        slot.setValue(np.ones((2, 2)))
    wrapper.Input.resize(1)
    assert len(GraphData.of([wrapper.Output[0]]).nodes) == 1


@pytest.mark.parametrize("position", [0, 1, 2])
def test_lanes_that_were_inserted(position):
    """The operator of each lane is found again in its place, wherever in the list lanes were inserted."""
    wrapper = OperatorWrapper(OpPlus, graph=Graph(), promotedSlotNames=["Input"])
    wrapper.Input.resize(2)
    wrapper.Number.setValue(1)
    wrapper.Input.insertSlot(position)
    for lane, slot in enumerate(wrapper.Input):
        slot.setValue(np.full((2, 2), lane))
    outputs = [one.Output for one in wrapper.innerOperators]
    graph = GraphData.of(outputs)
    operators = graph.build(windows=False)
    for lane, output in enumerate(outputs):
        again = reference(output, graph.names(outputs)).of(operators)
        assert np.array_equal(again[:].wait(), np.full((2, 2), lane + 1))
