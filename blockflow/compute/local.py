"""The local context: each worker is a child process on this machine."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from blockflow.compute.context import ComputeContext, WorkerHandle
from blockflow.errors import ConfigError
from blockflow.utility.fork import Fork

__all__ = ["WORKER", "LocalContext", "offer_program", "resident_memory_of", "withdraw_programs"]

#: what the system calls a worker that is a fork
WORKER = "blockflow-work"

_PAGE = os.sysconf("SC_PAGE_SIZE")

#: name of a module -> its main function, where this process has loaded it, and may be forked to run it
_programs: dict[str, Callable[[], object]] = {}


def offer_program(module: str, main: Callable[[], object]) -> None:
    """Let `python -P -m MODULE` be run in a fork of this process from now on, by `main`, with its `sys.argv`."""
    _programs[module] = main


def withdraw_programs() -> None:
    """Fork this process no more: a user's code has run here, and may have started threads, or opened a device."""
    _programs.clear()


def _program_of(command: Sequence[str], environment: Mapping[str, str]) -> Callable[[], object] | None:
    """What a fork is to run in place of `command`; `None` if that must be started afresh.

    So it must be where the environment says more than where to find what is ours: libraries read theirs as they load.
    """
    if len(command) < 4 or list(command[:3]) != [sys.executable, "-P", "-m"] or command[3] not in _programs:
        return None
    if threading.active_count() > 1 or any(
        name != "DAISY_CONTEXT" and not name.startswith("BLOCKFLOW_") for name in environment
    ):
        return None

    def program() -> object:
        sys.argv = list(command[3:])
        return _programs[command[3]]()

    return program


class _ChildProcess(WorkerHandle):
    """A worker that leads a process group of its own, and ends when its standard input closes."""

    def __init__(self, process: "subprocess.Popen[bytes] | Fork", memory: int | None) -> None:
        self._process = process
        self.memory = memory

    def exit_code(self) -> int | None:
        if self._process.returncode is None and self._process.poll() is not None:
            self._end_group()  # what it started must not outlive it
        return self._process.returncode

    def kill(self) -> None:
        if self._process.returncode is None:
            self._end_group()
            self._process.wait()

    def resident_memory(self) -> int:
        return resident_memory_of(self._process.pid)

    def ask_to_leave(self) -> None:
        if self.exit_code() is None:
            os.kill(self._process.pid, signal.SIGTERM)

    def _end_group(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        if self._process.stdin is not None:
            self._process.stdin.close()


def resident_memory_of(pid: int) -> int:
    """Bytes of main memory that a process and all its descendants hold, as far as the kernel tells."""
    return sum(map(_resident, _family(pid)))


def _family(pid: int) -> Iterator[int]:
    """A process and all its descendants, as the kernel lists them."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            listed = children.read_text().split()
        except OSError:
            continue  # it has ended meanwhile
        for child in listed:
            yield from _family(int(child))


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0


class LocalContext(ComputeContext):
    """Workers are child processes of the task's supervisor, each in a process group of its own.

    A supervisor forks itself to start one, if it can: then the worker has loaded at once what workers need.
    """

    name = "local"
    distribute_workers = True
    can_kill = True
    forks_workers = sys.platform.startswith("linux")  # elsewhere system libraries may not work in a fork

    def __init__(self, memory: int | None = None) -> None:
        super().__init__(memory)
        if memory is not None and not Path("/proc/self/statm").exists():
            raise ConfigError(
                "compute context 'local': memory can be limited on Linux only; leave it out here"
            )

    def start_worker(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> _ChildProcess:
        program = _program_of(command, environment)
        with log.open("ab") as output:
            if program is not None:
                return _ChildProcess(Fork(program, WORKER, environment, output.fileno()), self.memory)
            process = subprocess.Popen(
                list(command),
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,  # the worker's lifeline: it closes when the supervisor is gone
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return _ChildProcess(process, self.memory)
