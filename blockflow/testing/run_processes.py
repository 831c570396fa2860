"""The processes of a run, wherever they stand in the tree: found by a mark in their environment, and killed.

Linux only. A process belongs to the run in a folder if `MARK` is that folder in its environment, which it hands
down to all that it starts, or if its command line names something in the folder.
"""

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MARK", "Process", "end_all", "kill", "processes_of", "wait_for_end"]

#: the variable that holds a run's folder in the environment of all its processes
MARK = "BLOCKFLOW_CAMPAIGN"

_TICK = 0.01


@dataclass(frozen=True)
class Process:
    """A process of a run; forks of one process have its command line, and names of their own."""

    pid: int
    parent: int
    name: str
    command: str


def processes_of(folder: Path) -> list[Process]:
    """The processes that have the run's mark in their environment, or name its folder on their command line."""
    names = (entry.name for entry in Path("/proc").iterdir())
    pids = (int(name) for name in names if name.isdigit())
    return [process for pid in pids if pid != os.getpid() and (process := _look(pid, folder))]


def _look(pid: int, folder: Path) -> Process | None:
    """Process `pid`, if it belongs to the run in `folder` and lives."""
    entry = Path("/proc", str(pid))
    with suppress(OSError):
        command = (entry / "cmdline").read_bytes()
        environment = (entry / "environ").read_bytes().split(b"\0")
        if f"{MARK}={folder}".encode() in environment or f"{folder}/".encode() in command:
            # the name in parentheses may hold anything, so count from the last one (see proc(5))
            named, _, rest = (entry / "stat").read_text().rpartition(")")
            state, parent = rest.split()[:2]
            if state not in "ZX":
                name = named.partition("(")[2]
                return Process(pid, int(parent), name, command.replace(b"\0", b" ").decode(errors="replace"))
    return None


def kill(pid: int, folder: Path) -> bool:
    """Kill a process if it belongs to the run; false if it had ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if _look(pid, folder) is None:  # the id has ended, or is another process's by now
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def wait_for_end(folder: Path, seconds: float) -> list[Process]:
    """Wait until no process of the run is left; gives those that are left after so many seconds."""
    deadline = time.monotonic() + seconds
    while (left := processes_of(folder)) and time.monotonic() < deadline:
        time.sleep(_TICK)
    return left


def end_all(folder: Path) -> None:
    while left := processes_of(folder):
        for process in left:
            kill(process.pid, folder)
        time.sleep(_TICK)
