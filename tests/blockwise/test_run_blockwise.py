"""`run_blockwise` from Python: every name of its interface, in real runs."""

import inspect
import json
import os
import time
import warnings
from pathlib import Path

import daisy
import numpy as np
import pytest
import zarr
from funlib.geometry import Roi
from traces import assignment, events, records

import blockflow
from blockflow.errors import TaskError, WorkerFileError
from blockflow.execution.engine import daisy_timeout


def note(text):
    """Append a line to `notes` in the working directory, whoever does it."""
    file = os.open("notes", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(file, f"{text}\n".encode())
    os.close(file)


def notes():
    return Path("notes").read_text().split() if Path("notes").exists() else []


def number(block):
    return block.write_roi.offset[0]


def test_signatures_are_those_of_dacapo():
    """Names, order and defaults of both functions are the documented ones."""
    run = inspect.signature(blockflow.run_blockwise)
    task = inspect.signature(blockflow.DaCapoBlockwiseTask)
    names = ["worker_file", "total_roi", "read_roi", "write_roi", "num_workers", "max_retries", "timeout"]
    names += ["upstream_tasks", "args", "kwargs"]
    assert list(run.parameters) == list(task.parameters) == names
    assert run.parameters["num_workers"].default == task.parameters["num_workers"].default == 16
    assert run.parameters["max_retries"].default == 1
    assert task.parameters["max_retries"].default == 2
    for signature in (run, task):
        assert signature.parameters["timeout"].default is None
        assert signature.parameters["upstream_tasks"].default is None


@pytest.mark.parametrize("context", ["local", "serial"])
@pytest.mark.parametrize("fit", ["shrink", "overhang", "valid"])
def test_blockwise_threshold_equals_the_whole(volume, voxels, context, fit):
    """Every voxel that the fit covers equals the whole-volume result, in every context."""
    path, data = volume
    done = blockflow.run_blockwise(
        "threshold", None, voxels((16, 16, 8)), voxels((16, 16, 8)), 2,
        input=path, output="out.zarr", threshold=4, fit=fit, compute_context=context, run_dir="run",
    )  # fmt: skip
    assert done is True
    covered = tuple(
        slice(0, size // step * step if fit == "valid" else size)
        for size, step in zip(data.shape, (16, 16, 8))
    )
    expected = np.zeros(data.shape, np.uint8)
    expected[covered] = data[covered] > 4
    np.testing.assert_array_equal(zarr.open("out.zarr")[:], expected)


def test_bad_blocks_and_a_hanging_one_never_stop_the_rest(line):
    """10 % of blocks raise and one hangs: all others are done, records name causes, no healthy worker dies."""

    def work(block):
        if number(block) % 10 == 3:
            raise ValueError(f"block {number(block)} is bad")
        if number(block) == 50:
            time.sleep(1000)
        note(number(block))

    done = blockflow.run_blockwise(
        None, *line(100), 4, 1, 1.0, process_function=work, read_write_conflict=False, run_dir="run"
    )
    assert done is False
    bad = {*range(3, 100, 10), 50}
    assert sorted(map(int, notes())) == [n for n in range(100) if n not in bad]
    found = {block: [r for r in records("run") if r.block == block] for block in bad}
    assert {block: [r.attempt for r in rs] for block, rs in found.items()} == {block: [1, 2] for block in bad}
    assert {r.cause for r in found[50]} == {"timeout"}
    assert all(r.cause == "exception" and "is bad" in r.message for b in bad - {50} for r in found[b])
    assert "raise ValueError" in found[13][0].traceback
    assert found[13][1].final
    assert not found[13][0].final
    assert found[13][0].write_roi == [[13], [1]]
    ends = [event["why"] for event in events("run", "work-supervisor") if event["event"] == "worker ended"]
    assert ends.count("timeout") == 2
    assert set(ends) == {"timeout", "finished"}


def test_a_rerun_does_only_what_is_not_done(line):
    """Blocks that are done are skipped, those that failed get a new budget of attempts."""

    def work(block):
        if number(block) == 7 and not Path("mended").exists():
            raise OSError("not yet")
        note(number(block))

    arguments = dict(process_function=work, read_write_conflict=False, run_dir="run", num_workers=2)
    assert blockflow.run_blockwise(None, *line(12), **arguments) is False
    assert len(notes()) == 11
    Path("mended").touch()
    assert blockflow.run_blockwise(None, *line(12), **arguments) is True
    assert notes()[11:] == ["7"]
    assert blockflow.run_blockwise(None, *line(12), **arguments) is True
    assert len(notes()) == 12


def test_a_changed_parameter_never_skips(volume, voxels, capfd):
    """Another threshold on the same output does every block again, says what changed, and back again too."""
    path, data = volume
    for threshold, before in ((4, None), (6, "4 -> 6"), (4, "6 -> 4")):
        assert blockflow.run_blockwise(
            "threshold", None, voxels((16, 16, 16)), voxels((16, 16, 16)), 2,
            input=path, output="out.zarr", threshold=threshold, run_dir="run", compute_context="serial",
        )  # fmt: skip
        np.testing.assert_array_equal(zarr.open("out.zarr")[:], data > threshold)
        said = capfd.readouterr().err
        assert before is None or f"arguments.threshold: {before}" in said


def test_a_lost_output_is_made_again(volume, voxels, capfd):
    """An output that vanished is not done, whatever the marks say."""
    import shutil

    path, data = volume
    arguments = dict(input=path, output="out.zarr", threshold=4, run_dir="run", compute_context="serial")
    assert blockflow.run_blockwise("threshold", None, voxels((16, 16, 16)), voxels((16, 16, 16)), **arguments)
    shutil.rmtree("out.zarr")
    assert blockflow.run_blockwise("threshold", None, voxels((16, 16, 16)), voxels((16, 16, 16)), **arguments)
    np.testing.assert_array_equal(zarr.open("out.zarr")[:], data > 4)
    assert "is new, or another run has written it since" in capfd.readouterr().err


def test_a_worker_that_is_killed_is_replaced(line):
    """A worker that dies with its block costs that block one attempt, and the record says `killed`."""

    def work(block):
        if number(block) == 5 and not Path("died").exists():
            Path("died").touch()
            os.kill(os.getpid(), 9)
        note(number(block))

    assert blockflow.run_blockwise(
        None, *line(20), 2, process_function=work, read_write_conflict=False, run_dir="run"
    )
    assert sorted(map(int, notes())) == list(range(20))
    (record,) = records("run")
    assert (record.block, record.attempt, record.cause, record.final) == (5, 1, "killed", False)
    assert "SIGKILL" in record.message


def test_one_check_function_is_asked_before_and_after(line):
    """What it says is completed is skipped; what it says is not completed after the run has failed."""

    def check(block):
        return Path(f"done-{number(block)}").exists()

    def work(block):
        note(number(block))
        if number(block) != 3:
            Path(f"done-{number(block)}").touch()

    Path("done-1").touch()
    done = blockflow.run_blockwise(
        None,
        *line(5),
        2,
        process_function=work,
        check_function=check,
        read_write_conflict=False,
        run_dir="run",
    )
    assert done is False
    assert sorted(notes()) == ["0", "2", "3", "3", "4"]
    assert [(r.block, r.cause) for r in records("run")] == [(3, "check_failed")] * 2
    assert json.loads(Path("run/run.json").read_text())["results"]["work"] == {
        "blocks": 5, "done": 3, "skipped": 1, "failed": 1, "orphaned": 0, "left": 0, "stopped": None,
    }  # fmt: skip


def test_a_pair_of_check_functions(line):
    """The first of a pair is asked before a block, the second after; they may take the worker's arguments."""
    Path("w.py").write_text(
        "import blockflow\n"
        "def before(block, skip): return block.write_roi.offset[0] == skip\n"
        "def after(block): return block.write_roi.offset[0] != 2\n"
        "check_function = (before, after)\n"
        "def spawn_worker(skip):\n"
        "    def loop():\n"
        "        for block in blockflow.blocks(): print('did', block.write_roi.offset[0], flush=True)\n"
        "    return loop\n"
    )
    assert blockflow.run_blockwise("w.py", *line(4), 1, skip=1, run_dir="run") is False
    logs = "".join(path.read_text() for path in Path("run/tasks/w/logs").iterdir())
    assert sorted(logs.split()) == sorted(["did", "0", "did", "2", "did", "2", "did", "3"])
    assert {r.block for r in records("run")} == {2}


def test_init_callback_is_called_once_with_the_context(line):
    """`init_callback_fn` gets Daisy's context as text, once, before any block."""

    def init(context):
        note("init:" + ("port" if "port=" in context and "hostname=" in context else "?"))

    assert blockflow.run_blockwise(
        None, *line(6), 2, process_function=lambda block: note(number(block)), init_callback_fn=init,
        read_write_conflict=False, run_dir="run",
    )  # fmt: skip
    assert notes()[0] == "init:port"
    assert len([text for text in notes() if text.startswith("init")]) == 1


def test_a_failing_init_callback_ends_the_task_with_its_traceback(line, capfd):
    """A task whose start fails does no block, and the outcome says why."""

    def init(context):
        raise KeyError("no database")

    done = blockflow.run_blockwise(
        None,
        *line(6),
        2,
        process_function=lambda block: note(number(block)),
        init_callback_fn=init,
        run_dir="run",
    )
    assert done is False
    assert notes() == []
    assert "no database" in json.loads(Path("run/run.json").read_text())["results"]["lambda"]["stopped"]


def test_conflicting_blocks_never_run_at_the_same_time():
    """With read_write_conflict, no block runs while another one writes what it reads."""

    def work(block):
        began = time.monotonic()
        time.sleep(0.03)
        note(f"{number(block)},{began},{time.monotonic()}")

    assert blockflow.run_blockwise(
        None, Roi((0,), (14,)), Roi((0,), (3,)), Roi((1,), (1,)), 4, process_function=work, run_dir="run"
    )
    spans = [tuple(map(float, text.split(","))) for text in notes()]
    assert len(spans) == 12
    for a, begin, end in spans:
        for b, other_begin, other_end in spans:
            assert not (0 < abs(a - b) <= 1 and begin < other_end and other_begin < end)


def test_the_process_function_may_loop_by_itself(line):
    """A function without arguments gets blocks from daisy.Client, which is ours in a worker."""

    def loop():
        client = daisy.Client()
        while True:
            with client.acquire_block() as block:
                if block is None:
                    break
                if number(block) == 2:
                    raise RuntimeError("bad")
                note(number(block))

    assert blockflow.run_blockwise(None, *line(6), 2, process_function=loop, run_dir="run") is False
    assert sorted(notes()) == ["0", "1", "3", "4", "5"]
    assert [(r.block, r.cause) for r in records("run")] == [(2, "exception")] * 2


@pytest.mark.parametrize("context", ["local", "serial"])
def test_an_exception_in_a_loop_over_blocks_costs_that_block_alone(line, context):
    """`for block in blockflow.blocks()` that raises is recorded with its traceback, and the loop begins again."""
    Path("w.py").write_text(
        "import blockflow\n"
        "def spawn_worker():\n"
        "    def loop():\n"
        "        for block in blockflow.blocks():\n"
        "            n = block.write_roi.offset[0]\n"
        "            if n == 2: raise RuntimeError('two is bad')\n"
        "            open(f'did-{n}', 'w').close()\n"
        "    return loop\n"
    )
    assert blockflow.run_blockwise("w.py", *line(5), 1, run_dir="run", compute_context=context) is False
    assert sorted(path.name for path in Path().glob("did-*")) == ["did-0", "did-1", "did-3", "did-4"]
    assert [(r.block, r.cause) for r in records("run")] == [(2, "exception")] * 2
    assert "two is bad" in records("run")[0].traceback


def test_leaving_the_loop_over_blocks_is_told(line):
    """A loop that breaks out in the middle of a block does not count it as done, and says what to change."""
    Path("w.py").write_text(
        "import blockflow\n"
        "def spawn_worker():\n"
        "    def loop():\n"
        "        for block in blockflow.blocks():\n"
        "            break\n"
        "    return loop\n"
    )
    assert blockflow.run_blockwise("w.py", *line(2), 1, 0, run_dir="run") is False
    assert all("do not break out" in record.message for record in records("run"))
    assert {record.block for record in records("run")} == {0, 1}


@pytest.mark.parametrize("context", ["local", "serial"])
def test_workers_that_cannot_start_end_the_task_soon(line, context, capfd):
    """A worker file whose workers fail before the first block ends the run with its traceback, not for ever."""
    Path("w.py").write_text(
        "def spawn_worker():\n    def loop():\n        raise ImportError('no such model')\n    return loop\n"
    )
    assert blockflow.run_blockwise("w.py", *line(5), 2, run_dir="run", compute_context=context) is False
    found = records("run")
    assert found
    assert all(record.block is None and "no such model" in record.traceback for record in found)


def test_a_worker_file_that_never_loops_is_told(line):
    """A worker function that returns without doing blocks is an error that says what it must do."""
    Path("w.py").write_text("def spawn_worker():\n    return lambda: None\n")
    assert blockflow.run_blockwise("w.py", *line(5), 1, run_dir="run") is False
    assert "must loop over" in records("run")[0].message


def test_upstream_blocks_stream(line):
    """A downstream block starts as soon as what it reads is written, long before the upstream task ends."""

    def first(block):
        deadline = time.monotonic() + 60
        while number(block) == 59 and "second-0" not in notes() and time.monotonic() < deadline:
            time.sleep(0.01)  # the last block waits for the first one downstream
        note(f"first-{number(block)}")

    def second(block):
        note(f"second-{number(block)}")

    total, read, write = line(60)
    upstream = blockflow.DaCapoBlockwiseTask(None, total, read, write, 1, process_function=first)
    assert blockflow.run_blockwise(
        None, total, read, write, 1, upstream_tasks=[upstream], process_function=second, run_dir="run"
    )
    order = notes()
    assert len(order) == 120
    assert all(order.index(f"first-{n}") < order.index(f"second-{n}") for n in range(60))
    assert order.index("second-0") < order.index("first-59")


def test_what_depends_on_a_failed_block_is_orphaned_and_the_rest_goes_on(line):
    """Only blocks that read what a failed block should have written stay undone."""

    def first(block):
        if number(block) == 4:
            raise ValueError("bad")

    total, read, write = line(10)
    upstream = blockflow.DaCapoBlockwiseTask(
        None, total, read, write, 2, process_function=first, name="first"
    )
    done = blockflow.run_blockwise(
        None, total, read, write, 2, upstream_tasks=[upstream], run_dir="run", name="second",
        process_function=lambda block: note(number(block)),
    )  # fmt: skip
    assert done is False
    assert sorted(map(int, notes())) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    results = json.loads(Path("run/run.json").read_text())["results"]
    assert results["second"]["orphaned"] == 1
    assert (results["first"]["failed"], results["first"]["done"]) == (1, 9)


def test_a_plain_daisy_task_may_be_upstream(line):
    """A daisy.Task with a block function runs upstream with blockflow's promises."""
    total, read, write = line(5)
    upstream = daisy.v2.Task("plain", total, read, write, process_function=lambda block: note("up"))
    assert blockflow.run_blockwise(
        None, total, read, write, 1, upstream_tasks=[upstream], run_dir="run", name="down",
        process_function=lambda block: note("down"),
    )  # fmt: skip
    assert (notes().count("up"), notes().count("down")) == (5, 5)


def test_a_dacapo_task_runs_under_plain_daisy(volume, voxels):
    """`DaCapoBlockwiseTask` is a real daisy.Task, and its worker file runs under daisy.run_blockwise."""
    from blockflow.storage import open_array, spec_like

    path, data = volume
    spec_like(open_array(path), "out.zarr", dtype="uint8").create()
    block = voxels((16, 16, 16))
    task = blockflow.DaCapoBlockwiseTask(
        "threshold",
        Roi((8, 0, 3), open_array(path).roi.shape),
        block,
        block,
        2,
        input=path,
        output="out.zarr",
        threshold=4,
    )
    assert isinstance(task, daisy.v2.Task)
    assert (task.max_workers, task.max_retries, task.fit, task.timeout_secs) == (2, 2, "shrink", float("inf"))
    assert daisy.v2.run_blockwise(task, progress=False, summary=False)
    np.testing.assert_array_equal(zarr.open("out.zarr")[:], data > 4)


def test_no_timeout_means_none_for_daisy_too():
    """Daisy's own default of 600 s never applies: None is infinity, and Daisy waits longer than the supervisor."""
    assert daisy_timeout(None) == float("inf")
    assert daisy_timeout(600.0) > 600.0


def test_the_serial_context_says_that_it_keeps_no_timeout(line, capfd):
    """In the serial context a timeout cannot be enforced, and the run says so."""
    assert blockflow.run_blockwise(
        None,
        *line(2),
        1,
        1,
        5.0,
        process_function=lambda block: None,
        compute_context="serial",
        run_dir="run",
    )
    assert "timeout 5 is not kept" in capfd.readouterr().err


def test_the_default_run_directory_does_not_depend_on_rois(volume, voxels):
    """Without run_dir the run goes on in one place for the same file, name and outputs, whatever the ROIs."""
    path, _ = volume
    arguments = dict(input=path, output="out.zarr", compute_context="serial")
    block = voxels((16, 16, 16))
    assert blockflow.run_blockwise("threshold", Roi((8, 0, 3), (64, 48, 48)), block, block, **arguments)
    assert blockflow.run_blockwise("threshold", None, block, block, **arguments)
    assert blockflow.run_blockwise("threshold", None, block, block, name="other", **arguments)
    assert len(list(Path("blockflow_runs").glob("threshold-*"))) == 2


def test_growing_the_total_roi_does_only_the_new_part(line):
    """Blocks at the same place with the same ROIs are done, whatever the total ROI was."""
    arguments = dict(
        process_function=lambda block: note(number(block)), read_write_conflict=False, run_dir="run"
    )
    for count in (6, 10, 4):
        assert blockflow.run_blockwise(None, *line(count), 1, **arguments)
    assert sorted(map(int, notes())) == list(range(10))


def test_bad_arguments_are_errors_before_anything_runs(line, volume, voxels):
    """What cannot work is refused with its cure, and leaves no run directory."""
    total, read, write = line(4)
    with pytest.raises(TaskError, match="zero blocks"):
        blockflow.run_blockwise(
            None, Roi((0,), (4,)), Roi((0,), (9,)), Roi((0,), (9,)), process_function=print, run_dir="r"
        )
    with pytest.raises(TaskError, match="valid are valid, overhang, shrink"):
        blockflow.run_blockwise(None, total, read, write, process_function=print, fit="tight", run_dir="r")
    with pytest.raises(WorkerFileError, match="no bundled one of this name"):
        blockflow.run_blockwise("nosuch", total, read, write, run_dir="r")
    with pytest.raises(WorkerFileError, match="does not take these arguments"):
        blockflow.run_blockwise("threshold", None, read, write, inptu="x", run_dir="r")
    with pytest.raises(TaskError, match="either a worker file or a process_function"):
        blockflow.run_blockwise(None, total, read, write, run_dir="r")
    path, _ = volume
    with pytest.raises(TaskError, match="nearest safe write ROI"):
        block = voxels((12, 8, 8))
        blockflow.run_blockwise("threshold", None, block, block, input=path, output="o.zarr", run_dir="r")
    assert not Path("r").exists()
    assert not Path("o.zarr").exists()


def test_workers_told_nothing_of_slots_when_a_task_runs_alone(line):
    """A single task takes no locks per block."""
    assert blockflow.run_blockwise(
        None, *line(2), 1, process_function=lambda block: None, run_dir="run", name="one"
    )
    assert assignment("run", "one").slots == []


def test_nothing_warns(line):
    """A normal run raises no Python warning in the driver."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert blockflow.run_blockwise(None, *line(2), 1, process_function=lambda block: None, run_dir="run")


def test_two_runs_that_write_one_output_know_of_each_other(volume, voxels):
    """Whichever run directory wrote last, a run never takes the other's voxels for its own."""
    path, data = volume
    block = voxels((16, 16, 16))
    for threshold, run_dir in ((4, "one"), (6, "two"), (4, "one"), (6, "two")):
        assert blockflow.run_blockwise(
            "threshold", None, block, block, 1, input=path, output="out.zarr", threshold=threshold, run_dir=run_dir,
            compute_context="serial",
        )  # fmt: skip
        np.testing.assert_array_equal(zarr.open("out.zarr")[:], data > threshold)


def test_unknown_outputs_are_never_taken_for_done_after_other_arguments(line):
    """A worker file that does not tell its outputs is run again when other arguments came between."""
    Path("w.py").write_text(
        "import blockflow\n"
        "def spawn_worker(value):\n"
        "    def loop():\n"
        "        for block in blockflow.blocks():\n"
        "            with open(f'out-{block.write_roi.offset[0]}', 'w') as file: file.write(str(value))\n"
        "    return loop\n"
    )
    for value in (1, 2, 1):
        assert blockflow.run_blockwise("w.py", *line(3), 1, value=value, compute_context="serial")
        assert [Path(f"out-{n}").read_text() for n in range(3)] == [str(value)] * 3
    Path("out-0").unlink()
    assert blockflow.run_blockwise("w.py", *line(3), 1, value=1, compute_context="serial")
    assert not Path("out-0").exists()  # done by the same recipe: not touched


@pytest.mark.parametrize(
    "command",
    [
        "[sys.executable, __file__, 'start-worker']",
        "[sys.executable, '-u', __file__, 'start-worker']",
        "[sys.executable, '-m', 'w', 'start-worker']",
    ],
)
def test_a_python_command_runs_under_our_client(line, command, monkeypatch):
    """However this Python is called, a block that raises is recorded and its worker lives on; neighbours import."""
    Path("beside.py").write_text("BAD = 2\n")
    Path("w.py").write_text(
        "import sys, click, daisy\n"
        "from beside import BAD\n"
        "from blockflow.compute import create_compute_context\n"
        "def spawn_worker():\n"
        f"    return lambda: create_compute_context().execute({command})\n"
        "@click.group()\n"
        "def cli(): pass\n"
        "@cli.command()\n"
        "def start_worker():\n"
        "    client = daisy.Client()\n"
        "    while True:\n"
        "        with client.acquire_block() as block:\n"
        "            if block is None: break\n"
        "            if block.write_roi.offset[0] == BAD: raise ValueError('bad')\n"
        "if __name__ == '__main__': cli()\n"
    )
    assert blockflow.run_blockwise("w.py", *line(6), 1, 0, run_dir="run") is False
    assert [(r.block, r.cause) for r in records("run")] == [(2, "exception")]
    assert json.loads(Path("run/run.json").read_text())["results"]["w"]["done"] == 5


def test_a_foreign_command_runs_under_daisys_own_client(line):
    """A command that is another program may be the worker too; when all goes well nothing is recorded as failed."""
    Path("loop.py").write_text(
        "import daisy\n"
        "client = daisy.Client()\n"
        "while True:\n"
        "    with client.acquire_block() as block:\n"
        "        if block is None: break\n"
        "        open(f'did-{block.write_roi.offset[0]}', 'w').close()\n"
    )
    Path("w.py").write_text(
        "import sys\n"
        "from blockflow.compute import current\n"
        "def spawn_worker():\n"
        "    return lambda: current().execute(['sh', '-c', f'{sys.executable} loop.py'])\n"
    )
    assert blockflow.run_blockwise("w.py", *line(5), 2, run_dir="run") is True
    assert len(list(Path().glob("did-*"))) == 5
    assert records("run") == []


def test_a_file_written_for_dacapo_runs_after_its_imports_are_replaced(volume, voxels):
    """A cli group, start_worker, start_worker_fn with return_io_loop, and a spawn_worker that executes a command."""
    from blockflow.storage import LocalArrayIdentifier, open_array, spec_like

    path, data = volume
    spec_like(open_array(path), "out.zarr/labels").create()
    Path("dacapo_worker.py").write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "import click\n"
        "import daisy\n"
        "from blockflow.compute import create_compute_context\n"
        "from blockflow.storage import LocalArrayIdentifier\n"
        "from blockflow.storage import open_from_identifier\n"
        "\n"
        "read_write_conflict: bool = False\n"
        'fit: str = "shrink"\n'
        "path = __file__\n"
        "\n"
        "@click.group()\n"
        '@click.option("--log-level", default="INFO")\n'
        "def cli(log_level):\n"
        "    pass\n"
        "\n"
        "@cli.command()\n"
        '@click.option("-ic", "--input_container", required=True, type=Path)\n'
        '@click.option("-id", "--input_dataset", required=True, type=str)\n'
        '@click.option("-oc", "--output_container", required=True, type=Path)\n'
        '@click.option("-od", "--output_dataset", required=True, type=str)\n'
        "def start_worker(input_container, input_dataset, output_container, output_dataset):\n"
        "    return start_worker_fn(input_container, input_dataset, output_container, output_dataset)\n"
        "\n"
        "def start_worker_fn(input_container, input_dataset, output_container, output_dataset, return_io_loop=False):\n"
        "    input_array = open_from_identifier(LocalArrayIdentifier(input_container, input_dataset))\n"
        "    output_array = open_from_identifier(LocalArrayIdentifier(output_container, output_dataset))\n"
        "    def io_loop():\n"
        "        client = daisy.Client()\n"
        "        while True:\n"
        "            with client.acquire_block() as block:\n"
        "                if block is None:\n"
        "                    break\n"
        "                output_array[block.write_roi] = input_array.to_ndarray(block.write_roi) * 2\n"
        "    if return_io_loop:\n"
        "        return io_loop\n"
        "    io_loop()\n"
        "\n"
        "def spawn_worker(input_array_identifier, output_array_identifier):\n"
        "    compute_context = create_compute_context()\n"
        "    if not compute_context.distribute_workers:\n"
        "        return start_worker_fn(\n"
        "            input_array_identifier.container, input_array_identifier.dataset,\n"
        "            output_array_identifier.container, output_array_identifier.dataset, return_io_loop=True)\n"
        "    command = [sys.executable, path, 'start-worker',\n"
        "        '--input_container', input_array_identifier.container,\n"
        "        '--input_dataset', input_array_identifier.dataset,\n"
        "        '--output_container', output_array_identifier.container,\n"
        "        '--output_dataset', output_array_identifier.dataset]\n"
        "    def run_worker():\n"
        "        compute_context.execute(command)\n"
        "    return run_worker\n"
        "\n"
        'if __name__ == "__main__":\n'
        "    cli()\n"
    )
    total = open_array(path).roi
    block = voxels((16, 16, 16))
    source = LocalArrayIdentifier(Path(path).parent, Path(path).name)
    target = LocalArrayIdentifier(Path("out.zarr"), "labels")
    for context in ("local", "serial"):
        zarr.open("out.zarr/labels", mode="r+")[:] = 0
        assert blockflow.run_blockwise(
            "dacapo_worker.py", total, block, block, 2, run_dir=f"run-{context}", compute_context=context,
            input_array_identifier=source, output_array_identifier=target,
        )  # fmt: skip
        np.testing.assert_array_equal(zarr.open("out.zarr/labels")[:], data * 2)


def test_an_input_that_another_run_wrote_again_is_a_changed_input(volume, voxels):
    """What one run reads of another's output is read again once that run has written there again, and only then."""
    path, data = volume
    block = voxels((16, 16, 16))

    def first(threshold):
        assert blockflow.run_blockwise(
            "threshold", None, block, block, 1, input=path, output="mask.zarr", threshold=threshold, run_dir="first",
            compute_context="serial",
        )  # fmt: skip

    def second():
        assert blockflow.run_blockwise(
            "copy", None, block, block, 1, input="mask.zarr", output="copy.zarr", run_dir="second",
            compute_context="serial",
        )  # fmt: skip
        return json.loads(Path("second/run.json").read_text())["results"]["copy"]["done"]

    for threshold, done in ((4, 27), (4, 0), (6, 27), (6, 0)):
        first(threshold)
        assert second() == done
        np.testing.assert_array_equal(zarr.open("copy.zarr")[:], data > threshold)


def test_a_chain_that_grows_part_by_part_has_no_seam():
    """A block that read where its upstream had not written yet is done again once that is written."""
    data = np.arange(1, 41, dtype=np.int64) ** 2
    for name, source in (("a.zarr", data), ("b.zarr", None), ("c.zarr", None)):
        array = zarr.create_array(name, shape=(40,), chunks=(10,), dtype="i8", attributes={"voxel_size": [1]})
        if source is not None:
            array[:] = source

    def copy(block):
        from blockflow.storage import open_array

        open_array("b.zarr", "r+")[block.write_roi] = open_array("a.zarr")[block.write_roi]

    def sum_of_three(block):
        from blockflow.storage import open_array

        read = open_array("b.zarr")[block.read_roi]
        open_array("c.zarr", "r+")[block.write_roi] = read[:-2] + read[1:-1] + read[2:]

    for size in (20, 40):
        first = blockflow.DaCapoBlockwiseTask(
            None,
            Roi((0,), (size,)),
            Roi((0,), (10,)),
            Roi((0,), (10,)),
            1,
            process_function=copy,
            name="copy",
        )
        assert blockflow.run_blockwise(
            None, Roi((-1,), (size + 2,)), Roi((-1,), (12,)), Roi((0,), (10,)), 1, upstream_tasks=[first],
            process_function=sum_of_three, name="sum", run_dir="run", compute_context="serial",
        )  # fmt: skip
    padded = np.pad(data, 1)
    np.testing.assert_array_equal(zarr.open("c.zarr", mode="r")[:], padded[:-2] + padded[1:-1] + padded[2:])
    assert json.loads(Path("run/run.json").read_text())["results"]["sum"]["skipped"] == 1


FACTOR = 1


def scaled(block):
    Path(f"out-{number(block)}").write_text(str(FACTOR))


def test_globals_that_a_function_names_are_part_of_its_recipe(line, monkeypatch):
    """A module's constant that a process_function reads decides its voxels, so a changed one does all again."""
    arguments = dict(process_function=scaled, run_dir="run", compute_context="serial")
    for factor in (1, 2):
        monkeypatch.setitem(globals(), "FACTOR", factor)
        assert blockflow.run_blockwise(None, *line(2), 1, **arguments)
        assert Path("out-1").read_text() == str(factor)


def test_a_changed_upstream_task_does_its_downstream_again(line):
    """What an upstream task does is part of the recipe of those that wait for it, even if no array is known."""

    def run(value):
        def up(block):
            Path(f"up-{number(block)}").write_text(str(value))

        def down(block):
            Path(f"down-{number(block)}").write_text(Path(f"up-{number(block)}").read_text())

        first = blockflow.DaCapoBlockwiseTask(None, *line(2), 1, process_function=up, name="up")
        assert blockflow.run_blockwise(
            None, *line(2), 1, upstream_tasks=[first], process_function=down, name="down", run_dir="run",
            compute_context="serial",
        )  # fmt: skip
        return Path("down-1").read_text()

    assert [run(1), run(2)] == ["1", "2"]


def test_a_downstream_task_beyond_its_upstream_is_refused(line):
    """Blocks that read nothing of what their upstream task writes would wait for ever: an error says so before."""
    first = blockflow.DaCapoBlockwiseTask(None, *line(3), 1, process_function=print, name="up")
    with pytest.raises(TaskError, match="read nothing of what the upstream task up writes"):
        blockflow.run_blockwise(
            None, *line(4), 1, upstream_tasks=[first], process_function=print, name="down"
        )


def test_a_worker_ends_whatever_threads_it_left(line):
    """A thread that a worker file leaves running does not keep the run from its end."""

    def work(block):
        import threading

        threading.Thread(target=threading.Event().wait).start()

    assert blockflow.run_blockwise(None, *line(2), 1, process_function=work, run_dir="run")


@pytest.mark.parametrize("context", ["local", "serial"])
@pytest.mark.parametrize("end", ["sys.exit(3)", "raise SystemExit", "raise GeneratorExit"])
def test_whatever_ends_the_loop_is_the_blocks_record(line, end, context):
    """sys.exit and the like in the middle of a block are recorded for it, and all other blocks are done."""
    Path("w.py").write_text(
        "import sys, blockflow\n"
        "def spawn_worker():\n"
        "    def loop():\n"
        "        for block in blockflow.blocks():\n"
        f"            if block.write_roi.offset[0] == 1: {end}\n"
        "    return loop\n"
    )
    assert blockflow.run_blockwise("w.py", *line(4), 1, 1, run_dir="run", compute_context=context) is False
    assert [(r.block, r.attempt) for r in records("run")] == [(1, 1), (1, 2)]
    assert json.loads(Path("run/run.json").read_text())["results"]["w"]["done"] == 3
