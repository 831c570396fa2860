"""Every operator of the catalogue, by the kit that any operator proves itself with."""

import numpy as np
import pytest
from operators.arrays import SHAPES
from operators.cases import CASES, cases_of

from blockflow.operators import operator_names, resolve_operator
from blockflow.testing.operators import check_operator

#: operators whose output is no array of one input's voxels; each has a test of its own
ELSEWHERE = {
    "BlockwiseFilesetReader": "reads files; see test_fileset_operators",
    "BlockwiseFilesetWriter": "writes files; see test_fileset_operators",
    "MetadataSelector": "a value, not an array",
    "MultiArraySlicer": "a list of outputs",
    "MultiArraySlicer2": "a list of outputs",
    "Predict": "needs a model; see test_predicting",
    "PrecomputedInput": "its output is one of its inputs",
    "RESTfulBlockwiseFilesetReader": "reads files; see test_fileset_operators",
    "RESTfulVolumeReader": "reads from a server; see test_fileset_operators",
    "ReorderAxes": "needs the names of axes",
}


def test_none_is_left_out():
    """Each operator of the catalogue is tried here, or it is said why not."""
    assert {*CASES} - {"ReorderAxes"} | {*ELSEWHERE} == {*operator_names()}


def trials():
    for number, name in enumerate(sorted({*CASES} - {*ELSEWHERE})):
        dtypes, _ = CASES[name]
        for place in range(max(len(dtypes), 6)):
            shape = SHAPES[(place + number) % len(SHAPES)]
            yield pytest.param(name, shape, dtypes[place % len(dtypes)], 100 * number + place)


@pytest.mark.parametrize(("name", "shape", "dtype", "seed"), list(trials()))
def test_an_operator_keeps_its_promises(name, shape, dtype, seed):
    """Blocks are those of the whole and of numpy or scipy, changes are announced, memory is as projected."""
    random = np.random.default_rng(seed)
    for case in cases_of(name, random, shape, dtype):
        check_operator(
            case.operator(),
            case.reference,
            arrays=case.arrays,
            tolerance=case.tolerance,
            regions=6,
            seed=seed,
        )


@pytest.mark.parametrize("name", sorted({*CASES} - {*ELSEWHERE}))
def test_an_operator_keeps_its_memory_promise(name):
    """For a region that matters, what is taken is at least half of what is projected, and no more."""
    dtypes, _ = CASES[name]
    dtype = "uint8" if "uint8" in dtypes else dtypes[0]
    for dtype_here in {dtype, dtypes[-1]}:
        case = next(iter(cases_of(name, np.random.default_rng(3), (41, 67, 71), dtype_here)))
        ratio = check_operator(case.operator(), arrays=case.arrays, regions=1).scratch_ratio
        assert ratio is None or 0.5 <= ratio <= 1.3


def test_every_operator_says_what_it_is():
    """Each has a docstring whose first line is a sentence, and each parameter says what it means."""
    for name in operator_names():
        cls = resolve_operator(name)
        first = cls.__doc__.strip().splitlines()[0]
        assert len(first) > 10, name
        for slot in cls.inputSlots:
            assert not hasattr(slot, "doc") or len(slot.doc) > 5, (name, slot.name)
