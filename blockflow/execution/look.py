"""Looking at a run from outside: what its directory says, whether it runs or not."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blockflow.errors import RunDirectoryError
from blockflow.execution.assignment import Assignment
from blockflow.execution.failures import FailureRecord, read_failures
from blockflow.execution.run_directory import RunDirectory
from blockflow.execution.tracking import count_done

__all__ = ["RunStatus", "TaskStatus", "failures_of", "look_at"]


@dataclass(frozen=True)
class TaskStatus:
    """How far a task is: blocks in all, done by its recipe, failed for good in the last session, failed attempts."""

    blocks: int
    done: int
    failed: int
    attempts_failed: int


@dataclass(frozen=True)
class RunStatus:
    """How far a run is. `state` is `running`, `done`, `failed`, `interrupted`, or `stopped` if its driver died."""

    name: str
    state: str
    session: str
    started: str
    tasks: Mapping[str, TaskStatus]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def look_at(path: Path) -> RunStatus:
    """The status of the run in directory `path`. Raises `RunDirectoryError` if there is none."""
    run = RunDirectory.open(path)
    tasks = {}
    for name, directory in run.tasks():
        assignment = _assignment(directory.description)
        records = list(read_failures(directory.failures))
        done = count_done(Path(assignment.store), directory.tracking)
        tasks[name] = TaskStatus(
            blocks=assignment.blocks,
            done=done,
            failed=len({record.block for record in records if record.final}),
            attempts_failed=len(records),
        )
    state = run.about["outcome"]
    if state is None:
        state = (
            "running" if run.is_held() else "stopped: its driver is gone, run the same config again to go on"
        )
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.about["started"]))
    return RunStatus(run.name, state, run.session, started, tasks)


def failures_of(path: Path, task: str | None = None) -> Iterator[FailureRecord]:
    """The failure records of the last session of the run in directory `path`, of one task or of all."""
    run = RunDirectory.open(path)
    names = dict(run.tasks())
    if task is not None and task not in names:
        raise RunDirectoryError(
            f"{path}: there is no task {task!r}; its tasks are {', '.join(names) or 'none yet'}"
        )
    for name, directory in names.items():
        if task in (None, name):
            yield from read_failures(directory.failures)


def _assignment(description: Path) -> Assignment:
    try:
        return Assignment.load(description)
    except (OSError, ValueError, TypeError) as error:
        raise RunDirectoryError(
            f"{description}: cannot be read: {error}. Run the same config again, or choose another run_dir"
        ) from error
