"""An operator of two inputs, connected, asked in three ways, and changed."""

import numpy as np

from blockflow.graph import InputSlot, Operator, OutputSlot
from blockflow.request import RequestPool
from blockflow.roi import getIntersectingRois, roiToSlice
from blockflow.stype import ArrayLike


class SumOperator(Operator):
    inputA = InputSlot(stype=ArrayLike)
    inputB = InputSlot(stype=ArrayLike)

    output = OutputSlot(stype=ArrayLike)

    def setupOutputs(self):
        assert self.inputA.meta.shape == self.inputB.meta.shape
        self.output.meta.shape = self.inputA.meta.shape
        self.output.meta.dtype = self.inputA.meta.dtype

    def execute(self, slot, subindex, roi, result):
        a = self.inputA.get(roi).wait()
        b = self.inputB.get(roi).wait()
        result[...] = a + b

    def propagateDirty(self, slot, subindex, roi):
        self.output.setDirty(roi)


def main():
    op1, op2 = SumOperator(), SumOperator()
    op2.inputA.connect(op1.output)
    op1.inputA.setValue(np.zeros((10, 20)))
    op1.inputB.setValue(np.ones((10, 20)))
    op2.inputB.setValue(np.full((10, 20), 5.0))
    print(op2.graph.draw())

    print("a slicing:", op2.output[0:10, 0:20].wait().sum())
    print("start and stop:", op2.output(start=(0, 0), stop=(2, 20)).wait().sum())

    # block by block, into an array that is there already
    volume = np.empty(op2.output.shape, op2.output.dtype)
    with RequestPool() as pool:
        for start, stop in getIntersectingRois(op2.output.shape, (4, 8), ((0, 0), op2.output.shape)):
            pool.add(op2.output(start, stop).writeInto(volume[roiToSlice(start, stop)]))
    print("block by block:", volume.sum())

    op2.output.notifyDirty(lambda slot, roi: print("dirty:", roi))
    op1.inputB.setValue(np.full((10, 20), 2.0))
    print("after the change:", op2.output[:].wait().sum())


if __name__ == "__main__":
    main()
