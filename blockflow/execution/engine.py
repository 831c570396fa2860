"""Daisy, adapted: tasks and pipelines made, the server run, its panics caught."""

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import daisy
import daisy.logging
import daisy.v2

from blockflow.errors import BlockflowError, RunDirectoryError
from blockflow.execution.tracking import TrackingPlan
from blockflow.tasks import PreparedTask

__all__ = ["EnginePanicError", "build_pipeline", "build_task", "daisy_timeout", "serve", "serve_in_process"]

#: how often Daisy may hand out a block beyond the attempts that we count: a worker that is lost for no fault of
#: the block's costs Daisy a retry, but not the block an attempt
_UNCOUNTED_LOSSES = 16

#: seconds that Daisy waits longer than the supervisor does for a block that takes too long
_TIMEOUT_GRACE = 30.0


class EnginePanicError(BlockflowError):
    """Daisy's server broke down. What is done is kept."""


def daisy_timeout(timeout: float | None) -> float:
    """What to tell Daisy, whose default is 600 s, when `None` means no limit."""
    return float("inf") if timeout is None else timeout + _TIMEOUT_GRACE


def build_task(prepared: PreparedTask, tracking: TrackingPlan, description: Path) -> Any:
    """The Daisy task of a prepared task; behind it stands one spawn function, the task's supervisor."""
    task, grid = prepared.task, prepared.grid

    def supervise(*, context: Any) -> None:
        from blockflow.execution.supervisor import supervise

        supervise(description, context)

    return daisy.v2.Task(
        task.name,
        grid.total_roi,
        grid.read_roi,
        grid.write_roi,
        process_function=supervise,
        read_write_conflict=prepared.read_write_conflict,
        fit=grid.fit,
        max_workers=1,
        max_retries=task.max_retries + _UNCOUNTED_LOSSES,
        timeout=daisy_timeout(task.timeout),
        tracking_path=str(tracking.tracking_path),
        max_worker_restarts=2,  # with 0, Daisy gives up a task whose first blocks wait for another task
        skip_mask=tracking.skip,
    )


def build_pipeline(tasks: Mapping[str, Any], upstream: Mapping[str, Sequence[str]]) -> Any:
    """Daisy's pipeline of tasks by name, with an edge from each task to those that wait for it."""
    edges = [(tasks[before], tasks[name]) for name in tasks for before in upstream[name]]
    return daisy.Pipeline(list(tasks.values()), edges)


def serve(
    pipeline: Any, observer: Any, when_started: Callable[[], None], given_up: Callable[[], bool]
) -> Mapping[str, Any]:
    """Run a pipeline to its end; returns Daisy's `TaskState` of each task by its name.

    The server runs in a thread of its own, so that this one can answer signals; `when_started` is called here
    once the server is up. A server that does not end is left alone once `given_up` says so. It listens on the
    loopback interface alone: all workers are on this machine.
    """
    daisy.logging.set_log_basedir(None)  # the supervisor keeps the logs
    server = daisy.v2.Server()
    thread = _ServerThread(
        lambda watch: server.run_blockwise(pipeline, progress=watch, host="127.0.0.1", summary=False),
        pipeline,
        observer,
    )
    thread.wait_until_started()
    when_started()
    return thread.result(given_up)


def serve_in_process(
    pipeline: Any,
    observer: Any,
    when_started: Callable[[], None],
    given_up: Callable[[], bool],
    workers: Mapping[str, Callable[[Any], None]],
) -> Mapping[str, Any]:
    """Run a pipeline with its workers in this thread, one after the other, the server in a thread beside it.

    `workers` maps the name of each task, in an order in which they can follow each other, to a function that
    does the task's blocks, given the Daisy context to connect with. Daisy's own threads write `DAISY_CONTEXT` for
    whichever task they start, so in this process that tells nothing.
    """
    from daisy import _daisy

    addresses: dict[str, Any] = {}
    changed = threading.Condition()
    over: set[str] = set()

    def spawn_function(name: str) -> Callable[..., None]:
        def wait_for_worker(*, context: Any) -> None:
            with changed:
                addresses[name] = context.copy()
                addresses[name]["task_id"] = name
                changed.notify_all()
                changed.wait_for(lambda: name in over)

        return wait_for_worker

    for task in pipeline.tasks:
        task.process_function = spawn_function(task.task_id)
    thread = _ServerThread(
        lambda watch: _daisy._run_distributed_server(pipeline, None, watch, host="127.0.0.1")[0],
        pipeline,
        observer,
    )
    thread.wait_until_started()
    when_started()
    try:
        for name, work in workers.items():
            with changed:
                while name not in addresses and thread.is_alive():
                    changed.wait(0.05)
            if name not in addresses:
                break
            work(addresses[name])
            with changed:
                over.add(name)
                changed.notify_all()
    finally:
        with changed:
            over.update(workers)
            changed.notify_all()
        states = thread.result(given_up)
    return states


class _ServerThread(threading.Thread):
    """Daisy's server, in a thread: `run` is called with an observer that tells when it is up.

    `observer` is told of the tasks in the order of the pipeline.
    """

    def __init__(self, run: Callable[[Any], Any], pipeline: Any, observer: Any) -> None:
        super().__init__(name="daisy-server", daemon=True)
        self._run_server = run
        self._names = [task.task_id for task in pipeline.tasks]
        self._observer = observer
        self._up = threading.Event()
        self._states: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                self._states = self._run_server(self)
        except BaseException as error:  # noqa: BLE001 (it is raised again by `result`)
            self._error = error
        finally:
            self._up.set()

    def wait_until_started(self) -> None:
        self._up.wait()

    def result(self, given_up: Callable[[], bool]) -> Mapping[str, Any]:
        """Wait for the server's end; gives its states, or raises what ended it. None if it is `given_up` before."""
        while self.is_alive():
            self.join(0.5)
            if given_up():
                return {}
        if self._error is None:
            return dict(self._states)
        if type(self._error).__name__ == "PanicException":
            raise EnginePanicError(
                f"Daisy's server broke down: {self._error}. What is done is kept: run again to go on"
            ) from self._error
        if isinstance(self._error, RuntimeError):
            raise RunDirectoryError(
                f"Daisy's server cannot start: {self._error}. If this is about a tracking store, remove the store's "
                "folder: what it marked as done is done again then"
            ) from self._error
        raise self._error

    def on_start(self, states: Mapping[str, Any]) -> None:
        self._observer.on_start(self._in_order(states))
        self._up.set()

    def on_progress(self, states: Mapping[str, Any]) -> None:
        self._observer.on_progress(self._in_order(states))

    def on_finish(self, states: Mapping[str, Any]) -> None:
        self._observer.on_finish(self._in_order(states))

    def _in_order(self, states: Mapping[str, Any]) -> dict[str, Any]:
        return {name: states[name] for name in self._names}
