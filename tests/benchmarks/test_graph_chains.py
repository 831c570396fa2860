"""The chains that the benchmark of the graph compares."""

from pathlib import Path

import numpy as np
import pytest

from blockflow.request import Request

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("name", ["light", "heavy"])
def test_all_ways_give_the_same_voxels(name, monkeypatch):
    """What is compared does the same work: by the graph, bare, and in a loop."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from graph_chains import Chain

    Request.reset_thread_pool(2)
    chain, results = Chain(name, 32, 16), []
    assert len(chain.blocks) == 8
    for way in (chain.loop, chain.bare, chain.graph):
        chain.out[...] = 0
        way()
        results.append(chain.out.copy())
    Request.reset_thread_pool()
    assert results[0].any()
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
