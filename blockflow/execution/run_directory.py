"""The run directory: where everything that a run leaves behind has its place."""

import getpass
import os
import platform
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from blockflow.errors import BlockflowError, RunDirectoryError
from blockflow.utility.files import read_json, write_aside, write_json
from blockflow.utility.lease import Lease

__all__ = ["FORMAT", "RunDirectory", "TaskDirectory"]

FORMAT = 1

#: what run.json must have to be of use
_KEYS = {"name", "session", "created", "started", "outcome", "tasks"}


#: what values of run.json must be, since paths and dates are made of them
_SOUND: dict[str, Callable[[Any], bool]] = {
    "name": lambda value: isinstance(value, str),
    "session": lambda value: isinstance(value, str) and "/" not in value,
    "started": lambda value: isinstance(value, int | float),
    "tasks": lambda value: (
        isinstance(value, list) and all(isinstance(name, str) and "/" not in name for name in value)
    ),
}


class TaskDirectory:
    """The folder of one task within a run directory."""

    def __init__(self, path: Path, session: str) -> None:
        self.path = path
        self.session = session

    @property
    def description(self) -> Path:
        """The task as data, for people and for its workers."""
        return self.path / "task.json"

    @property
    def call(self) -> Path:
        """What the workers call and with what, pickled by value."""
        return self.path / "call.pkl"

    @property
    def tracking(self) -> Path:
        """The stores that say which blocks are done, by recipe and geometry."""
        return self.path / "tracking"

    @property
    def failures(self) -> Path:
        """The failure records of this session."""
        return self.path / "failures" / self.session

    @property
    def given_up(self) -> Path:
        """When and why the task was given up."""
        return self.path / "given-up.json"

    def why_given_up(self) -> str | None:
        """Why the task was given up in this session, if it was."""
        if not self.given_up.exists():
            return None
        try:
            note = read_json(self.given_up)
            return str(note["why"]) if note["session"] == self.session else None
        except (ValueError, KeyError, TypeError):  # it is written aside, so no session of ours wrote this
            return None

    @property
    def compute(self) -> Path:
        """What a compute context keeps: how a scheduler was asked, and where its workers find their supervisor."""
        return self.path / "compute"

    @property
    def logs(self) -> Path:
        """What the supervisor and the workers print."""
        return self.path / "logs"


class RunDirectory:
    """A run directory that is there; see `begin` and `open`.

    A session is one start of the driver: each resume is a session of its own.
    """

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path = path
        self.about = about

    @classmethod
    @contextmanager
    def begin(
        cls, path: Path, name: str, config: str | None = None, origin: Mapping[str, Any] | None = None
    ) -> "Iterator[RunDirectory]":
        """A session in `path`, which is new, empty, or the run directory of earlier sessions; locked while it lasts.

        Raises `RunDirectoryError` if it is something else's folder, another run's or another format's, and
        `LockedError` if another driver has it.
        """
        path = path.absolute()
        with _usable(path):
            path.mkdir(parents=True, exist_ok=True)
            if not (path / "run.json").exists() and not all(map(_is_of_a_beginning, path.iterdir())):
                raise RunDirectoryError(
                    f"{path}: this folder is not empty and no run directory (it has no run.json). "
                    "Choose another run_dir"
                )
        with ExitStack() as stack:
            with _usable(path):
                stack.enter_context(_lock(path))
                run = cls._new_session(path, name, config, origin)
            yield run

    @classmethod
    def _new_session(
        cls, path: Path, name: str, config: str | None, origin: Mapping[str, Any] | None
    ) -> "RunDirectory":
        old = cls.open(path).about if (path / "run.json").exists() else None
        if old is not None and old["name"] != name:
            raise RunDirectoryError(
                f"{path}: this is the run directory of {old['name']!r}, not of {name!r}. "
                "Choose another run_dir, or give the run its old name"
            )
        now = time.time()
        session = time.strftime("%Y%m%dT%H%M%S", time.localtime(now)) + "-" + uuid.uuid4().hex[:6]
        run = cls(
            path,
            {
                "format": FORMAT,
                "name": name,
                "created": old["created"] if old else now,
                "session": session,
                "started": now,
                "ended": None,
                "outcome": None,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "user": _user(),
                "versions": {
                    "python": platform.python_version(),
                    **{name: metadata.version(name) for name in ("blockflow", "daisy", "zarr", "numpy")},
                },
                "tasks": [],
                "compute": old.get("compute") if old else None,
                "origin": None if origin is None else dict(origin),
            },
        )
        run.stop_file.unlink(missing_ok=True)
        run.save()
        if config is not None:
            write_aside(path / "config.yaml", config.encode())
        return run

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """An existing run directory, to look at. Raises `RunDirectoryError` if it is none that can be read."""
        path = path.absolute()
        try:
            about = read_json(path / "run.json")
        except FileNotFoundError:
            raise RunDirectoryError(f"{path}: there is no run directory here (no run.json)") from None
        except (OSError, ValueError) as error:
            raise RunDirectoryError(
                f"{path}: run.json cannot be read: {error}. Restore it, or choose another run_dir"
            ) from error
        if isinstance(about, dict) and about.get("format") == FORMAT and not about.keys() >= _KEYS:
            raise RunDirectoryError(
                f"{path}: run.json lacks {', '.join(sorted(_KEYS - about.keys()))}. Restore it, remove the "
                "folder to begin anew with nothing known as done, or choose another run_dir"
            )
        if not isinstance(about, dict) or about.get("format") != FORMAT:
            found = about.get("format") if isinstance(about, dict) else None
            raise RunDirectoryError(
                f"{path}: this run directory has format {found}, this blockflow reads format {FORMAT}. "
                "Choose another run_dir, or use the version that made it"
            )
        if (wrong := sorted(key for key, holds in _SOUND.items() if not holds(about[key]))) != []:
            raise RunDirectoryError(
                f"{path}: run.json holds nonsense as {', '.join(wrong)}. Restore it, remove the folder to "
                "begin anew with nothing known as done, or choose another run_dir"
            )
        return cls(path, about)

    @classmethod
    @contextmanager
    def hold(cls, path: Path) -> "Iterator[RunDirectory]":
        """An existing run directory, locked, to change what it says. Raises `LockedError` if a driver has it."""
        run = cls.open(path)
        with _lock(run.path):
            yield run

    def save(self) -> None:
        write_json(self.path / "run.json", self.about)

    def is_held(self) -> bool:
        """Whether a driver that lives has this run directory."""
        return _lock(self.path).holder() is not None

    @property
    def session(self) -> str:
        return str(self.about["session"])

    @property
    def name(self) -> str:
        return str(self.about["name"])

    @property
    def stop_file(self) -> Path:
        """When it is there the run is to stop; it says how: `drain` or `now`."""
        return self.path / "stop"

    @property
    def plan(self) -> Path:
        """What the planner made of a graph."""
        return self.path / "plan.json"

    @property
    def address(self) -> Path:
        """Where the driver listens."""
        return self.path / "address.json"

    def events(self, process: str) -> Path:
        """The event file of a process of this session."""
        return self.path / "events" / f"{self.session}.{process}.jsonl"

    def task(self, name: str) -> TaskDirectory:
        return TaskDirectory(self.path / "tasks" / name, self.session)

    def tasks(self) -> Iterator[tuple[str, TaskDirectory]]:
        """The tasks of the last session, in the order in which they can run."""
        for name in self.about["tasks"]:
            yield name, self.task(name)


@contextmanager
def _usable(path: Path) -> Iterator[None]:
    """Say which run directory it was that could not be written."""
    try:
        yield
    except BlockflowError:
        raise
    except OSError as error:
        raise RunDirectoryError(f"{path}: cannot be used as run directory: {error}") from error


def _is_of_a_beginning(entry: Path) -> bool:
    """Whether a driver that begins, or was killed as it began, may have put this into a folder without run.json."""
    return entry.name == "lock" or (entry.name.startswith(".") and entry.suffix == ".partial")


def _lock(path: Path) -> Lease:
    return Lease(path / "lock", f"run directory {path}")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
