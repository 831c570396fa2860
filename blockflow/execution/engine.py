"""Daisy, adapted: tasks and pipelines made, the server run, its panics caught."""

import os
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import daisy
import daisy.logging
import daisy.v2

from blockflow.errors import BlockflowError
from blockflow.execution.tracking import TrackingPlan
from blockflow.tasks import PreparedTask

__all__ = ["EnginePanicError", "build_pipeline", "build_task", "daisy_timeout", "serve", "serve_in_process"]

_Result = TypeVar("_Result")

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


def serve(pipeline: Any, observer: Any) -> Mapping[str, Any]:
    """Run a pipeline to its end; returns Daisy's `TaskState` of each task by its name.

    The server listens on the loopback interface alone: all workers are on this machine.
    """
    daisy.logging.set_log_basedir(None)  # the supervisor keeps the logs
    return _guarded(
        lambda: daisy.v2.Server().run_blockwise(pipeline, progress=observer, host="127.0.0.1", summary=False)
    )


def serve_in_process(
    pipeline: Any, observer: Any, workers: Mapping[str, Callable[[], None]]
) -> Mapping[str, Any]:
    """Run a pipeline with its workers in this process, one after the other, the server in a thread beside them.

    `workers` maps the name of each task, in an order in which they can follow each other, to a function that
    does the task's blocks with `DAISY_CONTEXT` set.
    """
    from daisy import _daisy

    addresses: dict[str, Any] = {}
    arrived = threading.Condition()
    over: set[str] = set()
    states: list[Any] = []

    def spawn_function(name: str) -> Callable[..., None]:
        def wait_for_worker(*, context: Any) -> None:
            with arrived:
                addresses[name] = context
                arrived.notify_all()
                arrived.wait_for(lambda: name in over)

        return wait_for_worker

    for task in pipeline.tasks:
        task.process_function = spawn_function(task.task_id)

    def server() -> None:
        try:
            states.append(
                _guarded(lambda: _daisy._run_distributed_server(pipeline, None, observer, host="127.0.0.1"))
            )
        except BaseException as error:  # noqa: BLE001 (it is raised again where it can be seen)
            states.append(error)
        finally:
            with arrived:
                arrived.notify_all()

    thread = threading.Thread(target=server, name="daisy-server", daemon=True)
    thread.start()
    try:
        for name, work in workers.items():
            with arrived:
                arrived.wait_for(lambda name=name: name in addresses or states)  # type: ignore[misc]
            if states:
                break
            os.environ["DAISY_CONTEXT"] = addresses[name].to_env()
            work()
            with arrived:
                over.add(name)
                arrived.notify_all()
    finally:
        os.environ.pop("DAISY_CONTEXT", None)
        with arrived:
            over.update(workers)
            arrived.notify_all()
        thread.join()
    if isinstance(states[0], BaseException):
        raise states[0]
    return dict(states[0][0])


def _guarded(run: Callable[[], _Result]) -> _Result:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return run()
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise EnginePanicError(
            f"Daisy's server broke down: {error}. What is done is kept: run again to go on"
        ) from error
    finally:
        sys.stdout.flush()
