"""Segmentations whose processes are killed, anywhere: after a resume they are as if nothing had happened."""

import signal
import subprocess
import sys
from pathlib import Path

import cc3d
import numpy as np
import pytest
import zarr

_SCRIPT = '''
import json, os, signal, sys
from dataclasses import replace
from pathlib import Path
from blockflow.compute import create_compute_context
from blockflow.execution.driver import run_prepared
from blockflow.segment import Segmentation, segmentation_tasks
from blockflow.storage import open_array
from blockflow.tasks import find_worker_file, prepare
from funlib.geometry import Roi

class Killing:
    """Does a block as `inner` does, twice; where a file says so, a process dies before, between, or after."""

    def __init__(self, inner, task):
        self.inner, self.task = inner, task

    def recipe_code(self):
        return self.inner.recipe_code()

    def die(self, when):
        for victim in ("worker", "driver"):
            order = Path(f"kill-{victim}-{self.task}-{when}")
            try:
                order.unlink()
            except FileNotFoundError:
                continue
            pid = os.getpid() if victim == "worker" else json.loads(Path("run/run.json").read_text())["pid"]
            os.kill(pid, signal.SIGKILL)

    def __call__(self, block):
        for when in ("before", "between"):
            self.die(when)
            self.inner(block)
        self.die("after")

def main():
    here = Path.cwd()
    block = Roi((0, 0, 0), (12, 9, 12))
    tasks = segmentation_tasks(Segmentation(
        "s", find_worker_file("connected_components"), str(here / "image.zarr"), str(here / "out.zarr"), here / "w",
        block, block, parameters={"connectivity": 6}, recompute=RECOMPUTE, num_workers=2, max_retries=4,
    ))
    changed = {}
    for task in tasks:
        name = task.name.rpartition("-")[2]
        changed[task.name] = replace(
            task,
            process_function=Killing(task.process_function, name),
            upstream=tuple(changed[before.name] for before in task.upstream),
        )
    outcome = run_prepared(
        prepare(changed.values()), Path("run"), name="s", compute=create_compute_context("local"), num_workers=2
    )
    print({name: [task.done, task.skipped] for name, task in outcome.tasks.items()}, flush=True)
    sys.exit(not outcome.complete)

if __name__ == "__main__":
    main()
'''


@pytest.fixture
def run(make, random_image):
    """Start the segmentation as a driver of its own; gives its exit status and what it says."""
    image = random_image(23, 18, 30)
    make(image, voxel_size=[1, 1, 1], offset=[0, 0, 0])

    def start(recompute):
        Path("script.py").write_text(_SCRIPT.replace("RECOMPUTE", str(recompute)))
        end = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, timeout=100)
        return end.returncode, end.stdout + end.stderr

    start.expected = cc3d.connected_components((image > 0).view("u1"), connectivity=6)
    return start


@pytest.mark.parametrize("recompute", [False, True], ids=["stored", "recomputed"])
def test_workers_killed_in_each_task_change_nothing(run, recompute):
    """A worker killed before, between or after its work, in each task, and blocks done twice: the same labels."""
    kills = "segment-before", "segment-between", "merge-between", "number-between", "number-after"
    orders = [Path(f"kill-worker-{kill}") for kill in kills]
    for order in orders:
        order.touch()
    status, said = run(recompute)
    assert status == 0, said
    assert not any(order.exists() for order in orders)
    np.testing.assert_array_equal(zarr.open_array("out.zarr", mode="r")[...], run.expected)


def test_drivers_killed_in_and_between_tasks_change_nothing(run):
    """The driver killed inside tasks and between them, and resumed each time: the same labels, little done twice."""
    killed = 0
    for order in ("segment-between", "merge-after", "number-between"):
        Path(f"kill-driver-{order}").touch()
        status, _ = run(False)
        killed += status == -signal.SIGKILL
        assert not Path(f"kill-driver-{order}").exists()
    status, said = run(False)
    assert (killed, status) == (3, 0), said
    assert "'s-segment': [0, 12]" in said
    np.testing.assert_array_equal(zarr.open_array("out.zarr", mode="r")[...], run.expected)
