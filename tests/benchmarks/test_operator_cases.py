"""What the benchmark of the operators compares."""

import statistics
from pathlib import Path

import numpy as np
import pytest

from blockflow.operators import operator_names
from blockflow.request import Request

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import bench_operators as bench

#: how far results may be from those of numpy or scipy, relative to the greatest: running sums, and other orders
NEAR = {"Uniform": 1e-5, "Variance": 1e-12, "StandardDeviation": 1e-12, "NormalizeMeanStd": 1e-5}


@pytest.fixture(autouse=True)
def _two_threads():
    Request.reset_thread_pool(2)
    yield
    Request.reset_thread_pool()


@pytest.fixture(scope="module")
def data():
    """By edge; the region that one case asks for needs the larger."""
    return {edge: bench.data_of(edge) for edge in (40, 128)}


def test_every_operator_is_compared_or_it_is_said_why_not():
    """Each operator of the catalogue is a case, or an exception with a reason."""
    assert not {*bench.CASES} & {*bench.EXCEPTIONS}
    assert {*bench.CASES} | {*bench.EXCEPTIONS} == {*operator_names()}
    assert all(len(why) > 5 for why in bench.EXCEPTIONS.values())
    assert {case.reason for case in bench.CASES.values()} == {"", *bench.REASONS}


@pytest.mark.parametrize("name", bench.CASES)
def test_both_sides_make_the_same(name, data):
    """What is put together from blocks is what the other side makes of the whole."""
    here = data[128 if name == "SubRegion" else 40]
    case = bench.CASES[name]
    operator = bench.operator_of(name, here)
    slot = case.output(operator)
    halves = [tuple(-(-size // 2) for size in slot.meta.shape)]
    if isinstance(operator, bench.StagedOperator):
        shape = operator.inputs[operator.stage_input].meta.shape
        halves.append(tuple(-(-size // 2) for size in shape))
    blocks = bench.Blocks(*halves)
    made = bench.blockwise(operator, slot, blocks)
    whole = case.whole or (lambda *_: case.output(bench.operator_of(name, here))[:].wait())
    wanted = np.atleast_1d(whole(*bench.arrays_of(case, here)))
    assert made.shape == wanted.shape
    assert made.any()
    if name not in NEAR:
        np.testing.assert_array_equal(made, wanted)
    else:
        np.testing.assert_allclose(made, wanted, atol=NEAR[name] * np.abs(wanted).max(), rtol=0)


@pytest.mark.parametrize(
    "name", ["Add", "Stack", "MultiArraySlicer", "Histogram", "Sum", "ConnectedComponents"]
)
def test_blocks_are_those_of_the_plan(name, data, tmp_path):
    """There are several, of whole chunks and all channels; numbers of the whole are planned by who uses them."""
    blocks = bench.planned_blocks(name, data[128], tmp_path)
    slot = bench.CASES[name].output(bench.operator_of(name, data[128]))
    assert len(bench.StageGrid(tuple(slot.meta.shape), blocks.output)) > 1 or blocks.measured
    if blocks.measured:
        assert len(bench.StageGrid((128,) * 3, blocks.measured)) == 8
    if name == "Stack":
        assert blocks.output[0] == 2


def test_a_row_is_of_one_operator_and_what_is_slow_is_explained(data, tmp_path):
    """Speed is that of pairs, memory of both sides is there, and only what is below three quarters is explained."""
    row = bench.measured("GaussianSmoothing", data[40], tmp_path, 1)
    assert len(row.wholes) == len(row.in_blocks) >= 1
    assert row.speed == statistics.median(a / b for a, b in zip(row.wholes, row.in_blocks))
    result = 4 * 40**3
    assert row.whole_bytes >= result
    assert row.block_bytes >= result
    assert row.microseconds > 0
    rows = [bench.Row(name, bench.Blocks((1,)), 1, [speed], [1.0]) for name, speed in
            (("Add", 0.5), ("Cast", 0.75), ("Gamma", 0.1))]  # fmt: skip
    said = bench.explained(rows)
    assert "`Add` 0.50: bound by memory" in said
    assert "Cast" not in said
    assert "**Not explained**: `Gamma` 0.10" in said
    assert bench.explained(rows[1:2]) == "All of them reach 0.75."
