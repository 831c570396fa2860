"""What a worker keeps while it does blocks: the life of one block after another, and their records."""

import os
import traceback as traceback_module
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from funlib.geometry import Roi

from blockflow.compute import JOB, MEMORY
from blockflow.errors import BlockflowError
from blockflow.execution.assignment import Assignment, Calls
from blockflow.execution.events import EventLog
from blockflow.execution.journal import Journal, Mark
from blockflow.execution.slots import Slot
from blockflow.execution.walltime import Remaining
from blockflow.storage import Lattice, on_commit
from blockflow.tasks import BlockGrid, call_check

__all__ = ["WorkerSession", "current_session", "record_failed_worker", "session_of_process"]

_current: "WorkerSession | None" = None


class WorkerSession:
    """The blocks of one worker, one at a time.

    `finished` is true when Daisy has said that no block is left; `begun` counts the blocks that were begun.
    Set `leaving` and the worker takes no further block.
    """

    def __init__(self, assignment: Assignment, calls: Calls, worker: str) -> None:
        self.worker = worker
        self.finished = False
        self.leaving = False
        self.begun = 0
        self.address: Any = None  # the Daisy context to connect with; None: that of the environment
        self.held: Any = None
        self.client: Any = None  # whose block is held
        self.lattice = Lattice.parse(assignment.lattice) if assignment.lattice else None
        self._name = assignment.name
        self._calls = calls
        self._grid = BlockGrid.from_json(assignment.grid)
        self._events = EventLog(assignment.run_directory.events(worker))
        self._failures = assignment.failure_log
        self._journal = Journal(Path(assignment.journal))
        self._log = str(assignment.directory.logs / f"{worker}.log")
        number = int(worker.rpartition("-")[2]) if assignment.slots else 0
        self._slot = (
            Slot(Path(assignment.slots[number % len(assignment.slots)])) if assignment.slots else None
        )
        self._outputs = {os.path.realpath(path) for path in assignment.outputs.values()}
        self._uncommitted: set[str] = set()
        self._index = -1
        self._writing: Any = None  # the block whose commits count: also while it is checked
        self._memory = int(os.environ[MEMORY]) if MEMORY in os.environ else None
        self._time = Remaining.of_process(os.environ)
        self._stop_listening = on_commit(self._note_commit)
        self._events.write("up", pid=os.getpid())

    def begin(self, block: Any) -> bool:
        """Whether the block is to be processed now; if not, its status says what to tell Daisy."""
        import daisy

        if block.task_id != self._name:
            raise BlockflowError(f"a worker of task {self._name} was given a block of task {block.task_id}")
        index = self._grid.index_of(block.write_roi.offset)
        if self._failures.is_exhausted(index):
            block.status = daisy.BlockStatus.FAILED
            return False
        if self._memory is not None and self._failures.is_too_large_for(index, self._memory):
            block.status = daisy.BlockStatus.FAILED  # a worker that may hold more is on its way
            self.leaving = True
            return False
        if self._slot is not None:
            self._slot.take()
        self._index = index
        self.begun += 1
        self._events.write_block("start", index)
        try:
            if self._is_done_already(block):
                if self._journal[index] == Mark.UNTOUCHED:  # else the record of who wrote here would be lost
                    self._journal.mark(index, Mark.FOUND_DONE)
                self._end("skipped")
                return False
        except Exception as error:  # noqa: BLE001 (a user's check may raise anything: it is the block's record)
            self._fail(block, "exception", error)
            return False
        self._journal.mark(index, Mark.BEGUN)
        self._time.begin()
        self._uncommitted = set(self._outputs)
        self.held = self._writing = block
        return True

    def has_time(self) -> bool:
        """Whether what is left of the worker's time is enough for one more block."""
        return self._time.is_enough()

    def settle(self, block: Any, error: BaseException | None) -> None:
        """The block was processed, or failed with `error`; sets its status and keeps the record."""
        import daisy

        self.held = None
        self._time.end()
        if (
            isinstance(error, KeyboardInterrupt) and self.leaving
        ):  # not the block's fault: no record, no attempt
            block.status = daisy.BlockStatus.FAILED
            self._end("interrupted")
        elif error is not None:
            self._fail(block, "exception", error)
        elif block.status == daisy.BlockStatus.FAILED:
            self._fail(block, "exception", None, "the worker file set the block's status to FAILED")
        else:
            try:
                good = self._calls.after_check is None or call_check(
                    self._calls.after_check, block, self._calls.kwargs
                )
            except Exception as check_error:  # noqa: BLE001 (as above)
                self._fail(block, "check_failed", check_error)
                return
            if good:
                self._end("done")
            else:
                self._fail(
                    block,
                    "check_failed",
                    None,
                    "check_function says that the block is not completed after it was run",
                )

    def is_committed(self) -> bool:
        """Whether the block at hand has been written by this recipe to every output that is known.

        Raises `BlockflowError` if no output is known.
        """
        if not self._outputs:
            raise BlockflowError(
                "is_committed cannot tell, since no outputs are known: define arrays(**kwargs) in the worker file, "
                "or name the outputs in the config"
            )
        return self._journal[self._index] == Mark.COMMITTED

    def close(self) -> None:
        """Say how the worker went, and stop listening."""
        self._events.write("finished" if self.finished else "left", begun=self.begun)
        self._stop_listening()
        self._events.close()
        self._journal.close()
        if self._slot is not None:
            self._slot.close()

    def _is_done_already(self, block: Any) -> bool:
        check = self._calls.before_check
        if check is None or self._journal[self._index] in (Mark.OTHER_RECIPE, Mark.OVERWRITTEN):
            return False
        return call_check(check, block, self._calls.kwargs)

    def _note_commit(self, path: str, extent: Roi, roi: Roi) -> None:
        path = os.path.realpath(path)
        if self._writing is None or path not in self._uncommitted:
            return
        needed = self._writing.write_roi.intersect(
            extent
        )  # empty where an overhanging block is beside the array
        if needed.empty or roi.contains(needed):
            self._uncommitted.discard(path)
            if not self._uncommitted:
                self._journal.mark(self._index, Mark.COMMITTED)

    def _fail(self, block: Any, cause: str, error: BaseException | None, message: str = "") -> None:
        import daisy

        self._failures.add(
            self._index,
            (block.read_roi, block.write_roi),
            cause,
            message or _summary(error),
            worker=self.worker,
            log=self._log,
            traceback=_text(error) if error is not None else None,
            job=os.environ.get(JOB),
        )
        block.status = daisy.BlockStatus.FAILED
        self._end("failed")

    def _end(self, event: str) -> None:
        self._writing = None
        self._events.write_block(event, self._index)
        if self._slot is not None:
            self._slot.release()


def record_failed_worker(assignment: Assignment, worker: str, error: BaseException) -> None:
    """Record that a worker cannot do blocks at all."""
    log = str(assignment.directory.logs / f"{worker}.log")
    assignment.failure_log.add(
        None,
        None,
        "exception",
        _summary(error),
        worker=worker,
        log=log,
        traceback=_text(error),
        job=os.environ.get(JOB),
    )


def current_session() -> WorkerSession | None:
    """The session of this process, if it is a worker."""
    return _current


@contextmanager
def session_of_process(session: WorkerSession) -> Iterator[None]:
    """Make `session` this process's session for as long as the context lasts."""
    global _current  # noqa: PLW0603 (one process, one worker)
    _current = session
    try:
        yield
    finally:
        _current = None


def _summary(error: BaseException | None) -> str:
    return "".join(traceback_module.format_exception_only(error)).strip() if error is not None else ""


def _text(error: BaseException) -> str:
    return "".join(traceback_module.format_exception(error))
