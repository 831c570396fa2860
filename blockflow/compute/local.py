"""The local context: each worker is a child process on this machine."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from blockflow.compute.context import ComputeContext, WorkerHandle
from blockflow.errors import ConfigError

__all__ = ["LocalContext", "resident_memory_of"]

_PAGE = os.sysconf("SC_PAGE_SIZE")


class _ChildProcess(WorkerHandle):
    """A worker that leads a process group of its own, and ends when its standard input closes."""

    def __init__(self, process: "subprocess.Popen[bytes]", memory: int | None) -> None:
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
    """Workers are child processes of the task's supervisor, each in a process group of its own."""

    name = "local"
    distribute_workers = True
    can_kill = True

    def __init__(self, memory: int | None = None) -> None:
        super().__init__(memory)
        if memory is not None and not Path("/proc/self/statm").exists():
            raise ConfigError(
                "compute context 'local': memory can be limited on Linux only; leave it out here"
            )

    def start_worker(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> _ChildProcess:
        with log.open("ab") as output:
            process = subprocess.Popen(
                list(command),
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,  # the worker's lifeline: it closes when the supervisor is gone
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return _ChildProcess(process, self.memory)
