"""The local context: each worker is a child process on this machine."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from blockflow.compute.context import ComputeContext

__all__ = ["LocalContext"]


class _ChildProcess:
    """A worker that leads a process group of its own, and ends when its standard input closes."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def exit_code(self) -> int | None:
        return self._process.poll()

    def kill(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def ask_to_leave(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()


class LocalContext(ComputeContext):
    """Workers are child processes of the task's supervisor, each in a process group of its own."""

    name = "local"
    distribute_workers = True
    can_kill = True

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
        return _ChildProcess(process)
