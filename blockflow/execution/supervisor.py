"""The supervisor of a task: starts its workers, watches them, and replaces those that are lost.

One process per task. It runs as Daisy's one spawn function of the task, so for Daisy the task has one worker
for as long as blocks are left; the workers themselves connect to Daisy's server on their own.
"""

import os
import signal
import socket
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blockflow.compute import (
    ComputeContext,
    WorkerHandle,
    WorkerOrder,
    create_compute_context,
    withdraw_programs,
)
from blockflow.errors import ComputeError
from blockflow.execution.assignment import Assignment
from blockflow.execution.events import EventLog, last_event
from blockflow.execution.exits import classify_exit
from blockflow.execution.failures import NOT_THE_BLOCKS_FAULT
from blockflow.utility.files import write_aside, write_json
from blockflow.utility.quantity import format_bytes

__all__ = ["supervise"]

#: workers that ended in a row without having begun a block, before the task is given up
_FAILED_STARTS = 3

#: the same for workers that ended for no fault of their own, as preempted ones do; or so many times all workers
_LOST_STARTS, _LOST_CREWS = 20, 3

#: seconds between two questions whether the engine is still there, while no worker has come to life that would notice
_ENGINE_LOOK = 2.0

#: seconds after which Daisy has noticed that a worker is gone, and gives its block to another one
_NOTICED_AFTER = 1.5

#: seconds that a worker may take to end after it has been told that no block is left
_GRACE = 30.0


@dataclass
class _Worker:
    name: str
    handle: WorkerHandle
    events: Path
    seen: dict[str, Any] | None = None
    seen_at: float = 0.0

    def last_event(self) -> tuple[dict[str, Any] | None, float]:
        """Its last event, and for how many seconds that has been so by this machine's clock."""
        event = last_event(self.events)
        if event != self.seen:
            self.seen, self.seen_at = event, time.monotonic()
        return event, time.monotonic() - self.seen_at


class _Crew:
    """The workers of one task."""

    def __init__(self, assignment: Assignment, context: ComputeContext, address: Any) -> None:
        self.assignment = assignment
        self.finished = False
        self._context = context
        self._failures = assignment.failure_log
        self._events = EventLog(assignment.run_directory.events(f"{assignment.name}-supervisor"))
        self._description = assignment.directory.description
        self._workers: list[_Worker] = []
        self._wanted = max(1, min(assignment.num_workers, assignment.to_do))
        self._started = 0
        self._ebbing = False  # Daisy has told a worker that it has no block to give
        self._lost_at = float("-inf")
        self._failed_starts = 0
        self._lost_starts = 0
        address = address.copy()
        address["worker_id"] = -1
        self._environment = {"DAISY_CONTEXT": address.to_env(), **context.environment()}

    @property
    def is_empty(self) -> bool:
        return not self._workers

    @property
    def is_waiting(self) -> bool:
        """Whether there are workers, and none has come to life."""
        return bool(self._workers) and all(worker.handle.is_waiting() for worker in self._workers)

    def fill(self) -> None:
        """Start workers until there are as many as wanted."""
        if self._ebbing and time.monotonic() < self._lost_at + _NOTICED_AFTER:
            return
        names = [self._next_name() for _ in range(self._wanted - len(self._workers))]
        if not names:
            return
        program = [sys.executable, "-P", "-m", "blockflow.execution.worker", str(self._description)]
        orders = [WorkerOrder([*program, name], self._log(name)) for name in names]
        handles = self._context.start_workers(orders, self._environment)
        for name, handle in zip(names, handles, strict=True):
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
            if worker.handle.memory is not None and self._end_too_large(worker, worker.handle.memory):
                continue
            if worker.handle.is_waiting():
                if len(self._workers) > self._wanted or self.finished:
                    self._end(worker, "was not needed any more")
            elif self.finished or self.assignment.timeout is not None:
                self._end_overdue(worker)

    def ask_to_leave(self) -> None:
        """Let every worker finish its block; one that waits for a block is ended, since it loses none."""
        for worker in list(self._workers):
            self._ask_to_leave(worker)

    def _ask_to_leave(self, worker: _Worker) -> None:
        event, _ = worker.last_event()
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
        cause = worker.handle.cause()
        exit_ = classify_exit(code, last_event(worker.events), cause)
        why = exit_.message + (f" ({explanation})" if (explanation := worker.handle.explanation()) else "")
        self._events.write("worker ended", worker=worker.name, why=why)
        if exit_.finished:
            self._ebbing = True
            self._wanted = 1
            # what was lost a moment ago Daisy may still believe to be in work: then somebody must ask again
            self.finished = time.monotonic() >= self._lost_at + _NOTICED_AFTER
            return
        more = self._context.give_more_memory(worker.handle) if cause == "out_of_memory" else None
        if exit_.block is not None:
            was = "was " if code < 0 and cause is None else ""
            self._record_lost(
                worker, exit_.block, cause or "killed", f"the worker {was}{why} while it did the block", more
            )
        elif cause in ("unreachable", "out_of_memory"):
            self._record_failed_start(worker, cause, f"the worker {why}")
        if more is not None:
            self._renew_smaller(worker, more)
        elif exit_.progressed:
            self._failed_starts = self._lost_starts = 0
        elif cause in NOT_THE_BLOCKS_FAULT:
            self._note_lost_start(worker, why)
        else:
            self._note_failed_start(worker, why)

    def _renew_smaller(self, worker: _Worker, more: str) -> None:
        """Replace the workers that may hold no more than this one, which has run out of memory."""
        self._events.write("more memory", worker=worker.name, what=more)
        enough = worker.handle.memory or 0
        for other in list(self._workers):
            if (
                other.handle.memory is not None
                and other.handle.memory <= enough
                and not other.handle.is_waiting()
            ):
                self._ask_to_leave(other)

    def _note_lost_start(self, worker: _Worker, how: str) -> None:
        self._lost_starts += 1
        if self._lost_starts >= max(_LOST_STARTS, _LOST_CREWS * self._wanted):
            self.kill()
            raise _give_up(
                self.assignment,
                f"{self._lost_starts} workers in a row were lost before they did a block; the last one, {worker.name}, "
                f"{how}",
            )

    def _note_failed_start(self, worker: _Worker, how: str) -> None:
        self._failed_starts += 1
        if self._failed_starts >= _FAILED_STARTS:
            self.kill()
            said = _tail(self._log(worker.name))
            raise _give_up(
                self.assignment,
                f"{self._failed_starts} workers in a row {how} before they did a block. {said}",
            )

    def _end_too_large(self, worker: _Worker, limit: int) -> bool:
        """End a worker that holds more memory than it may; says whether it did."""
        held = worker.handle.resident_memory()
        if held <= limit:
            return False
        message = f"the worker held {format_bytes(held)} of memory, its limit is {format_bytes(limit)}"
        event = last_event(worker.events)
        more = self._context.give_more_memory(worker.handle)
        if event is not None and event["event"] == "start":
            self._record_lost(worker, event["block"], "out_of_memory", message, more)
            self._failed_starts = 0
        self._end(worker, "out of memory")
        if more is not None:
            self._renew_smaller(worker, more)
        elif event is None or event["event"] != "start":
            self._note_failed_start(worker, f"were ended, since {message},")
        return True

    def _end_overdue(self, worker: _Worker) -> None:
        (event, seconds), timeout = worker.last_event(), self.assignment.timeout
        if event is None:
            return
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

    def _record_lost(
        self, worker: _Worker, block: int, cause: str, message: str, more_memory: str | None = None
    ) -> None:
        self.finished = False
        self._lost_at = time.monotonic()
        if self._ebbing:  # the others may be busy for long: one more worker for the block that comes back
            self._wanted = min(self.assignment.num_workers, len(self._workers) + 1)
        if more_memory is not None and worker.handle.memory is not None:
            self._failures.needs_more_memory(block, worker.handle.memory)
            message = f"{message}; {more_memory}"
        from blockflow.tasks import BlockGrid

        grid = BlockGrid.from_json(self.assignment.grid)
        position = grid.position_of(block)
        rois = grid.read_roi_of(position), grid.write_roi_of(position)
        self._record(worker, block, rois, cause, message)

    def _record_failed_start(self, worker: _Worker, cause: str, message: str) -> None:
        self._record(worker, None, None, cause, message)

    def _record(
        self, worker: _Worker, block: int | None, rois: tuple[Any, Any] | None, cause: str, message: str
    ) -> None:
        host, job = worker.handle.place()
        log = str(self._log(worker.name))
        self._failures.add(block, rois, cause, message, worker=worker.name, log=log, host=host, job=job)

    def _log(self, name: str) -> Path:
        return self.assignment.directory.logs / f"{name}.log"


def supervise(description: Path, address: Any, parent: int) -> None:
    """Run the workers of a task until no block is left.

    Parameters
    ----------
    description : Path
        The task's `task.json`.
    address : daisy.Context
        Where the driver listens.
    parent : int
        The process that this one was forked from, and is not to outlive.

    Raises
    ------
    SystemExit
        With a message, if the task cannot go on: its workers cannot start, the driver is gone, or the run directory
        cannot be read or written.
    """
    try:
        _supervise(description, address, parent)
    except OSError as error:
        raise SystemExit(f"{description}: the supervisor cannot go on: {error}") from error


def _supervise(description: Path, address: Any, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides; it is asked through the stop file
    assignment = Assignment.load(description)
    run = assignment.run_directory
    if assignment.directory.why_given_up() is not None:
        raise SystemExit(
            f"task {assignment.name}: given up"
        )  # Daisy starts a supervisor that failed once more
    assignment.directory.logs.mkdir(parents=True, exist_ok=True)
    write_json(run.address, {"host": address["hostname"], "port": int(address["port"])})
    _call_init(assignment, address)
    engine = address["hostname"], int(address["port"])
    context = create_compute_context(assignment.compute).of_task(assignment.workers(engine))
    crew = _Crew(assignment, context, address)
    asked_to_leave = False
    engine_seen_at = time.monotonic()
    try:
        while True:
            if crew.is_waiting and time.monotonic() > engine_seen_at + _ENGINE_LOOK:
                if not _is_there(engine):
                    return
                engine_seen_at = time.monotonic()
            crew.look()
            if os.getppid() != parent:
                raise SystemExit("the driver is gone, or what this supervisor was forked from")
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
            time.sleep(context.look_every)
    except ComputeError as error:
        raise _give_up(assignment, str(error)) from error
    finally:
        crew.kill()
        context.close()


def _is_there(engine: tuple[str, int]) -> bool:
    """Whether Daisy's server still listens: when every block is settled, it does not, whoever waits for a node."""
    try:
        socket.create_connection(engine, timeout=5.0).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        pass
    return True


def _give_up(assignment: Assignment, why: str) -> SystemExit:
    """Note for this session that the task cannot go on; what is returned is to be raised."""
    message = f"task {assignment.name}: {why}"
    write_json(assignment.directory.given_up, {"session": assignment.session, "why": message})
    return SystemExit(message)


def _call_init(assignment: Assignment, address: Any) -> None:
    """Call the task's `init_callback_fn` once in a session, however often the supervisor is started."""
    called = assignment.directory.path / "initialised"
    if not assignment.initialises or (called.exists() and called.read_bytes() == assignment.session.encode()):
        return
    withdraw_programs()
    try:
        assignment.load_calls().init_callback_fn(address.to_env())
    except Exception as error:
        raise _give_up(assignment, f"its start failed:\n{traceback.format_exc()}") from error
    write_aside(called, assignment.session.encode())


def _tail(log: Path, lines: int = 30) -> str:
    """What a worker said last, for an error."""
    try:
        said = "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return "The last one never wrote a log."
    except OSError as error:
        said = f"(cannot be read: {error})"
    return f"The last one's log, {log}, ends with:\n{said}"
