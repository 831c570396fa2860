"""Operators that do not tell what they need are found out by trying, or refused."""

from fractions import Fraction

import numpy as np
import pytest

from blockflow.graph import InputSlot, Operator, OutputSlot
from blockflow.graph.probing import probe
from blockflow.graph.window import UndeclaredRegionError
from blockflow.rtype import SubRegion

SHAPE = (60, 47)


class OpUntold(Operator):
    Input = InputSlot()
    Output = OutputSlot()

    def shape(self, shape):
        return shape

    def setupOutputs(self):
        self.Output.meta.dtype = self.Input.meta.dtype
        self.Output.meta.shape = self.shape(self.Input.meta.shape)

    def execute(self, slot, roi, result):
        result[...] = 0
        self.Input(*self.asks(list(roi.start), list(roi.stop), self.Input.meta.shape)).wait()

    def propagateDirty(self, slot, roi):
        self.Output.setDirty()


def clipped(start, stop, shape):
    return [max(0, a) for a in start], [min(b, size) for b, size in zip(stop, shape)]


class OpSame(OpUntold):
    def asks(self, start, stop, shape):
        return start, stop


class OpContext(OpUntold):
    def asks(self, start, stop, shape):
        return clipped([a - 3 for a in start], [b + 2 for b in stop], shape)


class OpFlip(OpUntold):
    def asks(self, start, stop, shape):
        return [shape[0] - stop[0], start[1]], [shape[0] - start[0], stop[1]]


class OpTransposed(OpUntold):
    def shape(self, shape):
        return shape[::-1]

    def asks(self, start, stop, shape):
        return start[::-1], stop[::-1]


class OpThird(OpUntold):
    def shape(self, shape):
        return tuple(size // 3 for size in shape)

    def asks(self, start, stop, shape):
        return [3 * a for a in start], [3 * b for b in stop]


class OpTwice(OpUntold):
    def shape(self, shape):
        return tuple(2 * size for size in shape)

    def asks(self, start, stop, shape):
        return [a // 2 for a in start], [-(-b // 2) for b in stop]


class OpAll(OpUntold):
    def asks(self, start, stop, shape):
        return [0] * len(shape), shape


class OpUpTo(OpUntold):
    """All before a voxel, as a running sum needs it."""

    def asks(self, start, stop, shape):
        return [0] * len(shape), stop


class OpSquare(OpUntold):
    def asks(self, start, stop, shape):
        return clipped([a * a // 40 for a in start], [b * b // 40 + 2 for b in stop], shape)


def made(cls):
    operator = cls()
    operator.Input.setValue(np.zeros(SHAPE))
    return operator


@pytest.mark.parametrize("cls", [OpSame, OpContext, OpFlip, OpTransposed, OpThird, OpTwice, OpAll])
def test_what_one_affine_map_explains_is_accepted(cls):
    """For any region, the probed map holds what the operator asks for, and no more where it asks within its input."""
    operator = made(cls)
    found = probe(operator.Output)["Input"]
    shape = operator.Output.meta.shape
    for start in ((0, 0), (7, 11), (shape[0] - 5, shape[1] - 4)):
        stop = tuple(min(a + 5, size) for a, size in zip(start, shape))
        asked = operator.asks(list(start), list(stop), SHAPE)
        region = found.region(SubRegion(None, start, stop))
        low, high = clipped(region.start, region.stop, SHAPE)
        assert (list(low), list(high)) == tuple(map(list, asked))


def test_the_scale_of_a_resampling_is_found():
    """Three input voxels for one, and half a one for one."""
    assert {axis.scale for axis in probe(made(OpThird).Output)["Input"].axes} == {Fraction(3)}
    assert {axis.scale for axis in probe(made(OpTwice).Output)["Input"].axes} == {Fraction(1, 2)}


@pytest.mark.parametrize("cls", [OpUpTo, OpSquare])
def test_what_no_affine_map_explains_is_refused_with_the_ways_out(cls):
    """The message names the slot, what it asks for, and the three things that can be done."""
    with pytest.raises(
        UndeclaredRegionError, match=rf"{cls.__name__}.Output does not tell which region"
    ) as caught:
        probe(made(cls).Output)
    for way in ("requiredInputRoi", "blockflow.pointwise", "worker file"):
        assert way in str(caught.value)


def test_an_operator_that_fails_when_it_is_tried_is_refused_with_its_own_error():
    """What it raised is in the message."""

    class OpFails(OpUntold):
        def asks(self, start, stop, shape):
            raise ZeroDivisionError("no region of mine")

    with pytest.raises(UndeclaredRegionError, match="ZeroDivisionError: no region of mine"):
        probe(made(OpFails).Output)
