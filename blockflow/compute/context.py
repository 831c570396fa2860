"""The interface of a compute context."""

import json
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from blockflow.errors import ConfigError
from blockflow.utility.quantity import parse_bytes

__all__ = [
    "DOOR",
    "ENDS_AT",
    "ENVIRONMENT",
    "JOB",
    "MEMORY",
    "ComputeContext",
    "WorkerHandle",
    "WorkerOrder",
    "WorkersOf",
    "run_commands_with",
]

#: tells a worker process which compute context it runs in
ENVIRONMENT = "BLOCKFLOW_COMPUTE"

#: tells a worker process at which address of its own machine it gets through to `WorkersOf.engine`, where that
#: is another machine's
DOOR = "BLOCKFLOW_DOOR"

#: tells a worker process how many bytes of memory it may hold
MEMORY = "BLOCKFLOW_MEMORY"

#: tells a worker process when it will be ended, in seconds since the epoch
ENDS_AT = "BLOCKFLOW_ENDS_AT"

#: tells a worker process which job of a scheduler it is in
JOB = "BLOCKFLOW_JOB"

_run_command: Callable[[Sequence[str]], None] | None = None


@dataclass(frozen=True)
class WorkerOrder:
    """A worker to be started; what it prints is appended to `log`."""

    command: Sequence[str]
    log: Path


@dataclass(frozen=True)
class WorkersOf:
    """Whose workers a context starts.

    `run` is the run directory, `folder` the task's place in it; `most` is how many workers the task may have at one
    time; `memory` what a worker is projected to hold, in bytes, where that is known; `engine` the address on
    the loopback interface that workers must get through to.
    """

    run: Path
    task: str
    folder: Path
    most: int
    memory: int | None = None
    engine: tuple[str, int] | None = None


class WorkerHandle(ABC):
    """A worker process that was started, or that waits to be."""

    #: bytes of main memory that it may hold; `None`: any amount
    memory: int | None = None

    @abstractmethod
    def exit_code(self) -> int | None:
        """`None` while it waits or lives; then its exit status, or minus the signal that ended it.

        Where nobody knows the exit status, since the worker vanished with its machine, it is -9.
        """

    @abstractmethod
    def kill(self) -> None:
        """End it, and all that it started, at once; one that waits is not started."""

    @abstractmethod
    def resident_memory(self) -> int:
        """Bytes of main memory that it and all that it started hold now; 0 if it has ended."""

    @abstractmethod
    def ask_to_leave(self) -> None:
        """Let it finish the block at hand and leave; one that waits is not started."""

    def is_waiting(self) -> bool:
        """Whether it has not begun yet, since it waits for a machine."""
        return False

    def cause(self) -> str | None:
        """Why it ended, as the cause of a failure record, where its context knows more than the exit code says."""
        return None

    def explanation(self) -> str:
        """What its context has to say about its end, for people."""
        return ""

    def place(self) -> tuple[str | None, str | None]:
        """The host that it runs or ran on, if that is another one, and its job, if it is one of a scheduler."""
        return None, None


class ComputeContext(ABC):
    """How the workers of a task come to life.

    `distribute_workers` says whether workers are processes of their own; `can_kill` whether a worker that
    hangs, or takes too much memory, can be ended; `shares_locks` whether a lock on a file is seen by the
    workers of all tasks; `forks_workers` whether workers are forked from the process that starts them, so that they
    find loaded what it has loaded; `look_every` how many seconds may pass between two looks at the workers.

    Parameters
    ----------
    memory : int, optional
        Bytes of main memory that one worker may hold. `None`: any amount.
    """

    name: ClassVar[str]
    distribute_workers: ClassVar[bool]
    can_kill: ClassVar[bool]
    shares_locks: ClassVar[bool] = True
    forks_workers: ClassVar[bool] = False
    look_every: ClassVar[float] = 0.05

    def __init__(self, memory: int | None = None) -> None:
        self.memory = memory

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """The context with these options, as a config has them. Raises `ConfigError` if it takes no such options."""
        others = [key for key in options if key != "memory"]
        if others:
            raise ConfigError(
                f"compute context {cls.name!r} takes no {', '.join(map(repr, others))}; its keys are 'context' and "
                "'memory'"
            )
        memory = options.get("memory")
        try:
            return cls(None if memory is None else parse_bytes(memory))
        except ValueError as error:
            raise ConfigError(f"compute context {cls.name!r}: memory {error}") from None

    @abstractmethod
    def start_worker(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> WorkerHandle:
        """Start one worker with `environment` added to its own; what it prints is appended to `log`."""

    def start_workers(
        self, orders: Sequence[WorkerOrder], environment: Mapping[str, str]
    ) -> Sequence[WorkerHandle]:
        """Start several workers at once; gives their handles in the same order."""
        return [self.start_worker(order.command, environment, order.log) for order in orders]

    def of_task(self, workers: WorkersOf) -> "ComputeContext":  # noqa: ARG002
        """The context that starts the workers of a task, to be closed after them.

        Raises `ConfigError` if it cannot start workers for this task.
        """
        return self

    def close(self) -> None:  # noqa: B027 (most have nothing to do)
        """End whatever is left of the workers that were started here."""

    def give_more_memory(self, worker: WorkerHandle) -> str | None:  # noqa: ARG002
        """Let later workers hold more than `worker`, which ran out of memory; says so, or `None` if they cannot."""
        return None

    def end_leftovers(self, run: Path) -> str | None:  # noqa: ARG002
        """End all workers of a run whose driver is gone; says what there was, or `None` if nothing was left."""
        return None

    def usage(self, workers: WorkersOf) -> str | None:  # noqa: ARG002
        """What the workers of a task have used so far, in a line, with advice; `None` if nobody knows."""
        return None

    def describe(self, workers: WorkersOf) -> str:
        """How the workers of a task are started, for `blockflow run --dry-run`."""
        return f"{workers.most} worker process{'es' if workers.most > 1 else ''} of the {self.name} context\n"

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
