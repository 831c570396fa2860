"""The interface of a compute context."""

import json
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

__all__ = ["ENVIRONMENT", "ComputeContext", "WorkerHandle", "run_commands_with"]

#: tells a worker process which compute context it runs in
ENVIRONMENT = "BLOCKFLOW_COMPUTE"

_run_command: Callable[[Sequence[str]], None] | None = None


class WorkerHandle(Protocol):
    """A worker process that was started."""

    def exit_code(self) -> int | None:
        """`None` while it lives; then its exit status, or minus the signal that ended it."""

    def kill(self) -> None:
        """End it, and all that it started, at once."""

    def resident_memory(self) -> int:
        """Bytes of main memory that it and all that it started hold now; 0 if it has ended."""

    def ask_to_leave(self) -> None:
        """Let it finish the block at hand and leave."""


class ComputeContext(ABC):
    """How the workers of a task come to life.

    `distribute_workers` says whether workers are processes of their own; `can_kill` whether a worker that
    hangs, or takes too much memory, can be ended.

    Parameters
    ----------
    memory : int, optional
        Bytes of main memory that one worker may hold. `None`: any amount.
    """

    name: ClassVar[str]
    distribute_workers: ClassVar[bool]
    can_kill: ClassVar[bool]

    def __init__(self, memory: int | None = None) -> None:
        self.memory = memory

    @abstractmethod
    def start_worker(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> WorkerHandle:
        """Start one worker with `environment` added to its own; what it prints is appended to `log`."""

    def to_json(self) -> dict[str, Any]:
        """What `create_compute_context` makes this context from."""
        return {"context": self.name} | ({} if self.memory is None else {"memory": self.memory})

    def environment(self) -> dict[str, str]:
        """What a worker process needs in its environment so that `current` finds this context."""
        return {ENVIRONMENT: json.dumps(self.to_json())}

    @property
    def device(self) -> str:
        """`cuda` where torch is installed and sees a GPU, else `cpu`."""
        try:
            import torch  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            return "cpu"
        return "cuda" if torch.cuda.is_available() else "cpu"

    def wrap_command(self, command: Sequence[str]) -> list[str]:
        """The command that is run in place of `command`: the same one, unless the context needs more."""
        return [str(part) for part in command]

    def execute(self, command: Sequence[str]) -> None:
        """Run the command of a worker to its end. Worker files call this from `spawn_worker`'s function.

        Raises `subprocess.CalledProcessError` if the command fails.
        """
        wrapped = self.wrap_command(command)
        if _run_command is not None:
            _run_command(wrapped)
        else:
            subprocess.run(wrapped, check=True)


def run_commands_with(runner: Callable[[Sequence[str]], None] | None) -> None:
    """Let `runner` run what worker files `execute` from now on (`None`: a plain child process)."""
    global _run_command  # noqa: PLW0603 (one process, one worker)
    _run_command = runner
