"""Block results as outputs of a task: created, committed, resumed and grown like arrays."""

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import zarr
from funlib.geometry import Roi
from traces import assignment

from blockflow.compute import create_compute_context
from blockflow.errors import TaskError
from blockflow.execution.driver import run_prepared
from blockflow.execution.journal import Mark
from blockflow.storage import ResultsSpec, open_array, open_results
from blockflow.tasks import BlockwiseTask, prepare


def sum_block(block):
    """Leaves the sum of a block's voxels; kills its worker, with the result half done, where a file says so."""
    results = open_results("sums")
    index = results.index_of(block.write_roi.offset)
    if index == 1 and Path("kill").exists():
        Path("kill").unlink()
        (Path("sums") / ".9.npz.partial").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    for _twin in range(2):
        results.write(index, sum=open_array("a")[block.write_roi].sum())


def add_up(_block):
    open_results("total").write(0, total=sum(int(arrays["sum"]) for _, arrays in open_results("sums")))


def _tasks(size, step):
    whole, block = Roi((0,), (size,)), Roi((0,), (step,))
    first = BlockwiseTask(
        "sums", whole, block, block, process_function=sum_block, fit="shrink", num_workers=2,
        outputs={"results": ResultsSpec("sums")},
    )  # fmt: skip
    return BlockwiseTask(
        "total", whole, whole, whole, process_function=add_up, upstream=(first,), inputs={"sums": "sums"},
        outputs={"results": ResultsSpec("total")},
    )  # fmt: skip


def run(size, context="serial", step=8):
    """How many blocks were done, by task; what came out is checked."""
    data = np.random.default_rng(0).integers(0, 99, 50, np.int64)[:size]
    shutil.rmtree("a", ignore_errors=True)
    zarr.create_array("a", data=data, chunks=(4,))
    outcome = run_prepared(
        prepare([_tasks(size, step)]), Path("run"), name="r", compute=create_compute_context(context)
    )
    assert outcome.complete
    assert int(open_results("total").read(0)["total"]) == data.sum()
    return {name: task.done for name, task in outcome.tasks.items()}


@pytest.mark.parametrize("context", ["serial", "local"])
def test_a_later_task_reads_what_all_blocks_left(context):
    """A task over what the blocks of another left gives the whole's sum; when it is done, no block is done again."""
    assert run(37, context) == {"sums": 5, "total": 1}
    assert run(37, context) == {"sums": 0, "total": 0}
    journal = Path(assignment("run", "sums").journal).read_bytes()
    assert set(journal) == {Mark.COMMITTED}


def test_a_killed_worker_changes_nothing():
    """A worker killed in the middle of a result, and blocks that write theirs twice, leave the right sum."""
    Path("kill").touch()
    assert run(40, "local") == {"sums": 5, "total": 1}
    assert not Path("kill").exists()


def test_a_grown_volume_does_the_new_part_and_its_border():
    """On a grown volume the whole blocks keep their results, and the one that was cut and the new ones are done."""
    assert run(37) == {"sums": 5, "total": 1}
    assert run(50) == {"sums": 3, "total": 1}
    assert run(50, step=16) == {"sums": 4, "total": 1}


@pytest.mark.parametrize("context", ["serial", "local"])
def test_results_that_vanished_are_done_again(context):
    """Without its folder, no block of the task counts as done; nor does what was made of it."""
    run(24, context)
    shutil.rmtree("sums")
    assert run(24, context) == {"sums": 3, "total": 1}
    shutil.rmtree("total")
    assert run(24, context) == {"sums": 0, "total": 1}


def test_results_must_be_described():
    """The path of block results alone is no output, since it does not say of which blocks they are."""
    run(24)
    task = _tasks(24, 8)
    with pytest.raises(
        TaskError, match=r"task sums: output 'results' .*is a folder of block results: give a ResultsSpec"
    ):
        prepare([BlockwiseTask(
            "sums", task.total_roi, task.read_roi, task.write_roi, process_function=sum_block,
            outputs={"results": "sums"},
        )])  # fmt: skip
