"""A million blocks, all but one of which are done already: how long blockflow takes to see that and do the one.

`bench_resume.py` makes the run directory, which is the first argument, and the marks.
"""

import json
import os
import resource
import sys
from pathlib import Path

from funlib.geometry import Roi

import blockflow

SIDE = 100


def nothing(_block):
    pass


if __name__ == "__main__":
    total, block = Roi((0,) * 3, (SIDE,) * 3), Roi((0,) * 3, (1,) * 3)
    assert blockflow.run_blockwise(
        None, total, block, block, 1, process_function=nothing, read_write_conflict=False, run_dir=sys.argv[1]
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if "BENCHMARK_FIGURES" in os.environ:
        Path(os.environ["BENCHMARK_FIGURES"]).write_text(json.dumps({"driver peak MiB": round(peak, 1)}))
