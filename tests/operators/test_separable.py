"""Passes along one axis after the other, slab by slab."""

import tracemalloc
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from blockflow.operators import separable
from blockflow.operators.separable import Pass, passes_bytes, run_passes


def run(axis, sigma, data, output):
    gaussian_filter1d(data, sigma, axis, output=output)


@st.composite
def cases(draw):
    shape = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    axes = draw(st.permutations(range(len(shape))))[: draw(st.integers(0, len(shape)))]
    core = []
    for size in shape:
        low, high = sorted(draw(st.tuples(st.integers(0, size), st.integers(0, size))))
        core.append(slice(low, high) if low < high else slice(0, size))
    return shape, axes, tuple(core), draw(st.sampled_from([1, 7, 50, 2**19]))


@settings(deadline=None)
@given(cases())
def test_slabs_give_the_bits_of_the_whole(case):
    """For any shape, axes, core and size of slabs: what the passes give one after the other on all data."""
    shape, axes, core, slab = case
    data = np.random.default_rng(0).integers(0, 256, shape).astype("u1")
    wanted = data.astype("f4") if not axes else data
    for axis in axes:
        wanted = gaussian_filter1d(wanted, 1 + axis, axis, output="f4")
    result = np.empty([part.stop - part.start for part in core], "f4")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(separable, "_SLAB", slab)
        run_passes(data, core, [Pass(axis, partial(run, axis, 1 + axis)) for axis in axes], result)
    np.testing.assert_array_equal(result, wanted[core])


@pytest.mark.parametrize("margin", [0, 5])
@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 2), (2,), (0,)])
def test_memory_is_what_is_told(axes, margin):
    """Beside data and result a run takes at most `passes_bytes`, and that is not much too large."""
    shape, inner = (90, 110, 100), (90 - 2 * margin, 110 - 2 * margin, 100 - 2 * margin)
    data, result = np.zeros(shape, "u1"), np.empty(inner, "f4")
    core = (slice(margin, 90 - margin), slice(margin, 110 - margin), slice(margin, 100 - margin))
    passes = [Pass(axis, partial(run, axis, 1)) for axis in axes]
    run_passes(data, core, passes, result)
    tracemalloc.start()
    try:
        run_passes(data, core, passes, result)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    told = passes_bytes(shape, inner, axes, 4)
    assert peak <= told + 100_000
    assert told <= 1.2 * peak


def test_as_scipy():
    """A Gaussian along all axes is scipy's."""
    data = np.random.default_rng(0).integers(0, 256, (40, 50, 60)).astype("u1")
    result = np.empty(data.shape, "f4")
    passes = [Pass(axis, partial(run, axis, 2)) for axis in range(3)]
    run_passes(data, (slice(0, 40), slice(0, 50), slice(0, 60)), passes, result)
    np.testing.assert_array_equal(result, gaussian_filter(data, 2, output="f4"))
