"""Gaussian and threshold by blockflow, which finds the block shape by itself. INPUT OUTPUT"""

import json
import os
import sys
import tempfile
from pathlib import Path

from runs_common import SIGMA, THRESHOLD, TRUNCATE, WORKERS

from blockflow.execution.graph_runs import run
from blockflow.operators import OpGaussianSmoothing, OpThreshold
from blockflow.storage import open_array


def mask_slot(path):
    """Gaussian and threshold, as operators."""
    smooth = OpGaussianSmoothing()
    smooth.Input.setValue(open_array(path))
    smooth.sigma.setValue(SIGMA)
    smooth.truncate.setValue(TRUNCATE)
    mask = OpThreshold()
    mask.Input.connect(smooth.Output)
    mask.threshold.setValue(THRESHOLD)
    return mask.Output


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        assert run(mask_slot(sys.argv[1]), sys.argv[2], num_workers=WORKERS, run_dir=Path(folder) / "run")
        plan = json.loads((Path(folder) / "run" / "plan.json").read_text())
    if "BENCHMARK_FIGURES" in os.environ:
        shape = "x".join(map(str, plan["tasks"][0]["block_shape"]))
        Path(os.environ["BENCHMARK_FIGURES"]).write_text(json.dumps({"block shape": shape}))
