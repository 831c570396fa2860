"""Connected components block by block: blockflow, two workers, blocks of 128^3.

python benchmarks/components_blockflow.py FOLDER stored|recomputed
"""

import json
import os
import resource
import sys
from pathlib import Path

from funlib.geometry import Roi

import blockflow
from blockflow.storage import open_array

if __name__ == "__main__":
    folder, way = Path(sys.argv[1]), sys.argv[2]
    os.chdir(folder)
    block = Roi((0, 0, 0), (128, 128, 128))
    assert blockflow.segment_blockwise(
        "connected_components",
        (0, 0, 0),
        open_array("raw.zarr").roi,
        block,
        block,
        2,
        input="raw.zarr",
        output=f"{way}.zarr",
        run_dir=f"run-{way}",
        dtype="uint32",
        parameters={"threshold": 128, "connectivity": 6},
        recompute=way == "recomputed",
    )
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    place = os.environ.get("BENCHMARK_FIGURES")
    if place:
        Path(place).write_text(json.dumps({"largest worker MiB": children // 1024}))
