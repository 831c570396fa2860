"""A function in a fork of this process, held as `subprocess.Popen` holds a command.

A fork has loaded at once what this process has loaded. That is for a process that has one thread of Python's (those of
numerical libraries see to themselves in a fork), and holds no lock: here the fork server, and the supervisors that it
forks.
"""

import os
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NoReturn, Protocol
from weakref import WeakSet

__all__ = ["Fork", "keep_from_forks", "status_of"]


class _Closable(Protocol):
    def close(self) -> None: ...


_kept: "WeakSet[_Closable]" = WeakSet()


def keep_from_forks(file: _Closable) -> None:
    """Let forks of this process close a file or socket that others are to see closed when this process ends."""
    _kept.add(file)


class Fork:
    """A function that runs in a fork of this process, which leads a session of its own and ends when it returns.

    Its standard input is a pipe that closes when this process ends, whatever other forks there are. `returncode` is as
    `subprocess.Popen` has it.

    Parameters
    ----------
    run : callable
        What it raises is printed, and the exit status 1 then; `SystemExit` gives the status as ever.
    name : str
        What the system calls the process, up to 15 characters.
    environment : mapping
        Is added to that of this process.
    output : int
        A file descriptor, for what it prints.

    Raises
    ------
    OSError
        If the system has no room for another process.
    """

    def __init__(
        self, run: Callable[[], object], name: str, environment: Mapping[str, str], output: int
    ) -> None:
        self.returncode: int | None = None
        read, write = os.pipe()
        self.stdin: BinaryIO = os.fdopen(write, "wb", 0)
        keep_from_forks(self.stdin)
        _flush()  # else both would print what is left
        try:
            self.pid = os.fork()
            if self.pid == 0:
                _live(run, name, environment, read, output)
        finally:
            os.close(read)

    def poll(self) -> int | None:
        """The exit status, or minus the signal that ended it; `None` while it lives."""
        return self._wait(os.WNOHANG)

    def wait(self) -> int | None:
        """Wait for its end; gives what `poll` gives."""
        return self._wait(0)

    def _wait(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def _live(
    run: Callable[[], object], name: str, environment: Mapping[str, str], read: int, output: int
) -> NoReturn:
    """The life of the fork: whatever happens, it never returns into what its parent was doing."""
    status = 1
    try:
        _become_process(name, environment, read, output)
        status = status_of(run)
    finally:
        os._exit(status)


def _become_process(name: str, environment: Mapping[str, str], read: int, output: int) -> None:
    os.setsid()
    for descriptor, place in ((read, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, place)
    for descriptor in (read, output):
        if descriptor > 2:
            os.close(descriptor)
    for file in list(_kept):
        file.close()
    os.environ.update(environment)
    with suppress(OSError):  # what `ps` and `pgrep` say, where the system has a place for it
        Path("/proc/self/comm").write_text(name)
    if (generators := sys.modules.get("numpy.random")) is not None:
        generators.seed()  # else siblings would draw the same numbers; `random` sees to itself


def status_of(run: Callable[[], object]) -> int:
    """Run it to its end, print what it raises, and say with which status a process ends so."""
    try:
        return _ended(run)
    finally:
        _flush()


def _ended(run: Callable[[], object]) -> int:
    try:
        run()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)  # noqa: T201 (as Python itself does)
        return 1
    except BaseException:  # noqa: BLE001 (it is shown, and the process ends)
        traceback.print_exc()
        return 1
    return 0


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # it may be closed, or full, or none at all
            stream.flush()
