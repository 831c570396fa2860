"""N blocks that do nothing, by blockflow: tracking, records and events on."""

import json
import os
import resource
import sys
import tempfile
from pathlib import Path

from funlib.geometry import Roi

import blockflow


def nothing(_block):
    pass


if __name__ == "__main__":
    blocks = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        done = blockflow.run_blockwise(
            None,
            Roi((0,), (blocks,)),
            Roi((0,), (1,)),
            Roi((0,), (1,)),
            num_workers=2,
            process_function=nothing,
            read_write_conflict=False,
            run_dir=Path(folder) / "run",
        )
    assert done
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if "BENCHMARK_FIGURES" in os.environ:
        Path(os.environ["BENCHMARK_FIGURES"]).write_text(json.dumps({"driver peak MiB": round(peak, 1)}))
