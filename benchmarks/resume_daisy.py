"""A million blocks, all but one of which are done already: how long plain Daisy takes.

`bench_resume.py` makes the folder, which is the first argument, and the marks.
"""

import json
import os
import resource
import sys
from pathlib import Path

import daisy.logging
import daisy.v2
from funlib.geometry import Roi

SIDE = 100


def nothing(_block):
    pass


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    daisy.logging.set_log_basedir(str(folder / "logs"))
    total, block = Roi((0,) * 3, (SIDE,) * 3), Roi((0,) * 3, (1,) * 3)
    task = daisy.v2.Task(
        "nothing",
        total,
        block,
        block,
        process_function=nothing,
        read_write_conflict=False,
        max_workers=1,
        tracking_path=str(folder / "tracking"),
    )
    assert daisy.v2.run_blockwise(task, progress=False, summary=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if "BENCHMARK_FIGURES" in os.environ:
        Path(os.environ["BENCHMARK_FIGURES"]).write_text(json.dumps({"driver peak MiB": round(peak, 1)}))
