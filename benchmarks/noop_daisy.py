"""N blocks that do nothing, by plain Daisy with its tracking on."""

import json
import os
import resource
import sys
import tempfile
from pathlib import Path

import daisy.logging
import daisy.v2
from funlib.geometry import Roi


def nothing(_block):
    pass


if __name__ == "__main__":
    blocks = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        daisy.logging.set_log_basedir(f"{folder}/logs")
        task = daisy.v2.Task(
            "nothing",
            Roi((0,), (blocks,)),
            Roi((0,), (1,)),
            Roi((0,), (1,)),
            process_function=nothing,
            read_write_conflict=False,
            max_workers=2,
            tracking_path=f"{folder}/tracking",
        )
        done = daisy.v2.run_blockwise(task, progress=False, summary=False)
    assert done
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if "BENCHMARK_FIGURES" in os.environ:
        Path(os.environ["BENCHMARK_FIGURES"]).write_text(json.dumps({"driver peak MiB": round(peak, 1)}))
