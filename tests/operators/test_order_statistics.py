"""Percentiles of integers of any size: numpy's, bit for bit, whatever the blocks, in bounded memory."""

import weakref
from collections.abc import Sequence

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from operators.arrays import array, slots
from planned_runs import planned_here, run_here

from blockflow.operators import OpNormalizePercentile, OpPercentile
from blockflow.operators.order_statistics import (
    occurrences,
    occurrences_bytes,
    percentiles,
    percentiles_bytes,
)
from blockflow.operators.scratch import peak_bytes
from blockflow.storage import ArraySpec, VolumeMetadata, open_array

UNSIGNED = ["uint8", "uint16", "uint32", "uint64"]
SIGNED = ["int8", "int16", "int32", "int64"]


def half_range(dtype):
    """The values of a dtype of which no two are farther apart than it holds."""
    limits = np.iinfo(dtype)
    return (0, int(limits.max)) if limits.min == 0 else (int(limits.min) // 2, int(limits.max) // 2)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(UNSIGNED + SIGNED), st.floats(0, 100), st.data())
def test_a_percentile_is_that_of_numpy_to_the_last_bit(dtype, percent, values):
    """For any integers, beyond 2^53 too, any percentage and any blocks: the bits of `numpy.percentile`."""
    low, high = half_range(dtype)
    near = values.draw(st.integers(low, high))
    small = st.integers(max(low, near - 300), min(high, near + 300))
    numbers = values.draw(st.lists(st.one_of(st.integers(low, high), small), min_size=1, max_size=60))
    image = np.array(numbers, dtype)
    cuts = sorted(values.draw(st.sets(st.integers(1, len(image)), max_size=4)) - {len(image)})
    blocks = [occurrences(part) for part in np.split(image, cuts)]
    found = percentiles(image.dtype, blocks, image.size, [percent, 100 - percent])
    np.testing.assert_array_equal(found, np.percentile(image, [percent, 100 - percent]))
    assert found.dtype == np.float64


def test_values_farther_apart_than_the_dtype_holds():
    """Between the least and the greatest value of a signed dtype it is where it belongs; numpy's overflows there."""
    for dtype in SIGNED:
        limits = np.iinfo(dtype)
        image = np.array([limits.min, limits.max], dtype)
        (found,) = percentiles(image.dtype, [occurrences(image)], 2, [25])
        assert found == pytest.approx(float(limits.min) / 2, abs=0.5)


def test_beyond_what_float64_holds_the_value_is_rounded_once():
    """A voxel's own value beyond 2^53 comes back as the nearest float64."""
    for value in (2**53 + 1, 2**63 - 1, -(2**63) + 1, 2**64 - 1):
        image = np.array([value] * 3, np.uint64 if value > 2**63 else np.int64)
        (found,) = percentiles(image.dtype, [occurrences(image)], 3, [50])
        assert found == float(value)


def test_truth_values_count_as_numbers():
    """Of bool, a percentile is that of 0 and 1."""
    mask = np.random.default_rng(0).random((9, 7)) < 0.4
    op = slots(OpPercentile(), Input=mask, percent=61.3)
    assert op.Output[:].wait() == np.percentile(mask.view(np.uint8), 61.3)


class Lazily(Sequence):
    """Results that are made when they are asked for, and seen to be let go of."""

    def __init__(self, blocks):
        self.blocks = blocks
        self.reads = 0
        self.alive = weakref.WeakSet()
        self.most = 0

    def __len__(self):
        return len(self.blocks)

    def __getitem__(self, index):
        if index >= len(self.blocks):
            raise IndexError(index)
        result = Result(occurrences(self.blocks[index]))
        self.reads += 1
        self.alive.add(result)
        self.most = max(self.most, len(self.alive))
        return result


class Result(dict):
    """What a block has left; it can be referred to weakly."""

    __hash__ = object.__hash__


@pytest.mark.parametrize(("dtype", "passes"), [("uint16", 1), ("int32", 2), ("uint64", 4)])
def test_results_are_gone_over_a_few_times_and_one_at_a_time(dtype, passes):
    """One pass for each 16 bits, with the result of one block at hand; memory is as projected."""
    random = np.random.default_rng(1)
    blocks = [array(random, (40, 50, 60), dtype) for _ in range(6)]
    results, dtype = Lazily(blocks), np.dtype(dtype)
    voxels = sum(block.size for block in blocks)
    taken = peak_bytes(lambda: percentiles(dtype, results, voxels, [10, 90]))
    assert results.reads == passes * len(blocks)
    assert results.most == 1
    making = occurrences_bytes(dtype, blocks[0].shape)
    assert taken <= percentiles_bytes(dtype, blocks[0].shape) + making


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "uint64"])
def test_what_a_block_takes_is_as_projected(dtype):
    """Counting or sorting a block takes no more than the figure, and for noise at least half of it."""
    noise = array(np.random.default_rng(2), (60, 100, 110), dtype)
    figure = occurrences_bytes(noise.dtype, noise.shape)
    assert figure / 2 <= peak_bytes(lambda: occurrences(noise)) <= figure + 2**16
    fewer = noise // noise.dtype.type(2**6)
    assert peak_bytes(lambda: occurrences(fewer)) <= figure + 2**16


@pytest.mark.parametrize("dtype", ["uint8", "int32", "uint64"])
def test_a_run_finds_the_percentiles_of_the_lazy_whole(tmp_path, dtype):
    """Blockwise, percentiles of 8, 32 and 64 bits are those asked lazily; the plan has the memory of the merge."""
    metadata = VolumeMetadata((1,) * 3, (0,) * 3, ("nm",) * 3, ("z", "y", "x"), ("space",) * 3)
    ArraySpec(str(tmp_path / "raw.zarr"), (17, 20, 23), dtype, metadata, (6, 7, 8)).create()
    zarr.open(str(tmp_path / "raw.zarr"))[...] = array(np.random.default_rng(3), (17, 20, 23), dtype)
    norm = slots(OpNormalizePercentile(), Input=open_array(tmp_path / "raw.zarr"), low=5, high=80)
    planned = planned_here({norm.Output: str(tmp_path / "out.zarr")}, tmp_path / "work")
    run_here(planned)
    np.testing.assert_array_equal(zarr.open(str(tmp_path / "out.zarr"))[...], norm.Output[:].wait())
    (merge,) = (task for task in planned.plan.tasks if task.kind == "merge")
    assert merge.memory > 0


def test_what_is_no_integer_is_refused():
    """Floats have no exact percentile here; the output is not ready, and says what to do."""
    norm = slots(OpNormalizePercentile(), Input=np.zeros((3, 4)))
    assert "percentiles of integers, not of float64; use Rescale" in norm.Output.meta.NOTREADY
    assert "no meaning for float64" in slots(OpPercentile(), Input=np.zeros((3, 4))).Output.meta.NOTREADY
