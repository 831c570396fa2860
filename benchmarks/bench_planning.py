"""Planning ten million blocks: a whole process of `blockflow plan`.

python benchmarks/bench_planning.py [RUNS]        writes benchmarks/planning.md
"""

import sys
import tempfile
from pathlib import Path

from harness import compare, write_report
from planning_many import EDGE, make
from runs_shapes import table

FOLDER = Path(__file__).parent

CONSTANTS = """## The constants of `planning/block_shape.py`

Processor time of all blocks of 512^3 voxels in one process, Gaussian (sigma 2) and threshold, and what the model tells
for one worker. It need only rank the shapes as the measurement does.

"""

if __name__ == "__main__":
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        make(folder)
        program = [sys.executable, str(FOLDER / "planning_many.py"), folder]
        many = compare(
            f"{EDGE**3:,} chunks",
            {"one block per chunk": [*program, "chunk"], "the planner's choice": [*program, "auto"]},
            runs,
        )
        shapes = table(Path(folder))
    write_report(
        FOLDER / "planning.md",
        "Planning",
        [
            "Gaussian and threshold, from the start of the process to the plan as JSON. Bound: 2 s and 300 MB.",
            many,
            CONSTANTS + shapes,
        ],
    )
