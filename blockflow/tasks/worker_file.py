"""Worker files: found by name or path, loaded by path, and asked what they say of themselves."""

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from blockflow.errors import WorkerFileError
from blockflow.tasks.task import Check
from blockflow.utility.python_files import folders_of_files, load_module

__all__ = [
    "WorkerFile",
    "bundled_worker_files",
    "call_check",
    "find_worker_file",
    "folders_of_files",
    "load_module",
    "load_worker_file",
]


def _bundled_folder() -> Path:
    package = Path(__file__).parents[1]
    installed = package / "workers"
    return installed if installed.is_dir() else package.parent / "workers"


def bundled_worker_files() -> dict[str, Path]:
    """The worker files that come with blockflow, by name."""
    return {path.stem: path for path in sorted(_bundled_folder().glob("*.py"))}


def find_worker_file(name: str | Path, folder: Path | None = None) -> Path:
    """The path of a worker file, given by the name of a bundled one or by its path.

    A relative path counts from `folder` (default: the working directory). Raises `WorkerFileError` if it is
    not there.
    """
    path = (folder or Path.cwd()) / name
    if path.is_file():
        return path.absolute()
    bundled = bundled_worker_files()
    if str(name) in bundled:
        return bundled[str(name)].absolute()
    raise WorkerFileError(
        f"worker file {str(name)!r}: there is no file {path}, and no bundled one of this name "
        f"(these are {', '.join(bundled)})"
    )


@dataclass(frozen=True)
class WorkerFile:
    """A loaded worker file."""

    path: Path
    module: ModuleType

    @property
    def spawn_worker(self) -> Callable[..., Any]:
        return self.module.spawn_worker  # type: ignore[no-any-return]

    @property
    def fit(self) -> str:
        return getattr(self.module, "fit", "valid")

    @property
    def read_write_conflict(self) -> bool:
        return getattr(self.module, "read_write_conflict", True)

    @property
    def check_function(self) -> Check | tuple[Check, Check] | None:
        return getattr(self.module, "check_function", None)

    @property
    def init_callback_fn(self) -> Callable[[Any], Any] | None:
        return getattr(self.module, "init_callback_fn", None)

    @property
    def arrays(self) -> Callable[..., Mapping[str, Any]] | None:
        return getattr(self.module, "arrays", None)


def load_worker_file(path: str | Path) -> WorkerFile:
    """Load a worker file, as `load_module` does.

    Raises
    ------
    WorkerFileError
        If the file cannot be run (with its own traceback) or has no `spawn_worker`.
    """
    path = Path(path).absolute()
    module = load_module(path)
    if not callable(getattr(module, "spawn_worker", None)):
        del sys.modules[module.__name__]
        raise WorkerFileError(
            f"worker file {path} defines no spawn_worker. Add `def spawn_worker(**kwargs)` that returns a function "
            "without arguments which does blocks"
        )
    return WorkerFile(path, module)


def call_check(check: Check, block: Any, kwargs: Mapping[str, Any]) -> bool:
    """Ask a check function about a block, with those of the task's keyword arguments that it takes."""
    parameters = inspect.signature(check).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return bool(check(block, **kwargs))
    names = [parameter.name for parameter in parameters][1:]
    return bool(check(block, **{name: kwargs[name] for name in names if name in kwargs}))
