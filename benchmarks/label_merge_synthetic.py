"""Merge LABELS labels by EDGES pairs; says how long it took, what it held at most, and that nothing was lost.

python benchmarks/label_merge_synthetic.py LABELS EDGES
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np

from blockflow.labels import merge

if __name__ == "__main__":
    labels, edges = map(int, sys.argv[1:])
    generator = np.random.default_rng(0)
    groups = labels // 5
    group_of = generator.integers(0, groups, labels)  # what is to come out
    by_group = np.argsort(group_of, kind="stable")
    sizes = np.bincount(group_of, minlength=groups)
    begins = np.cumsum(sizes) - sizes
    chain = by_group[:-1][group_of[by_group[:-1]] == group_of[by_group[1:]]]
    after = by_group[1:][group_of[by_group[:-1]] == group_of[by_group[1:]]]
    one = generator.integers(0, labels, edges - len(chain))
    mates = begins[group_of[one]] + generator.integers(0, 2**31, len(one)) % sizes[group_of[one]]
    earlier, later = np.concatenate([chain, one]), np.concatenate([after, by_group[mates]])
    del one, mates, chain, after, by_group, begins
    first = generator.permutation(labels).astype(np.int64)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    table = merge(first, earlier, later)
    seconds = time.perf_counter() - begin
    lowest = np.full(groups, labels)
    np.minimum.at(lowest, group_of, first)
    ranks = np.empty(groups, np.int64)
    ranks[np.argsort(lowest)] = np.arange(1, groups + 1)
    assert np.array_equal(table, ranks[group_of]), "labels are not what they should be"
    figures = {
        "merge s": round(seconds, 2),
        "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "MiB before": held // 1024,
        "groups": int(table.max()),
    }
    place = os.environ.get("BENCHMARK_FIGURES")
    if place:
        Path(place).write_text(json.dumps(figures))
    print(figures)
