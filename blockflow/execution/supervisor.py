"""The supervisor of a task: starts its workers, watches them, and replaces those that are lost.

One process per task. It runs as Daisy's one spawn function of the task, so for Daisy the task has one worker
for as long as blocks are left; the workers themselves connect to Daisy's server on their own.
"""

import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blockflow.compute import ComputeContext, WorkerHandle, create_compute_context
from blockflow.execution.assignment import Assignment
from blockflow.execution.events import EventLog, last_event
from blockflow.execution.exits import classify_exit
from blockflow.tasks import BlockGrid
from blockflow.utility.files import write_aside, write_json
from blockflow.utility.quantity import format_bytes

__all__ = ["supervise"]

#: seconds between two looks at the workers
_TICK = 0.05

#: workers that ended in a row without having begun a block, before the task is given up
_FAILED_STARTS = 3

#: seconds after which Daisy has noticed that a worker is gone, and gives its block to another one
_NOTICED_AFTER = 1.5

#: seconds that a worker may take to end after it has been told that no block is left
_GRACE = 30.0


@dataclass
class _Worker:
    name: str
    handle: WorkerHandle
    events: Path


class _Crew:
    """The workers of one task."""

    def __init__(self, assignment: Assignment, context: ComputeContext, address: Any) -> None:
        self.assignment = assignment
        self.finished = False
        self._context = context
        self._grid = BlockGrid.from_json(assignment.grid)
        self._failures = assignment.failure_log
        self._events = EventLog(assignment.run_directory.events(f"{assignment.name}-supervisor"))
        self._description = assignment.directory.description
        self._workers: list[_Worker] = []
        self._wanted = max(1, min(assignment.num_workers, assignment.to_do))
        self._started = 0
        self._ebbing = False  # Daisy has told a worker that it has no block to give
        self._lost_at = float("-inf")
        self._failed_starts = 0
        address = address.copy()
        address["worker_id"] = -1
        self._environment = {"DAISY_CONTEXT": address.to_env(), **context.environment()}

    @property
    def is_empty(self) -> bool:
        return not self._workers

    def fill(self) -> None:
        """Start workers until there are as many as wanted."""
        if self._ebbing and time.monotonic() < self._lost_at + _NOTICED_AFTER:
            return
        while len(self._workers) < self._wanted:
            name = self._next_name()
            command = [sys.executable, "-P", "-m", "blockflow.execution.worker", str(self._description), name]
            handle = self._context.start_worker(command, self._environment, self._log(name))
            self._workers.append(_Worker(name, handle, self.assignment.run_directory.events(name)))
            self._events.write("worker started", worker=name)

    def _next_name(self) -> str:
        """A name that no worker of this session has had, even if this is its second supervisor."""
        while True:
            name = f"{self.assignment.name}-{self._started}"
            self._started += 1
            if not self.assignment.run_directory.events(name).exists():
                return name

    def look(self) -> None:
        """Take note of workers that have ended, and end those that take too long."""
        for worker in list(self._workers):
            code = worker.handle.exit_code()
            if code is not None:
                self._workers.remove(worker)
                self._note_exit(worker, code)
                continue
            if self._context.memory is not None and self._end_too_large(worker, self._context.memory):
                continue
            if self.finished or self.assignment.timeout is not None:
                self._end_overdue(worker)

    def ask_to_leave(self) -> None:
        """Let every worker finish its block; one that waits for a block is ended, since it loses none."""
        for worker in self._workers:
            event = last_event(worker.events)
            if event is not None and event["event"] == "start":
                worker.handle.ask_to_leave()
            else:
                self._end(worker, "left while idle")

    def kill(self) -> None:
        for worker in list(self._workers):
            self._end(worker, "ended with the run")

    def _end(self, worker: _Worker, why: str) -> None:
        worker.handle.kill()
        if worker in self._workers:
            self._workers.remove(worker)
        self._events.write("worker ended", worker=worker.name, why=why)

    def _note_exit(self, worker: _Worker, code: int) -> None:
        exit_ = classify_exit(code, last_event(worker.events))
        self._events.write("worker ended", worker=worker.name, why=exit_.message)
        if exit_.finished:
            self._ebbing = True
            self._wanted = 1
            # what was lost a moment ago Daisy may still believe to be in work: then somebody must ask again
            self.finished = time.monotonic() >= self._lost_at + _NOTICED_AFTER
            return
        if exit_.block is not None:
            self._record_lost(
                worker,
                exit_.block,
                "killed",
                f"the worker was {exit_.message} while it did the block"
                if code < 0
                else f"the worker {exit_.message} while it did the block",
            )
        if exit_.progressed:
            self._failed_starts = 0
        else:
            self._note_failed_start(worker, exit_.message)

    def _note_failed_start(self, worker: _Worker, how: str) -> None:
        self._failed_starts += 1
        if self._failed_starts >= _FAILED_STARTS:
            self.kill()
            raise _give_up(
                self.assignment,
                f"{self._failed_starts} workers in a row {how} before they did a block. The last one's log, "
                f"{self._log(worker.name)}, ends with:\n{_tail(self._log(worker.name))}",
            )

    def _end_too_large(self, worker: _Worker, limit: int) -> bool:
        """End a worker that holds more memory than it may; says whether it did."""
        held = worker.handle.resident_memory()
        if held <= limit:
            return False
        message = f"the worker held {format_bytes(held)} of memory, its limit is {format_bytes(limit)}"
        event = last_event(worker.events)
        if event is not None and event["event"] == "start":
            self._record_lost(worker, event["block"], "out_of_memory", message)
            self._failed_starts = 0
            self._end(worker, "out of memory")
        else:
            self._end(worker, "out of memory")
            self._note_failed_start(worker, f"were ended, since {message},")
        return True

    def _end_overdue(self, worker: _Worker) -> None:
        event, timeout = last_event(worker.events), self.assignment.timeout
        if event is None:
            return
        seconds = time.monotonic() - event["m"]
        if event["event"] == "finished" and seconds > _GRACE:
            self._end(worker, f"still there {_GRACE:g} s after it had finished")
        if event["event"] != "start" or timeout is None or seconds < timeout:
            return
        # recorded before it is ended, so that whoever gets the block next counts this attempt
        self._record_lost(
            worker, event["block"], "timeout", f"the block took longer than the timeout of {timeout:g} s"
        )
        self._failed_starts = 0
        self._end(worker, "timeout")

    def _record_lost(self, worker: _Worker, block: int, cause: str, message: str) -> None:
        self.finished = False
        self._lost_at = time.monotonic()
        if self._ebbing:  # the others may be busy for long: one more worker for the block that comes back
            self._wanted = min(self.assignment.num_workers, len(self._workers) + 1)
        position = self._grid.position_of(block)
        self._failures.add(
            block,
            (self._grid.read_roi_of(position), self._grid.write_roi_of(position)),
            cause,
            message,
            worker=worker.name,
            log=str(self._log(worker.name)),
        )

    def _log(self, name: str) -> Path:
        return self.assignment.directory.logs / f"{name}.log"


def supervise(description: Path, address: Any) -> None:
    """Run the workers of a task until no block is left.

    Parameters
    ----------
    description : Path
        The task's `task.json`.
    address : daisy.Context
        Where the driver listens.

    Raises
    ------
    SystemExit
        With a message, if the task cannot go on: its workers cannot start, or the driver is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides; it is asked through the stop file
    assignment = Assignment.load(description)
    run = assignment.run_directory
    if (why := assignment.directory.why_given_up()) is not None:
        raise SystemExit(why)  # Daisy starts a supervisor that failed once more
    assignment.directory.logs.mkdir(parents=True, exist_ok=True)
    write_json(run.address, {"host": address["hostname"], "port": int(address["port"])})
    _call_init(assignment, address)
    crew = _Crew(assignment, create_compute_context(assignment.compute), address)
    driver = os.getppid()
    asked_to_leave = False
    try:
        while True:
            crew.look()
            if os.getppid() != driver:
                raise SystemExit("the driver is gone")
            if run.stop_file.exists():
                how = run.stop_file.read_text()
                if how == "now":
                    return
                if not asked_to_leave:
                    crew.ask_to_leave()
                    asked_to_leave = True
                if crew.is_empty:
                    return
            elif crew.finished:
                if crew.is_empty:
                    return
            else:
                crew.fill()
            time.sleep(_TICK)
    finally:
        crew.kill()


def _give_up(assignment: Assignment, why: str) -> SystemExit:
    """Note for this session that the task cannot go on; what is returned is to be raised."""
    message = f"task {assignment.name}: {why}"
    write_json(assignment.directory.given_up, {"session": assignment.session, "why": message})
    return SystemExit(message)


def _call_init(assignment: Assignment, address: Any) -> None:
    """Call the task's `init_callback_fn` once in a session, however often the supervisor is started."""
    called = assignment.directory.path / "initialised"
    if called.exists() and called.read_bytes() == assignment.session.encode():
        return
    try:
        calls = assignment.load_calls()
        if calls.init_callback_fn is not None:
            calls.init_callback_fn(address.to_env())
    except Exception as error:
        raise _give_up(assignment, f"its start failed:\n{traceback.format_exc()}") from error
    write_aside(called, assignment.session.encode())


def _tail(log: Path, lines: int = 30) -> str:
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return f"(cannot be read: {error})"
