"""Warm reads of a cache of 64 blocks, by blockflow or by a dict of blocks with a lock; for bench_cache.py.

python benchmarks/cache_reads.py dict | blockflow
"""

import json
import os
import statistics
import sys
import threading
import time
from collections import OrderedDict
from itertools import product
from pathlib import Path

import numpy as np

BLOCK, EDGE = 64, 256


class DictOfBlocks:
    """The least that a cache of blocks does: find, note the use, copy."""

    def __init__(self, volume):
        self.lock = threading.Lock()
        self.blocks = OrderedDict(
            (key, volume[tuple(slice(i * BLOCK, (i + 1) * BLOCK) for i in key)].copy())
            for key in product(range(EDGE // BLOCK), repeat=3)
        )

    def read(self, start, stop):
        result = np.empty([b - a for a, b in zip(start, stop, strict=True)], np.uint8)
        for key in product(*(range(a // BLOCK, -(-b // BLOCK)) for a, b in zip(start, stop, strict=True))):
            with self.lock:
                block = self.blocks[key]
                self.blocks.move_to_end(key)
            inner, outer = [], []
            for i, a, b in zip(key, start, stop, strict=True):
                low, high = max(a, i * BLOCK), min(b, (i + 1) * BLOCK)
                inner.append(slice(low - i * BLOCK, high - i * BLOCK))
                outer.append(slice(low - a, high - a))
            result[tuple(outer)] = block[tuple(inner)]
        return result


def reader(kind, volume):
    if kind == "dict":
        return DictOfBlocks(volume).read
    from blockflow.operators import OpBlockedArrayCache

    cache = OpBlockedArrayCache()
    cache.BlockShape.setValue((BLOCK,) * 3)
    cache.Input.setValue(volume)
    cache.Output[:].wait()
    return lambda start, stop: cache.Output(start, stop).wait()


def microseconds(read, regions):
    """The median of three rounds, per read."""
    rounds = []
    for _ in range(3):
        begin = time.perf_counter()
        for start, stop in regions:
            read(start, stop)
        rounds.append((time.perf_counter() - begin) / len(regions) * 1e6)
    return statistics.median(rounds)


def main():
    random = np.random.default_rng(0)
    volume = random.integers(0, 256, (EDGE,) * 3, np.uint8)
    read = reader(sys.argv[1], volume)
    inside = [BLOCK * random.integers(0, 4, 3) + random.integers(0, BLOCK - 8, 3) for _ in range(4000)]
    across = [BLOCK * random.integers(1, 4, 3) - 4 for _ in range(2000)]
    regions = {"8^3 us": inside, "8^3 over 8 blocks us": across}
    figures = {
        name: microseconds(read, [(start.tolist(), (start + 8).tolist()) for start in starts])
        for name, starts in regions.items()
    }
    figures["256^3 ms"] = microseconds(read, [([0, 0, 0], [EDGE] * 3)] * 10) / 1000
    assert np.array_equal(read([0, 0, 0], [EDGE] * 3), volume)
    Path(os.environ["BENCHMARK_FIGURES"]).write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
