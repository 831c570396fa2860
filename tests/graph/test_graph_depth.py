import itertools
import sys

import numpy as np
import pytest
from small_operators import OpPass, OpPlus, OpSum, chain

from blockflow.graph import InputSlot, Operator, OperatorWrapper
from blockflow.request import Request

DATA = np.arange(24).reshape(4, 6)
DEEP = 1000


@pytest.fixture(params=[0, 2], ids=["without threads", "two workers"])
def _threads(request):
    Request.reset_thread_pool(request.param)


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("order", ["value first", "value last"])
def test_a_chain_of_a_thousand_operators(order):
    """Data, set-up, dirtiness and the loss of the input run through 1,000 operators, with Python's own limit."""
    assert sys.getrecursionlimit() <= 1000
    ops = [OpPlus() for _ in range(DEEP)]
    if order == "value first":
        ops[0].Input.setValue(DATA)
    chain(ops)
    if order == "value last":
        ops[0].Input.setValue(DATA)
    heard = []
    ops[-1].Output.notifyDirty(lambda _, roi: heard.append(str(roi)))
    np.testing.assert_array_equal(ops[-1].Output[1:3].wait(), DATA[1:3] + DEEP)
    np.testing.assert_array_equal(ops[-1].Output[:].submit().wait(), DATA + DEEP)
    ops[0].Input.setDirty(slice(2, 3))
    assert heard == ["(2, 0) to (3, 6)"]
    ops[0].Input.setValue(DATA[:2])
    assert ops[-1].Output.meta.shape == (2, 6)
    np.testing.assert_array_equal(ops[-1].Output[:].wait(), DATA[:2] + DEEP)
    ops[0].Input.disconnect()
    assert not ops[-1].Output.ready()


def test_a_thousand_inputs_in_a_row():
    """Connections without operators between them are as deep as one likes, too."""
    ops = [OpPlus() for _ in range(DEEP)]
    for upstream, op in itertools.pairwise(ops):
        op.Input.connect(upstream.Input)
    ops[0].Input.setValue(DATA)
    heard = []
    ops[-1].Output.notifyDirty(lambda _, roi: heard.append(roi))
    np.testing.assert_array_equal(ops[-1].Output[:].wait(), DATA + 1)
    ops[0].Input.setDirty()
    assert len(heard) == 1
    ops[0].Input.disconnect()
    assert not ops[-1].Output.ready()


def test_deep_nesting():
    """Operators within operators, 300 deep, forward data and changes, and are cleaned up."""

    class OpNest(OpPlus):
        def setupOutputs(self):
            if self.Output.upstream_slot is None:
                super().setupOutputs()

    top = OpNest()
    levels = [top]
    for _ in range(300):
        inner = OpNest(parent=levels[-1])
        inner.Input.connect(levels[-1].Input)
        levels[-1].Output.connect(inner.Output)
        levels.append(inner)
    top.Input.setValue(DATA)
    np.testing.assert_array_equal(top.Output[:].wait(), DATA + 1)
    top.Input.setDirty()
    top.cleanUp()
    assert not levels[-1].Input.connected()


def test_a_chain_of_wrappers():
    """Wrappers in a row: each lane is a chain of its own."""
    wrappers = chain([OperatorWrapper(OpPlus, promotedSlotNames=["Input"]) for _ in range(30)])
    wrappers[0].Input.setValues([DATA, DATA * 2])
    np.testing.assert_array_equal(wrappers[-1].Output[1][:].wait(), DATA * 2 + 30)


def test_a_ladder_of_diamonds():
    """Where each operator needs the one before twice, all answers are right."""
    first = OpPass()
    first.Input.setValue(DATA)
    below = first
    for _ in range(8):
        total = OpSum()
        total.A.connect(below.Output)
        total.B.connect(below.Output)
        below = total
    np.testing.assert_array_equal(below.Output[:].wait(), DATA * 2**8)
    first.Input.setValue(DATA + 1)
    np.testing.assert_array_equal(below.Output[:].wait(), (DATA + 1) * 2**8)


def test_an_operator_with_many_inputs():
    """Sixty inputs, declared and so computed ahead, each deep: all are right."""

    class OpMany(Operator):
        Inputs = InputSlot(level=1)
        Output = OpPass.outputSlots[0].__class__()

        def setupOutputs(self):
            self.Output.meta.assignFrom(self.Inputs[0].meta)

        def requiredInputRoi(self, slot, subindex, roi):
            return dict.fromkeys(self.Inputs, roi)

        def execute(self, slot, subindex, roi, result):
            result[...] = sum(one.get(roi).wait() for one in self.Inputs)

        def propagateDirty(self, slot, subindex, roi):
            self.Output.setDirty(roi)

    total = OpMany()
    total.Inputs.resize(60)
    for k, slot in enumerate(total.Inputs):
        ops = chain(OpPlus() for _ in range(5))
        ops[0].Input.setValue(DATA + k)
        slot.connect(ops[-1].Output)
    np.testing.assert_array_equal(total.Output[:].wait(), sum(DATA + k + 5 for k in range(60)))
