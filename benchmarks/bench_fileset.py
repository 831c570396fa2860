"""Writing and reading a fileset of blocks, against plain h5py that makes and reads the same files.

python benchmarks/bench_fileset.py [RUNS]        writes benchmarks/fileset.md
"""

import statistics
import sys
from pathlib import Path

from harness import compare, write_report

FOLDER = Path(__file__).parent

if __name__ == "__main__":
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    program = [sys.executable, str(FOLDER / "fileset_io.py")]
    commands = {"h5py": [*program, "h5py"], "BlockwiseFileset": [*program, "blockflow"]}
    comparison = compare("256^3 voxels of uint8 in 64 blocks", commands, runs)
    pairs = list(zip(comparison.runs["BlockwiseFileset"], comparison.runs["h5py"], strict=True))
    ratios = {
        what: statistics.median(
            one.figures[f"{what} ms"] / other.figures[f"{what} ms"] for one, other in pairs
        )
        for what in ("write", "read")
    }
    write_report(
        FOLDER / "fileset.md",
        "Filesets of blocks",
        [
            (
                "Both make the same tree: for each block a folder, an HDF5 file with its attributes, a copy of the "
                "description, and a status. The fileset locks each block besides, writes it aside and renames it, and "
                "looks twice at each file that it reads. The whole process includes the start of Python."
            ),
            comparison,
            (
                f"BlockwiseFileset / h5py, pair by pair, median: write **{ratios['write']:.2f}**, read "
                f"**{ratios['read']:.2f}**. Bound for both: 1.1."
            ),
        ],
    )
