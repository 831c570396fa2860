"""A chain of five filters by blockflow, fused or with every step stored: INPUT FOLDER fused|stored

What is read and written of chunks is counted where the workers open the files (see `count/sitecustomize.py`).
"""

import itertools
import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

from runs_common import WORKERS

from blockflow.execution.graph_runs import run
from blockflow.operators import OpGaussianSmoothing, OpGreyClosing, OpGreyOpening, OpThreshold
from blockflow.storage import open_array

COUNT = Path(__file__).parent / "count"


def chain(source):
    """Smooth, open, close, smooth, threshold."""
    steps = [OpGaussianSmoothing(), OpGreyOpening(), OpGreyClosing(), OpGaussianSmoothing(), OpThreshold()]
    steps[0].Input.setValue(source)
    for before, after in itertools.pairwise(steps):
        after.Input.connect(before.Output)
    steps[0].sigma.setValue(1.0)
    steps[3].sigma.setValue(2.0)
    steps[4].threshold.setValue(128)
    return [step.Output for step in steps]


def counted(log):
    """How often chunks were opened, and their bytes, by array and mode."""
    opened = Counter()
    for line in log.read_text().splitlines():
        mode, array, size = line.split("\t")
        opened[array, mode, "times"] += 1
        opened[array, mode, "bytes"] += int(size)
    return opened


def size_of(array):
    """Bytes of all chunks."""
    return sum(file.stat().st_size for file in Path(array, "c").rglob("*") if file.is_file())


if __name__ == "__main__":
    outputs = chain(open_array(sys.argv[1]))
    place = Path(sys.argv[2])
    wanted = {outputs[-1]: place / "result.zarr"}
    if sys.argv[3] == "stored":
        wanted |= {slot: place / f"step{number}.zarr" for number, slot in enumerate(outputs[:-1])}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "opened"
        os.environ["BENCHMARK_OPENED"] = str(log)
        os.environ["PYTHONPATH"] = str(COUNT)
        assert run(wanted, num_workers=WORKERS, run_dir=Path(folder) / "run")
        plan = json.loads((Path(folder) / "run" / "plan.json").read_text())
        opened = counted(log)
    source = Path(sys.argv[1]).name
    chunks = 8**3
    others = {array for array, _, _ in opened} - {source, "result.zarr"}
    steps = {mode: sum(opened[array, mode, "times"] for array in others) for mode in "rw"}
    figures = {
        "tasks": len(plan["tasks"]),
        "block shape": "x".join(map(str, plan["tasks"][-1]["block_shape"])),
        "read amplification of the plan": plan["tasks"][-1]["read_amplification"] if not others else "",
        "bytes read / all bytes of the input": round(opened[source, "r", "bytes"] / size_of(sys.argv[1]), 2),
        "input chunks read": f"{opened[source, 'r', 'times'] / chunks:.2f} x {chunks}",
        "steps' chunks written, read": f"{steps['w'] / chunks:.2f}, {steps['r'] / chunks:.2f} x {chunks}",
        "output chunks written": f"{opened['result.zarr', 'w', 'times'] / chunks:.2f} x {chunks}",
        "worker projected MiB": round(max(task["memory"] for task in plan["tasks"]) / 2**20)
        + round(plan["baseline"] / 2**20),
    }
    if "BENCHMARK_FIGURES" in os.environ:
        Path(os.environ["BENCHMARK_FIGURES"]).write_text(json.dumps(figures))
