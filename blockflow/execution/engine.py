"""Daisy, adapted: tasks and pipelines made, the server run, its panics caught."""

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
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


def build_task(prepared: PreparedTask, tracking: TrackingPlan) -> Any:
    """The Daisy task of a prepared task; `serve` gives it its one spawn function, which stands for all its workers."""
    task, grid = prepared.task, prepared.grid
    return daisy.v2.Task(
        task.name,
        grid.total_roi,
        grid.read_roi,
        grid.write_roi,
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
    pipeline: Any,
    observer: Any,
    when_started: Callable[[], None],
    given_up: Callable[[], bool],
    supervise: Callable[[str, Any], None],
) -> Mapping[str, Any]:
    """Run a pipeline to its end; returns Daisy's `TaskState` of each task by its name.

    The server runs in a thread of its own, so that this one can answer signals; `when_started` is called here
    once the server is up. A server that does not end is left alone once `given_up` says so. It listens on the
    loopback interface alone: all workers are on this machine. `supervise` is called in threads of Daisy's, with the
    name of a task that has blocks to be done, and the Daisy context to connect with; it returns when they are done.
    """
    thread = _ServerThread(pipeline, observer, supervise)
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
    addresses: dict[str, Any] = {}
    changed = threading.Condition()
    over: set[str] = set()

    def wait_for_worker(name: str, context: Any) -> None:
        with changed:
            addresses[name] = context.copy()
            addresses[name]["task_id"] = name
            changed.notify_all()
            changed.wait_for(lambda: name in over)

    thread = _ServerThread(pipeline, observer, wait_for_worker)
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


def _spawn_function(spawn: Callable[[str, Any], None], name: str) -> Callable[..., None]:
    """What Daisy calls for a task; it looks at the signature."""

    def spawn_worker(*, context: Any) -> None:
        try:
            spawn(name, context)
        except BlockflowError as error:
            raise error.with_traceback(None) from None  # Daisy shows it to whoever runs this

    return spawn_worker


class _ServerThread(threading.Thread):
    """Daisy's server, in a thread.

    `spawn` is called with the name of each task that wants its worker, and the Daisy context; `observer` is told of
    the tasks in the order of the pipeline.
    """

    def __init__(self, pipeline: Any, observer: Any, spawn: Callable[[str, Any], None]) -> None:
        super().__init__(name="daisy-server", daemon=True)
        daisy.logging.set_log_basedir(None)  # the supervisor keeps the logs
        for task in pipeline.tasks:
            task.process_function = _spawn_function(spawn, task.task_id)
        self._pipeline = pipeline
        self._names = [task.task_id for task in pipeline.tasks]
        self._observer = observer
        self._up = threading.Event()
        self._states: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        from daisy import _daisy

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                self._states, _ = _daisy._run_distributed_server(self._pipeline, None, self, host="127.0.0.1")
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
