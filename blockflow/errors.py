"""What can go wrong, as types: every error of blockflow is a `BlockflowError` and says what to do next."""

__all__ = [
    "BlockflowError",
    "ComputeError",
    "ConfigError",
    "LabelError",
    "OperatorError",
    "PlanError",
    "RoiError",
    "RunDirectoryError",
    "StorageError",
    "TaskError",
    "WorkerFileError",
]


class BlockflowError(Exception):
    """Any error that blockflow raises on purpose."""


class ConfigError(BlockflowError, ValueError):
    """A config file, or a value in it, cannot be used."""


class RoiError(BlockflowError, ValueError):
    """A region of voxels is none, or lies where it must not."""


class ComputeError(BlockflowError, RuntimeError):
    """Workers cannot be started where they are to run."""


class TaskError(BlockflowError, ValueError):
    """A task cannot run as it is described."""


class WorkerFileError(TaskError):
    """A worker file cannot be found, loaded or used."""


class StorageError(BlockflowError, ValueError):
    """An array cannot be opened, created, read or written as asked."""


class LabelError(BlockflowError, ValueError):
    """Labels cannot be made or merged as asked."""


class PlanError(BlockflowError, ValueError):
    """A graph cannot be cut into tasks as it is asked for; `about` is the task or output, where it is one's."""

    def __init__(self, message: str, about: str = "") -> None:
        super().__init__(message)
        self.about = about


class RunDirectoryError(BlockflowError, RuntimeError):
    """A run directory belongs to something else, or cannot be read."""


class OperatorError(BlockflowError, ValueError):
    """An operator cannot work with these inputs or parameters, or there is no such operator."""
