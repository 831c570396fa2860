"""The description of a task: what to run over which blocks. Pure data; nothing is loaded or opened."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from funlib.geometry import Roi

from blockflow.errors import TaskError
from blockflow.storage import ArraySpec, Lattice, ResultsSpec

__all__ = ["BlockwiseTask", "Check", "in_order"]

#: says of a block whether it is completed; it may also take the task's keyword arguments
Check = Callable[..., Any]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True, eq=False)
class BlockwiseTask:
    """One task of a run.

    Parameters
    ----------
    name : str
        Unique within the run; it names the task's folder.
    total_roi : Roi or None
        What the task covers, context included, in lattice units. `None`: what its output covers (without a
        known output, its input), grown by the context.
    read_roi, write_roi : Roi
        What one block reads and writes, as templates; see `BlockGrid`.
    worker_file : Path, optional
        The file with `spawn_worker`; or else
    process_function : callable, optional
        `process_function(block)`, or a function without arguments that loops over blocks by itself.
    args, kwargs
        What `spawn_worker` is called with; check functions may take the keyword arguments too.
    fit, read_write_conflict, check_function, init_callback_fn
        As in `blockflow.run_blockwise`; `None` leaves them to the worker file.
    num_workers, max_retries, timeout
        Workers at one time; attempts beyond the first; seconds that a block may take (`None`: any time).
    memory : int, optional
        Bytes of main memory that a worker is projected to hold, where that is known.
    upstream : tuple of BlockwiseTask
        Tasks whose blocks must be done before the blocks here that read where they write.
    lattice : Lattice, optional
        That of the ROIs, where it is another than that of all arrays of the run.
    inputs, outputs : mapping of str to str
        Names and paths of arrays, for a worker file that does not tell by its `arrays` function. What is created
        for the task is given as an `ArraySpec` or a `ResultsSpec` in place of its path.

    Raises
    ------
    TaskError
        If a value cannot be what it says.
    """

    name: str
    total_roi: Roi | None
    read_roi: Roi
    write_roi: Roi
    worker_file: Path | None = None
    process_function: Callable[..., Any] | None = None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    fit: str | None = None
    read_write_conflict: bool | None = None
    check_function: Check | tuple[Check, Check] | None = None
    init_callback_fn: Callable[[Any], Any] | None = None
    num_workers: int = 1
    max_retries: int = 2
    timeout: float | None = None
    lattice: Lattice | None = None
    memory: int | None = None
    upstream: tuple["BlockwiseTask", ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str | ArraySpec | ResultsSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise TaskError(
                f"task name {self.name!r} must be 1 to 100 letters, digits, '_', '-' or '.', and not begin with "
                "'-' or '.': it names a folder"
            )
        if (self.worker_file is None) == (self.process_function is None):
            raise TaskError(f"task {self.name}: give either a worker file or a process_function")
        if self.num_workers < 1:
            raise TaskError(f"task {self.name}: num_workers is {self.num_workers}, at least 1 is needed")
        if self.max_retries < 0:
            raise TaskError(f"task {self.name}: max_retries is {self.max_retries}, it must be 0 or more")
        if self.timeout is not None and not self.timeout > 0:
            raise TaskError(
                f"task {self.name}: timeout is {self.timeout}; give seconds, more than 0, or None for no limit"
            )
        if self.memory is not None and self.memory < 1:
            raise TaskError(f"task {self.name}: memory is {self.memory}; give bytes, more than 0, or None")


def in_order(tasks: Iterable[BlockwiseTask]) -> list[BlockwiseTask]:
    """The tasks and all that they depend on, each after what it depends on.

    Raises `TaskError` if two tasks share a name.
    """
    ordered: dict[str, BlockwiseTask] = {}
    waiting = [(task, False) for task in reversed(list(tasks))]
    while waiting:
        task, upstream_is_in = waiting.pop()
        known = ordered.get(task.name)
        if known is task:
            continue
        if not upstream_is_in:
            waiting.append((task, True))
            waiting += [(upstream, False) for upstream in reversed(task.upstream)]
        elif known is not None:
            raise TaskError(f"two tasks of one run are called {task.name!r}: give each a name of its own")
        else:
            ordered[task.name] = task
    return list(ordered.values())
