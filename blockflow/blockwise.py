"""DaCapo's names, on blockflow's machinery: `run_blockwise` and `DaCapoBlockwiseTask`; and `segment_blockwise`.

Source of the signatures: `dacapo.blockwise`.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from funlib.geometry import Roi

from blockflow.compute import create_compute_context
from blockflow.errors import TaskError
from blockflow.tasks import (
    BlockwiseTask,
    Check,
    Recipe,
    call_check,
    find_worker_file,
    load_worker_file,
    prepare,
)
from blockflow.utility.lazy import lazy_names

if TYPE_CHECKING:
    import daisy

__all__ = ["DaCapoBlockwiseTask", "run_blockwise"]

__getattr__ = lazy_names(__name__, {"segment_blockwise": "blockflow.segment.run"})  # it stands below


@dataclass(frozen=True)
class _Options:
    """The reserved keyword arguments, apart from those of the worker."""

    name: str | None = None
    run_dir: str | Path | None = None
    process_function: Callable[..., Any] | None = None
    fit: str | None = None
    read_write_conflict: bool | None = None
    check_function: Check | tuple[Check, Check] | None = None
    init_callback_fn: Callable[[Any], Any] | None = None
    compute_context: Any = None

    @classmethod
    def take_from(cls, kwargs: dict[str, Any]) -> "_Options":
        """Remove the reserved arguments from `kwargs`; what stays is the worker's."""
        return cls(**{name: kwargs.pop(name) for name in cls.__dataclass_fields__ if name in kwargs})


def run_blockwise(
    worker_file: str | Path | None,
    total_roi: Roi,
    read_roi: Roi,
    write_roi: Roi,
    num_workers: int = 16,
    max_retries: int = 1,
    timeout: float | None = None,
    upstream_tasks: "Sequence[daisy.Task | BlockwiseTask] | None" = None,
    *args: Any,
    **kwargs: Any,
) -> bool:
    """Run a worker file over all blocks of a volume.

    Parameters
    ----------
    worker_file : str or Path
        A file with `spawn_worker` and `start_worker`, or the name of a bundled one. `None` if
        `process_function` is given.
    total_roi : Roi
        What to process, context included, in lattice units (world units, unless a voxel size or an offset is
        no whole number of them).
    read_roi, write_roi : Roi
        What one block reads and writes; shifted over the total ROI.
    num_workers : int
        How many worker processes there are at one time.
    max_retries : int
        How often a block that failed is tried again.
    timeout : float, optional
        Seconds that a block may take; then its worker is killed and the block tried again. `None`: any time.
    upstream_tasks : sequence, optional
        Tasks, as `DaCapoBlockwiseTask` gives them, that run too: a block starts as soon as theirs that write
        where it reads are done.
    *args, **kwargs
        For `spawn_worker`. These names are not the worker's, but set:
        `name` (of the task; default: the file's), `run_dir` (default: `blockflow_runs/STEM-HASH`),
        `process_function(block)` in place of a worker file,
        `fit` (`valid`, `overhang`, `shrink`; default: the worker file's, else `valid`),
        `read_write_conflict` (default: the worker file's, else `True`),
        `check_function` (one function, asked before and after a block, or a pair of them),
        `init_callback_fn(context)` (called once when the task starts, with Daisy's context as text),
        `compute_context` (a name, a mapping or an object; default `local`).

    Returns
    -------
    bool
        Whether every block is done. The run directory holds the details.

    Raises
    ------
    BlockflowError
        If something is wrong with the arguments, before anything has run.
    """
    from blockflow.execution.driver import run_prepared
    from blockflow.execution.progress import progress_for

    options = _Options.take_from(kwargs)
    task = _task(
        options,
        worker_file,
        total_roi,
        read_roi,
        write_roi,
        num_workers,
        max_retries,
        timeout,
        upstream_tasks,
        args,
        kwargs,
    )
    prepared = prepare([task])
    outputs = sorted(prepared[-1].outputs.values())
    outcome = run_prepared(
        prepared,
        Path(options.run_dir)
        if options.run_dir is not None
        else default_run_dir(
            _stem(task), task.worker_file, task.name, outputs or [list(task.args), task.kwargs]
        ),
        name=task.name,
        compute=create_compute_context(options.compute_context),
        progress=progress_for(),
        unknown_outputs=None if options.run_dir is not None or outputs else _unknown_outputs(task),
    )
    return outcome.complete


def DaCapoBlockwiseTask(  # noqa: N802 (DaCapo's name)
    worker_file: str | Path | None,
    total_roi: Roi,
    read_roi: Roi,
    write_roi: Roi,
    num_workers: int = 16,
    max_retries: int = 2,
    timeout: float | None = None,
    upstream_tasks: "Sequence[daisy.Task | BlockwiseTask] | None" = None,
    *args: Any,
    **kwargs: Any,
) -> "daisy.Task":
    """A `daisy.Task` for a worker file; parameters as for `run_blockwise`.

    As one of the `upstream_tasks` of `blockflow.run_blockwise` it has all of blockflow's promises. Under plain
    `daisy.run_blockwise` it has Daisy's own: there `check_function` is asked before a block only, and
    `init_callback_fn` and `run_dir` are not used.
    """
    import daisy

    options = _Options.take_from(kwargs)
    task = _task(
        options,
        worker_file,
        total_roi,
        read_roi,
        write_roi,
        num_workers,
        max_retries,
        timeout,
        upstream_tasks,
        args,
        kwargs,
    )
    loaded = load_worker_file(task.worker_file) if task.worker_file else None
    check = (
        task.check_function if task.check_function is not None else getattr(loaded, "check_function", None)
    )
    before = check[0] if isinstance(check, tuple) else check
    with warnings.catch_warnings():
        # Daisy advises against `upstream_tasks`, `num_workers` and check functions; they are DaCapo's interface
        warnings.simplefilter("ignore")
        made = daisy.Task(
            task.name,
            total_roi,
            read_roi,
            write_roi,
            process_function=task.process_function or _plain_worker(task),
            check_function=None if before is None else (lambda block: call_check(before, block, task.kwargs)),
            read_write_conflict=_first(
                task.read_write_conflict, getattr(loaded, "read_write_conflict", True)
            ),
            fit=_first(task.fit, getattr(loaded, "fit", "valid")),
            num_workers=num_workers,
            max_retries=max_retries,
            timeout=float("inf") if timeout is None else timeout,
            upstream_tasks=list(upstream_tasks or ()),
        )
    made.blockflow_task = task
    return made


def _first(given: Any, default: Any) -> Any:
    return default if given is None else given


def _plain_worker(task: BlockwiseTask) -> Callable[[], None]:
    """The worker function under plain Daisy: it loads the file by path in Daisy's worker process."""
    path, args, kwargs = task.worker_file, task.args, dict(task.kwargs)

    def run_worker() -> None:
        load_worker_file(path).spawn_worker(*args, **kwargs)()  # type: ignore[arg-type]

    return run_worker


def _task(
    options: _Options,
    worker_file: str | Path | None,
    total_roi: Roi,
    read_roi: Roi,
    write_roi: Roi,
    num_workers: int,
    max_retries: int,
    timeout: float | None,
    upstream_tasks: Sequence[Any] | None,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> BlockwiseTask:
    path = None if worker_file is None else find_worker_file(worker_file)
    name = options.name
    if name is None:
        name = path.stem if path else getattr(options.process_function, "__name__", "task").strip("<>")
    return BlockwiseTask(
        name=name,
        total_roi=total_roi,
        read_roi=read_roi,
        write_roi=write_roi,
        worker_file=path,
        process_function=options.process_function,
        args=args,
        kwargs=kwargs,
        fit=options.fit,
        read_write_conflict=options.read_write_conflict,
        check_function=options.check_function,
        init_callback_fn=options.init_callback_fn,
        num_workers=num_workers,
        max_retries=max_retries,
        timeout=timeout,
        upstream=tuple(task_of(task) for task in upstream_tasks or ()),
    )


def task_of(task: Any) -> BlockwiseTask:
    """The description of a task that `upstream_tasks` names: one of ours, or a `daisy.Task` with a function."""
    if isinstance(task, BlockwiseTask):
        return task
    ours = getattr(task, "blockflow_task", None)
    if isinstance(ours, BlockwiseTask):
        return ours
    import daisy.v2

    if not isinstance(task, daisy.v2.Task) or task.process_function is None:
        raise TaskError(
            f"an upstream task must be a DaCapoBlockwiseTask, a BlockwiseTask or a daisy.Task with a process_function, "
            f"not {task!r}"
        )
    seconds = task.timeout_secs
    return BlockwiseTask(
        name=task.task_id,
        total_roi=task.total_roi,
        read_roi=task.read_roi,
        write_roi=task.write_roi,
        process_function=task.process_function,
        fit=task.fit,
        read_write_conflict=task.read_write_conflict,
        check_function=(task.check_function, lambda _block: True) if task.check_function else None,
        num_workers=task.max_workers,
        max_retries=task.max_retries,
        timeout=None if seconds is None or seconds == float("inf") else seconds,
        upstream=tuple(task_of(before) for before in getattr(task, "_v1_upstream_tasks", None) or ()),
    )


def _stem(task: BlockwiseTask) -> str:
    return task.worker_file.stem if task.worker_file else task.name


#: where runs are that were not given a run_dir
_RUNS = Path("blockflow_runs")


def _identity(stem: str, file: Path | None, name: str, **more: Any) -> str:
    return f"{stem}-{Recipe.of(file=str(file), name=name, **more).hash[:10]}"


def default_run_dir(stem: str, file: Path | None, name: str, outputs: Any) -> Path:
    """`blockflow_runs/STEM-HASH`, the same for the same file, name and outputs."""
    return _RUNS / _identity(stem, file, name, outputs=outputs)


def _unknown_outputs(task: BlockwiseTask) -> Path:
    """The file that stands for all that this worker file may write, whatever its arguments are."""
    return _RUNS / f"{_identity(_stem(task), task.worker_file, task.name)}.last"
