"""Taking back the marks of blocks, so that the next run does them again."""

from pathlib import Path

from funlib.geometry import Roi

from blockflow.errors import RunDirectoryError
from blockflow.execution.run_directory import RunDirectory
from blockflow.execution.tracking import unmark

__all__ = ["reset"]


def reset(path: Path, task: str | None = None, roi: Roi | None = None) -> dict[str, int]:
    """Let the next run do blocks again, whatever was done.

    Parameters
    ----------
    path : Path
        A run directory that no driver has.
    task : str, optional
        Only this task; else all.
    roi : Roi, optional
        Only blocks that write in here, in lattice units; else all.

    Returns
    -------
    dict
        How many marks were taken back, by task.

    Raises
    ------
    RunDirectoryError, LockedError
        If there is no such run or task, the ROI has another number of axes, or a driver has the run.
    """
    with RunDirectory.hold(path) as run:
        names = dict(run.tasks())
        if task is not None and task not in names:
            raise RunDirectoryError(
                f"{path}: there is no task {task!r}; its tasks are {', '.join(names) or 'none yet'}"
            )
        return {
            name: unmark(directory.tracking, roi) for name, directory in names.items() if task in (None, name)
        }
