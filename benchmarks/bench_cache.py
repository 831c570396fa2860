"""Warm reads of `OpBlockedArrayCache`, against a dict of blocks.

python benchmarks/bench_cache.py [RUNS]        writes benchmarks/cache.md
"""

import sys
from pathlib import Path

from harness import compare, write_report

FOLDER = Path(__file__).parent

if __name__ == "__main__":
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    program = [sys.executable, str(FOLDER / "cache_reads.py")]
    commands = {"dict of blocks": [*program, "dict"], "OpBlockedArrayCache": [*program, "blockflow"]}
    write_report(
        FOLDER / "cache.md",
        "Warm reads of a cache",
        [
            (
                "A volume of 256^3 voxels of uint8 in 64 blocks, all of them in memory. What is measured is a request "
                "of a slot, from the slicing to the copied data: 8^3 voxels within one block, 8^3 across the corner "
                "of eight, and all of it. The dict of blocks does the least that a cache can: find, note the use, copy."
            ),
            compare("warm reads", commands, runs),
            "Bound for 8^3 within a block: 100 us. The dict copies a large region in one thread, the cache too.",
        ],
    )
