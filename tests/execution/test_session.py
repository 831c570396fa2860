"""The life of a block in a worker: what is asked, what is marked, what is recorded, what Daisy is told."""

import fcntl
import json
import os
import subprocess
import sys
from dataclasses import dataclass

import daisy
import pytest
from funlib.geometry import Roi

from blockflow.errors import BlockflowError
from blockflow.execution.assignment import Assignment, Calls
from blockflow.execution.client import is_committed
from blockflow.execution.events import last_event
from blockflow.execution.failures import read_failures
from blockflow.execution.journal import Journal, Mark
from blockflow.execution.run_directory import RunDirectory
from blockflow.execution.session import (
    WorkerSession,
    current_session,
    record_failed_worker,
    session_of_process,
)
from blockflow.execution.tracking import plan_tracking
from blockflow.storage import ArraySpec, VolumeMetadata, open_array
from blockflow.tasks import BlockGrid, Recipe

Status = daisy.BlockStatus

METADATA = VolumeMetadata((1, 1), (0, 0), ("nm", "nm"), ("y", "x"), ("space", "space"))


@dataclass
class _Block:
    """What Daisy hands out, as far as a session looks at it."""

    read_roi: Roi
    write_roi: Roi
    status: object = Status.PROCESSING
    task_id: str = "task"


class _Task:
    """A run directory with a task of 2 x 3 blocks of 4 x 4 voxels, context 1, and sessions of its workers."""

    def __init__(self, folder):
        self.folder = folder
        self.grid = BlockGrid(
            Roi((-1, -1), (10, 14)), Roi((-1, -1), (6, 6)), Roi((0, 0), (4, 4)), fit="shrink"
        )
        self.recipe = Recipe.of(arguments={"threshold": 5})
        self.outputs = {}
        self.sessions = []
        self.max_retries = 2
        self.slots = []
        with RunDirectory.begin(folder / "run", "cells") as self.run:
            pass

    def add_output(self, name, shape=(8, 12)):
        path = str(self.folder / f"{name}.zarr")
        ArraySpec(path, shape, "uint8", METADATA, (4, 4)).create()
        self.outputs[name] = path
        return open_array(path, "r+")

    def session(self, check=None, *, before=None, after=None, kwargs=None, worker="task-0"):
        directory = self.run.task("task")
        directory.tracking.mkdir(parents=True, exist_ok=True)
        self.plan = plan_tracking(directory.tracking, self.recipe, self.grid, {})
        assignment = Assignment(
            run=str(self.run.path),
            session=self.run.session,
            name="task",
            worker_file=None,
            grid=self.grid.to_json(),
            lattice=None,
            compute={"context": "serial"},
            num_workers=1,
            max_retries=self.max_retries,
            timeout=None,
            memory=None,
            blocks=self.grid.number_of_blocks,
            to_do=self.plan.to_do,
            store=str(self.plan.store),
            journal=str(self.plan.journal),
            inputs={},
            outputs=self.outputs,
            slots=self.slots,
            upstream=[],
            recipe=self.recipe.hash,
            import_path=[],
            initialises=False,
        )
        assignment.save(directory.description)
        self.assignment = Assignment.load(directory.description)
        calls = Calls((), kwargs or {}, None, before or check, after or check, None)
        self.sessions.append(WorkerSession(self.assignment, calls, worker))
        return self.sessions[-1]

    def block(self, number):
        position = self.grid.position_of(number)
        return _Block(self.grid.read_roi_of(position), self.grid.write_roi_of(position))

    def mark(self, number):
        journal = Journal(self.plan.journal)
        try:
            return Mark(journal[number])
        finally:
            journal.close()

    def set_mark(self, number, mark):
        journal = Journal(self.plan.journal)
        journal.mark(number, mark)
        journal.close()

    def events(self, worker="task-0"):
        lines = self.run.events(worker).read_text().splitlines()
        return [(event["event"], event.get("block")) for event in map(json.loads, lines)]

    @property
    def failures(self):
        return list(read_failures(self.run.task("task").failures))


@pytest.fixture
def task(tmp_path):
    task = _Task(tmp_path)
    yield task
    for session in task.sessions:
        session.close()


class _Check:
    """A check function that gives these answers in turn, and remembers what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def __call__(self, block):
        self.asked.append(block.write_roi)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def _do(session, block, work=lambda block: None):
    """Do a block as our client does; whether it was processed."""
    if not session.begin(block):
        return False
    try:
        work(block)
    except BaseException as error:  # noqa: BLE001 (as our client does)
        session.settle(block, error)
    else:
        session.settle(block, None)
    return True


def _is_free(slot):
    """Whether a slot could be taken now, by a look that does not wait."""
    file = os.open(slot, os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True


def _raise(error):
    def work(block):
        raise error

    return work


def test_a_block_that_is_done_leaves_its_events_and_its_mark(task):
    """Begun, written, done: the journal says committed, the status stays Daisy's, and no failure is recorded."""
    output = task.add_output("a")
    session, block = task.session(), task.block(4)
    assert session.begin(block)
    assert session.held is block
    assert task.mark(4) == Mark.BEGUN
    output[block.write_roi] = 7
    assert task.mark(4) == Mark.COMMITTED
    session.settle(block, None)
    assert session.held is None
    assert block.status == Status.PROCESSING
    assert task.events() == [("up", None), ("start", 4), ("done", 4)]
    assert task.failures == []
    assert [task.mark(number) for number in (0, 1, 2, 3, 5)] == [Mark.UNTOUCHED] * 5


def test_a_block_that_raises_is_failed_and_recorded(task):
    """An exception leaves a record with task, block, ROIs, message, traceback, worker and log, and fails the block."""
    session, block = task.session(), task.block(2)

    def work(block):
        raise ValueError("bad voxel") from KeyError("x")

    assert _do(session, block, work)
    assert block.status == Status.FAILED
    assert session.held is None
    assert task.events() == [("up", None), ("start", 2), ("failed", 2)]
    (record,) = task.failures
    assert (record.task, record.block, record.attempt, record.cause) == ("task", 2, 1, "exception")
    assert record.message == "ValueError: bad voxel"
    assert "KeyError: 'x'" in record.traceback
    assert "in work" in record.traceback
    assert (record.read_roi, record.write_roi) == ([[-1, 7], [6, 6]], [[0, 8], [4, 4]])
    assert record.worker == "task-0"
    assert record.log.endswith("tasks/task/logs/task-0.log")
    assert task.mark(2) == Mark.BEGUN


@pytest.mark.parametrize("error", [SystemExit(3), MemoryError(), GeneratorExit()])
def test_whatever_a_block_raises_is_its_record(task, error):
    """Also an exit or lack of memory is the block's failure."""
    session, block = task.session(), task.block(0)
    _do(session, block, _raise(error))
    assert block.status == Status.FAILED
    assert [record.cause for record in task.failures] == ["exception"]


def test_an_interrupt_is_no_blocks_fault(task):
    """A block that the user interrupts is given back, without a record and without an attempt."""
    session, block = task.session(), task.block(0)
    session.leaving = True  # as the first interrupt has said
    _do(session, block, _raise(KeyboardInterrupt()))
    assert block.status == Status.FAILED
    assert task.failures == []
    assert task.events()[-1] == ("interrupted", 0)


def test_a_status_of_failed_is_a_failure(task):
    """A worker file that gives a block back as FAILED without raising leaves a record that says so."""
    session, block = task.session(), task.block(0)

    def work(block):
        block.status = Status.FAILED

    _do(session, block, work)
    (record,) = task.failures
    assert record.message == "the worker file set the block's status to FAILED"
    assert record.traceback is None


@pytest.mark.parametrize("max_retries", [0, 2])
def test_an_exhausted_block_is_not_begun_again(task, max_retries):
    """After max_retries + 1 failures a block is failed at once, without an event, a record or a mark of its own."""
    task.max_retries = max_retries
    session = task.session()
    for _ in range(max_retries + 1):
        assert _do(session, task.block(1), _raise(ValueError("no")))
    events, block = task.events(), task.block(1)
    assert not session.begin(block)
    assert block.status == Status.FAILED
    assert task.events() == events
    assert [record.final for record in task.failures] == [False] * max_retries + [True]
    assert _do(session, task.block(0))


def test_attempts_of_all_workers_count(task):
    """A block that failed in one worker has that attempt less in another."""
    task.max_retries = 1
    first, second = task.session(), task.session(worker="task-1")
    assert _do(first, task.block(1), _raise(ValueError("no")))
    assert _do(second, task.block(1), _raise(ValueError("no")))
    assert not first.begin(task.block(1))
    assert [record.worker for record in task.failures] == ["task-0", "task-1"]


# --- checks --------------------------------------------------------------------------------------------


def test_a_block_that_the_check_finds_done_is_skipped(task):
    """True before: the block is not processed, is not failed, and is marked as found."""
    check = _Check(True)
    session, block = task.session(check), task.block(3)
    assert not session.begin(block)
    assert block.status != Status.FAILED
    assert session.held is None
    assert task.mark(3) == Mark.FOUND_DONE
    assert task.events() == [("up", None), ("start", 3), ("skipped", 3)]
    assert check.asked == [block.write_roi]


def test_a_single_check_is_asked_before_and_after(task):
    """One function is both checks: false before and true after is a block that is done."""
    check = _Check(False, True)
    session, block = task.session(check), task.block(0)
    assert _do(session, block)
    assert len(check.asked) == 2
    assert task.events()[-1] == ("done", 0)
    assert block.status != Status.FAILED


def test_a_block_that_is_not_completed_after_it_was_run_has_failed(task):
    """False after: the attempt counts, with the cause `check_failed`."""
    session, block = task.session(_Check(False, False)), task.block(0)
    assert _do(session, block)
    assert block.status == Status.FAILED
    assert task.events()[-1] == ("failed", 0)
    (record,) = task.failures
    assert record.cause == "check_failed"
    assert "not completed after it was run" in record.message


def test_of_a_pair_each_is_asked_in_its_place(task):
    """Of a pair of checks the first is asked before, the second after the block."""
    before, after = _Check(False, True), _Check(True)
    session = task.session(before=before, after=after)
    assert _do(session, task.block(0))
    assert (len(before.asked), len(after.asked)) == (1, 1)
    assert not session.begin(task.block(1))
    assert (len(before.asked), len(after.asked)) == (2, 1)


def test_an_after_check_is_not_asked_of_a_failed_block(task):
    """A block that raised has failed, whatever a check would say."""
    check = _Check(False)
    _do(task.session(check), task.block(0), _raise(ValueError("no")))
    assert len(check.asked) == 1
    assert [record.cause for record in task.failures] == ["exception"]


def test_a_check_that_raises_before_fails_the_block(task):
    """A before-check that raises is an attempt with its traceback; the block is not begun."""
    session, block = task.session(_Check(ZeroDivisionError("check"))), task.block(0)
    assert not session.begin(block)
    assert block.status == Status.FAILED
    assert task.mark(0) == Mark.UNTOUCHED
    assert task.events()[-1] == ("failed", 0)
    (record,) = task.failures
    assert (record.cause, record.message) == ("exception", "ZeroDivisionError: check")
    assert "ZeroDivisionError" in record.traceback


def test_a_check_that_raises_after_fails_the_block(task):
    """An after-check that raises is a failed check with its traceback."""
    session, block = task.session(_Check(False, ZeroDivisionError("check"))), task.block(0)
    assert _do(session, block)
    assert block.status == Status.FAILED
    (record,) = task.failures
    assert (record.cause, record.message) == ("check_failed", "ZeroDivisionError: check")
    assert "ZeroDivisionError" in record.traceback


@pytest.mark.parametrize("mark", [Mark.OTHER_RECIPE, Mark.OVERWRITTEN])
def test_no_check_is_asked_where_others_wrote(task, mark):
    """Where other voxels may lie the before-check is not asked, so the block is done again; the after-check is."""
    check = _Check(True)
    session, block = task.session(check), task.block(0)
    task.set_mark(0, mark)
    assert session.begin(block)
    assert check.asked == []
    assert task.mark(0) == Mark.BEGUN
    session.settle(block, None)
    assert len(check.asked) == 1


@pytest.mark.parametrize("mark", [Mark.BEGUN, Mark.COMMITTED])
def test_a_block_that_is_found_done_keeps_the_record_of_who_wrote_it(task, mark):
    """Found done on a later attempt, a block is still known as written by this recipe."""
    session = task.session(_Check(True))
    task.set_mark(0, mark)
    assert not session.begin(task.block(0))
    assert task.mark(0) == mark
    assert task.events()[-1] == ("skipped", 0)


def test_a_check_gets_those_keyword_arguments_that_it_takes(task):
    """Checks are called with the block and with the task's keyword arguments that they name, or all."""
    asked = []

    def named(block, threshold, other="default"):
        asked.append((threshold, other))
        return False

    def everything(block, **kwargs):
        asked.append(kwargs)
        return True

    kwargs = {"threshold": 5, "path": "a.zarr"}
    assert _do(task.session(before=named, after=everything, kwargs=kwargs), task.block(0))
    assert asked == [(5, "default"), kwargs]


# --- commits -------------------------------------------------------------------------------------------


def test_a_block_is_committed_when_every_output_is_written(task):
    """Of two outputs the first write is not enough, in whatever order they come."""
    a, b = task.add_output("a"), task.add_output("b")
    session = task.session()
    for number, (first, second) in enumerate([(a, b), (b, a)]):
        block = task.block(number)
        session.begin(block)
        first[block.write_roi] = 1
        first[block.write_roi] = 2
        assert task.mark(number) == Mark.BEGUN
        second[block.write_roi] = 1
        assert task.mark(number) == Mark.COMMITTED
        session.settle(block, None)


@pytest.mark.parametrize(
    "roi",
    [
        Roi((0, 0), (4, 3)),  # a part
        Roi((0, 4), (4, 4)),  # the neighbour
        Roi((1, 1), (3, 3)),
    ],
)
def test_a_partial_write_commits_nothing(task, roi):
    """A write that does not cover the block's write ROI does not commit the block."""
    output = task.add_output("a")
    session = task.session()
    session.begin(task.block(0))
    output[roi] = 1
    assert task.mark(0) == Mark.BEGUN


def test_a_larger_write_commits(task):
    """A write that covers more than the block commits it."""
    output = task.add_output("a")
    session = task.session()
    session.begin(task.block(0))
    output[Roi((0, 0), (8, 12))] = 1
    assert task.mark(0) == Mark.COMMITTED


def test_what_lies_outside_of_the_array_need_not_be_written(task):
    """A block that leaves the array is committed by a write of its part within, or of all of it."""
    output = task.add_output("a", shape=(8, 10))
    session = task.session()
    for number, roi in ((2, Roi((0, 8), (4, 2))), (5, Roi((4, 8), (4, 4)))):
        session.begin(task.block(number))
        output[roi] = 1
        assert task.mark(number) == Mark.COMMITTED


def test_a_block_outside_of_the_array_is_committed_by_its_write(task):
    """A block that lies beside the array altogether has nothing to write, and is committed all the same."""
    output = task.add_output("a", shape=(8, 8))
    session, block = task.session(), task.block(2)
    session.begin(block)
    output[block.write_roi] = 1
    assert task.mark(2) == Mark.COMMITTED


def test_writes_of_others_arrays_and_between_blocks_commit_nothing(task, tmp_path):
    """Only writes to the task's outputs while a block is held count."""
    output = task.add_output("a")
    other = task.add_output("other")
    del task.outputs["other"]
    session, block = task.session(), task.block(0)
    output[block.write_roi] = 1
    assert task.mark(0) == Mark.UNTOUCHED
    session.begin(block)
    other[block.write_roi] = 1
    assert task.mark(0) == Mark.BEGUN
    session.settle(block, ValueError("no"))
    output[block.write_roi] = 1
    assert task.mark(0) == Mark.BEGUN


def test_an_output_is_known_by_whatever_path_it_is_opened(task, tmp_path):
    """A link to an output is that output."""
    task.add_output("a")
    (tmp_path / "link.zarr").symlink_to(tmp_path / "a.zarr")
    session, block = task.session(), task.block(0)
    session.begin(block)
    open_array(tmp_path / "link.zarr", "r+")[block.write_roi] = 1
    assert task.mark(0) == Mark.COMMITTED


def test_after_a_second_attempt_begins_the_first_ones_commit_does_not_count(task):
    """A block that failed after it was written must be written again to be committed."""
    output = task.add_output("a")
    session, block = task.session(), task.block(0)
    session.begin(block)
    output[block.write_roi] = 1
    session.settle(block, ValueError("no"))
    session.begin(task.block(0))
    assert task.mark(0) == Mark.BEGUN


def test_is_committed_as_the_check_asks_for_what_this_recipe_wrote(task):
    """The bundled workers' check: done if this recipe has written the block, and else not, whatever is there."""
    output = task.add_output("a")
    session = task.session(is_committed)
    with session_of_process(session):
        block = task.block(0)
        assert _do(session, block, lambda block: output.__setitem__(block.write_roi, 1))
        assert task.events()[-1] == ("done", 0)
        assert not session.begin(task.block(0))  # asked again, for instance after a kill
        assert task.events()[-1] == ("skipped", 0)
        block = task.block(1)
        assert _do(session, block)
        assert block.status == Status.FAILED
        assert task.failures[0].cause == "check_failed"


def test_a_block_of_another_task_is_never_done(task):
    """A worker that was connected to another task's blocks stops, and does not write with its own function."""
    session = task.session()
    block = task.block(0)
    block.task_id = "other"
    with pytest.raises(BlockflowError, match="a worker of task task was given a block of task other"):
        session.begin(block)
    assert session.begun == 0


def test_is_committed_cannot_tell_without_outputs(task):
    """Where no outputs are known the check says so, with what to do, and not no."""
    session = task.session()
    session.begin(task.block(0))
    with pytest.raises(BlockflowError, match=r"no outputs are known: define arrays\(\*\*kwargs\)"):
        session.is_committed()


def test_the_block_at_hand_counts_as_begun_before_anything_is_written(task):
    """Killed in the middle of a block, the journal says that its voxels may be anything, the events which it was."""
    task.add_output("a")
    task.session()
    program = (
        "import os, signal, sys; from pathlib import Path; from types import SimpleNamespace\n"
        "from funlib.geometry import Roi\n"
        "from blockflow.execution.assignment import Assignment, Calls\n"
        "from blockflow.execution.session import WorkerSession\n"
        "session = WorkerSession(Assignment.load(Path(sys.argv[1])), Calls((), {}, None, None, None, None), 'task-7')\n"
        "session.begin(SimpleNamespace(task_id='task', write_roi=Roi((4, 4), (4, 4)), status=None))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [sys.executable, "-c", program, str(task.run.task("task").description)]
    assert subprocess.run(command, check=False).returncode == -9
    assert task.mark(4) == Mark.BEGUN
    event = last_event(task.run.events("task-7"))
    assert (event["event"], event["block"]) == ("start", 4)


# --- the session itself --------------------------------------------------------------------------------


@pytest.mark.parametrize("finished", [True, False])
def test_a_session_says_how_it_ended(task, finished):
    """The last event is `finished` if no block was left, else `left`, with the number of blocks that were begun."""
    session = task.session()
    for number in (0, 1):
        _do(session, task.block(number))
    session.finished = finished
    task.sessions.remove(session)
    session.close()
    event = last_event(task.run.events("task-0"))
    assert (event["event"], event["begun"]) == ("finished" if finished else "left", 2)


def test_a_closed_session_hears_no_commits(task):
    """After its end a session marks nothing."""
    output = task.add_output("a")
    session, block = task.session(), task.block(0)
    session.begin(block)
    task.sessions.remove(session)
    session.close()
    output[block.write_roi] = 1
    assert task.mark(0) == Mark.BEGUN


def test_a_slot_is_held_while_a_block_is_done_and_no_longer(task, tmp_path):
    """After a block, a failure, an interrupt, a skip and a failed check the slot is free for another worker."""
    path = tmp_path / "slots" / "0"
    task.slots = [str(path)]
    session = task.session(_Check(False, True, False, False, False, False, True, ValueError("check")))
    for number, error in enumerate([None, None, ValueError("no"), KeyboardInterrupt()]):
        assert session.begin(task.block(number))
        assert not _is_free(path)
        session.settle(task.block(number), error)
        assert _is_free(path)
    for number in (4, 5):
        assert not session.begin(task.block(number))
        assert _is_free(path)


def test_workers_are_dealt_out_over_the_slots(task, tmp_path):
    """Worker n uses slot n, and one with a higher number than there are slots begins again at the first."""
    task.slots = [str(tmp_path / "slots" / str(number)) for number in range(2)]
    holder = task.session(worker="task-1")
    holder.begin(task.block(0))
    others = [task.session(worker=f"task-{number}") for number in (0, 2)]
    for number, session in enumerate(others):
        assert _do(session, task.block(1 + number))


def test_the_session_of_a_process_is_known_while_it_lasts(task):
    """`current_session` is the session within the context, and none before and after it, however it ends."""
    session = task.session()
    assert current_session() is None
    with pytest.raises(ValueError, match="no"), session_of_process(session):
        assert current_session() is session
        raise ValueError("no")
    assert current_session() is None


def test_a_worker_that_cannot_do_blocks_is_recorded(task):
    """What kept a worker from doing blocks is a record without a block, with its traceback."""
    task.session()
    record_failed_worker(task.assignment, "task-0", ImportError("no module named torch"))
    (record,) = task.failures
    assert (record.block, record.final, record.worker) == (None, False, "task-0")
    assert record.message == "ImportError: no module named torch"
    assert "ImportError" in record.traceback
