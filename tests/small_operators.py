"""Small operators that the tests of the graph share."""

from itertools import pairwise

import numpy as np

from blockflow.graph import InputSlot, Operator, OutputSlot
from blockflow.rtype import SubRegion


class OpPlus(Operator):
    """Adds a number."""

    Input = InputSlot()
    Number = InputSlot(value=1)
    Output = OutputSlot()

    def setupOutputs(self):
        self.Output.meta.assignFrom(self.Input.meta)

    def execute(self, slot, subindex, roi, result):
        result[...] = self.Input.get(roi).wait()
        result += self.Number.value

    def propagateDirty(self, slot, subindex, roi):
        if slot is self.Input:
            self.Output.setDirty(roi)
        else:
            self.Output.setDirty()


class OpPass(Operator):
    """Gives its input, and keeps a record of what is asked of it."""

    Input = InputSlot()
    Output = OutputSlot()

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.setups, self.asked, self.dirty = 0, [], []

    def setupOutputs(self):
        self.setups += 1
        self.Output.meta.assignFrom(self.Input.meta)

    def execute(self, slot, subindex, roi, result):
        self.asked.append(roi)
        self.Input.get(roi).writeInto(result).wait()

    def propagateDirty(self, slot, subindex, roi):
        self.dirty.append(roi)
        self.Output.setDirty(roi)


class OpSum(Operator):
    """Adds two inputs, which it declares, so that they are computed at the same time."""

    A = InputSlot()
    B = InputSlot()
    Output = OutputSlot()

    def setupOutputs(self):
        assert self.A.meta.shape == self.B.meta.shape
        self.Output.meta.shape = self.A.meta.shape
        self.Output.meta.dtype = np.result_type(self.A.dtype, self.B.dtype).type

    def requiredInputRoi(self, slot, subindex, roi):
        return {one: SubRegion(one, roi.start, roi.stop) for one in (self.A, self.B)}

    def execute(self, slot, subindex, roi, result):
        a = self.A.get(roi).wait()
        b = self.B.get(roi).wait()
        result[...] = a + b

    def propagateDirty(self, slot, subindex, roi):
        self.Output.setDirty(roi)


def chain(operators):
    """Connect each operator's Input to the Output of the one before; returns the list."""
    operators = list(operators)
    for upstream, operator in pairwise(operators):
        operator.Input.connect(upstream.Output)
    return operators
