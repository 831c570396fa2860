"""What the supervisor and the workers of a task are told: as data, and what they are to call."""

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blockflow.compute import WorkersOf
from blockflow.execution.failures import FailureLog
from blockflow.execution.run_directory import RunDirectory, TaskDirectory
from blockflow.utility.files import read_json, write_json

if TYPE_CHECKING:
    from blockflow.tasks import Check

__all__ = ["Assignment", "Calls", "workers_of"]


@dataclass(frozen=True)
class Calls:
    """What a worker calls: the functions of a task, and the arguments for them."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    process_function: Any
    before_check: "Check | None"
    after_check: "Check | None"
    init_callback_fn: Any


@dataclass(frozen=True)
class Assignment:
    """What the processes of a task must know, as data: the content of `task.json`.

    `blocks` is the number of all blocks, `to_do` of those that were not done when the session began; `memory` is what
    a worker is projected to hold, in bytes, where that is known; `slots` are the lock files of the slots that the
    task's workers share with other tasks', one per worker; `import_path` is where the driver finds modules, so that
    the workers find the same; `initialises` says whether there is an `init_callback_fn` to be called.

    This module and what it imports stay light: the supervisor waits for them, and the workers for the supervisor.
    """

    run: str
    session: str
    name: str
    worker_file: str | None
    grid: dict[str, Any]
    lattice: list[str] | None
    compute: dict[str, Any]
    num_workers: int
    max_retries: int
    timeout: float | None
    memory: int | None
    blocks: int
    to_do: int
    store: str
    journal: str
    inputs: dict[str, str]
    outputs: dict[str, str]
    slots: list[str]
    upstream: list[str]
    recipe: str
    import_path: list[str]
    initialises: bool

    def save(self, path: Path) -> None:
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> "Assignment":
        return cls(**read_json(path))

    def load_calls(self) -> Calls:
        """What the workers call. Raises what loading the worker file or a function of the task raises."""
        import cloudpickle

        from blockflow.tasks import load_worker_file

        sys.path += [entry for entry in self.import_path if entry not in sys.path]
        if self.worker_file is not None:
            load_worker_file(self.worker_file)  # so that what was pickled by value finds its module
        calls: Calls = cloudpickle.loads(self.directory.call.read_bytes())
        return calls

    @property
    def run_directory(self) -> RunDirectory:
        return RunDirectory(Path(self.run), {"session": self.session, "name": self.name, "tasks": []})

    @property
    def directory(self) -> TaskDirectory:
        return self.run_directory.task(self.name)

    def workers(self, engine: tuple[str, int]) -> WorkersOf:
        """Whose workers they are, for a compute context; `engine` is where Daisy listens."""
        return workers_of(Path(self.run), self.name, self.num_workers, self.memory, engine)

    @property
    def failure_log(self) -> FailureLog:
        return FailureLog(self.directory.failures, self.name, self.max_retries + 1)


def workers_of(
    run: Path, task: str, most: int, memory: int | None, engine: tuple[str, int] | None = None
) -> WorkersOf:
    """Whose workers a compute context starts: those of a task of the run in directory `run`."""
    folder = RunDirectory(run, {"session": "", "tasks": []}).task(task).compute
    return WorkersOf(run=run, task=task, folder=folder, most=most, memory=memory, engine=engine)
