"""The kit finds each promise that an operator may break; otherwise what it proves would be worth nothing."""

import mmap

import numpy as np
import pytest

from blockflow.graph import InputSlot, OutputSlot, StagedOperator
from blockflow.operators.bases import LocalOperator
from blockflow.testing import check_operator


class OpShift(LocalOperator):
    """The value one voxel further along the first axis; 0 at the end. Keeps its promises."""

    Input = InputSlot()

    def context(self):
        return [(0, 1), *[(0, 0)] * (len(self.Input.meta.shape) - 1)]

    def compute(self, result, core, *data):
        first = slice(core[0].start + 1, core[0].stop + 1)
        part = data[0][(first, *core[1:])]
        result[...] = 0
        result[: len(part)] = part


def test_one_that_keeps_them_passes():
    """The operator that the others are made from is fine, also in one, two and three dimensions."""
    random = np.random.default_rng(0)
    for shape in ((9,), (7, 5), (6, 7, 8)):
        image = random.integers(1, 200, shape, np.uint8)
        expected = np.concatenate([image[1:], np.zeros_like(image[:1])])
        assert check_operator(OpShift, lambda _, e=expected: e, arrays={"Input": image}).regions == 12


class OpReadsMore(OpShift):
    def execute(self, slot, subindex, roi, result):
        self.Input[:].wait()
        return super().execute(slot, subindex, roi, result)


class OpLooksFarther(OpShift):
    def compute(self, result, core, *data):
        result[...] = data[0].max()


class OpTellsTooLittle(OpShift):
    def dirtied(self, slot, subindex, roi):
        return roi.start, roi.stop


class OpTakesMore(OpShift):
    def compute(self, result, core, *data):
        held = [np.ones(1_000_000) for _ in range(2)]
        super().compute(result, core, *data)
        del held


class OpTakesMoreOfTheSystem(OpShift):
    native_memory = True

    def compute(self, result, core, *data):
        with mmap.mmap(-1, 20_000_000) as held:  # as a library does, past Python's own account
            for page in range(0, len(held), mmap.PAGESIZE):
                held[page] = 1
        super().compute(result, core, *data)


class OpPromisesTooMuch(OpShift):
    def scratch_bytes(self, slot, subindex, roi):
        return 10_000_000


class OpKnowsItsBlocks(StagedOperator):
    """Counts the blocks of the pass."""

    Input = InputSlot()
    Output = OutputSlot()

    def setupOutputs(self):
        self.Output.meta.shape, self.Output.meta.dtype = (1,), np.int64

    def requiredInputRoi(self, slot, subindex, roi):
        return {}

    def measure(self, grid, index):
        return {}

    def merge(self, grid, results):
        return {"count": np.array([len(results)])}

    def apply(self, slot, subindex, roi, result, grid, merged):
        result[...] = merged["count"]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (OpReadsMore, "execute asked for .*, but requiredInputRoi says"),
        (OpLooksFarther, "voxels differ from the whole"),
        (OpTellsTooLittle, "which was not announced as dirty"),
        (OpTakesMore, "scratch_bytes projects 0 for shape .*; 16"),
        (OpTakesMoreOfTheSystem, r"scratch_bytes projects 0 for shape .*; (19|20)\d{6} were taken"),
        (OpPromisesTooMuch, "scratch_bytes projects 10000000 for shape .*; only"),
        (OpKnowsItsBlocks, "a pass in blocks of"),
    ],
)
def test_a_broken_promise_is_found(broken, said):
    """Reading too much, looking too far, telling or taking too little, knowing the blocks: each is told."""
    with pytest.raises(AssertionError, match=said):
        for seed in range(5):
            check_operator(broken, seed=seed)


def test_a_whole_that_is_not_the_reference_is_found():
    """The first voxel that differs is named, with both values."""
    image = np.arange(1, 7, dtype=np.uint8)
    with pytest.raises(AssertionError, match=r"differ from the reference, the first at \(5,\)"):
        check_operator(
            OpShift, lambda image: np.append(image[1:], [9]).astype(np.uint8), arrays={"Input": image}
        )
