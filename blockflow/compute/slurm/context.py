"""The contexts `slurm` and `srun`."""

import contextlib
import os
import shlex
import socket
import tempfile
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from blockflow.compute.context import ComputeContext, WorkerHandle, WorkerOrder, WorkersOf
from blockflow.compute.slurm.accounting import read_usage, summary
from blockflow.compute.slurm.commands import CommandError, Commands
from blockflow.compute.slurm.crew import Crew
from blockflow.compute.slurm.decisions import memory_steps, usable_memory
from blockflow.compute.slurm.door import Door
from blockflow.compute.slurm.handshake import new_token
from blockflow.compute.slurm.options import SlurmOptions, parse_time
from blockflow.compute.slurm.scheduler import Arrays, Scheduler, Steps
from blockflow.compute.slurm.script import array_script, is_of_run
from blockflow.compute.slurm.worker import ElementWorker
from blockflow.errors import ConfigError
from blockflow.utility.files import write_json

__all__ = ["SlurmContext", "SrunContext"]

#: seconds that the jobs of a dead driver may take to leave the queue
_LEAVE_GRACE = 30.0


class _ClusterContext(ComputeContext):
    """What the two contexts share: elements that come to a door."""

    distribute_workers = True
    can_kill = True
    shares_locks = False
    look_every = 0.2

    def __init__(self, memory: int | None = None, options: SlurmOptions | None = None) -> None:
        self.options = options or SlurmOptions(memory=memory)
        super().__init__(self.options.memory if isinstance(self.options.memory, int) else None)
        self._workers: WorkersOf | None = None
        self._crew: Crew | None = None
        self._door: Door | None = None

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        return cls(options=SlurmOptions.from_mapping(cls.name, options))

    def to_json(self) -> dict[str, Any]:
        return {"context": self.name, **self.options.to_mapping()}

    def of_task(self, workers: WorkersOf) -> "_ClusterContext":
        self._memory_of(workers)
        bound = type(self)(options=self.options)
        bound._workers = workers
        return bound

    def start_worker(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> ElementWorker:
        return self.start_workers([WorkerOrder(command, log)], environment)[0]

    def start_workers(
        self, orders: Sequence[WorkerOrder], environment: Mapping[str, str]
    ) -> list[ElementWorker]:
        return self._open(orders[0].log.parent).order(orders, environment)

    def _open(self, folder: Path) -> Crew:
        """The crew, with its door open."""
        if self._crew is None:
            if self._workers is None:  # workers of no task of a run
                scratch = Path(tempfile.mkdtemp(prefix="slurm-", dir=folder))
                self._workers = WorkersOf(run=scratch, task="workers", folder=scratch, most=1000)
            folder = self._workers.folder
            folder.mkdir(parents=True, exist_ok=True)
            for note in folder.glob("unreachable-*.json"):
                note.unlink()
            token = new_token(folder / "token")
            scheduler, address = self._prepare(self._workers, folder)
            memory = self._memory_of(self._workers)
            self._crew = Crew(
                scheduler,
                folder,
                memory,
                self._cap(memory),
                self._clock_of_workers(),
                leads_on=self._workers.engine is not None,
            )
            self._door = Door(address, token, self._workers.engine, self._crew)
            write_json(folder / "address.json", {"host": address, "port": self._door.port})
        return self._crew

    @abstractmethod
    def _prepare(self, workers: WorkersOf, folder: Path) -> tuple[Scheduler, str]:
        """What starts the elements, and the address at which they reach this machine."""

    @abstractmethod
    def _clock_of_workers(self) -> Callable[[], float | None]:
        """What says when a worker that begins now will be ended, in seconds since the epoch."""

    def close(self) -> None:
        if self._crew is None or self._door is None:
            return
        self._door.close()
        self._crew.close()

    def give_more_memory(self, worker: WorkerHandle) -> str | None:
        return None if self._crew is None else self._crew.give_more_memory(worker)

    def usage(self, workers: WorkersOf) -> str | None:
        known = read_usage(workers.folder / "sacct.jsonl")
        source = "sacct" if known else "the workers"
        known = known or read_usage(workers.folder / "usage.jsonl")
        return f"{summary(known, self.options.cpus_per_worker)} (says {source})" if known else None

    def _memory_of(self, workers: WorkersOf) -> int | None:
        """Bytes that a worker of this task is given at first."""
        if self.options.memory != "auto":
            return self.memory
        if workers.memory is None:
            raise ConfigError(
                f"task {workers.task}: compute.memory is 'auto', but nobody knows what the workers of this task hold: "
                "a worker file can do anything. Give an amount, as in memory: 4 GB, here or for the task"
            )
        return usable_memory(workers.memory)

    def _cap(self, memory: int | None) -> int:
        return self.options.max_memory or 2 * (memory or 0)

    def _steps_of_memory(self, workers: WorkersOf) -> str:
        memory = self._memory_of(workers)
        if memory is None:
            return "memory: the site's default"
        steps = [f"{step / 1e9:.3g} GB" for step in memory_steps(memory, self._cap(memory))]
        return f"memory: {steps[0]}" + (f"; when that runs out {', '.join(steps[1:])}" if steps[1:] else "")


class SlurmContext(_ClusterContext):
    """Workers are elements of job arrays: one array per task, whatever the number of its blocks.

    Parameters
    ----------
    memory : int, optional
        Bytes per worker; or give
    options : SlurmOptions, optional
        All that there is to say.
    """

    name: ClassVar[str] = "slurm"

    def _prepare(self, workers: WorkersOf, folder: Path) -> tuple[Scheduler, str]:
        setup = Commands(folder / "commands.log").setup()
        address = self.options.host or _address_towards(setup.controller)
        return Arrays(self.options, workers, folder, setup), address

    def _clock_of_workers(self) -> Callable[[], float | None]:
        if self.options.time is None:
            return lambda: None
        seconds = parse_time(self.options.time)
        return lambda: time.time() + seconds

    def end_leftovers(self, run: Path) -> str | None:
        commands = Commands()
        found = {
            job: name for job, (name, comment) in commands.jobs().items() if is_of_run(run, name, comment)
        }
        if not found:
            return None
        deadline, left = time.monotonic() + _LEAVE_GRACE, found
        while left and time.monotonic() < deadline:
            for name in set(left.values()):
                with contextlib.suppress(CommandError):
                    commands.cancel(name)
            time.sleep(0.2)
            left = {job: name for job, (name, _) in commands.jobs().items() if job in found}
        return f"jobs of a driver of this run that is gone were cancelled: {', '.join(sorted(found))}"

    def describe(self, workers: WorkersOf) -> str:
        text = array_script(
            self.options,
            workers.run,
            workers.task,
            workers.folder,
            elements=workers.most,
            most=workers.most,
            memory=self._memory_of(workers),
        )
        script = shlex.quote(str(workers.folder / "array.sh"))
        return f"sbatch --parsable {script}, which is\n{text}# {self._steps_of_memory(workers)}\n"


class SrunContext(_ClusterContext):
    """Workers are the tasks of steps inside the allocation that the driver runs in."""

    name: ClassVar[str] = "srun"

    def of_task(self, workers: WorkersOf) -> _ClusterContext:
        if "SLURM_JOB_ID" not in os.environ:
            raise ConfigError(
                "the context 'srun' starts workers inside an allocation, and this process is in none: run blockflow "
                "within salloc or sbatch, or use the context 'slurm'"
            )
        return super().of_task(workers)

    def _prepare(self, workers: WorkersOf, folder: Path) -> tuple[Scheduler, str]:
        setup = Commands(folder / "commands.log").setup()
        address = self.options.host or _address_towards(setup.controller)
        return Steps(self.options, workers, folder), address

    def _clock_of_workers(self) -> Callable[[], float | None]:
        left = Commands().seconds_left(os.environ["SLURM_JOB_ID"])
        end = None if left is None else time.time() + left
        return lambda: end

    def describe(self, workers: WorkersOf) -> str:
        command = Steps(self.options, workers, workers.folder).command(
            workers.most, self._memory_of(workers), ()
        )
        return f"{shlex.join(command)}\n# {self._steps_of_memory(workers)}\n"


def _address_towards(machine: str | None) -> str:
    """The address of this machine on the network in which another one is: the nodes are likely to be there, too."""
    for other in (machine, socket.gethostname()):
        if other is None:
            continue
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((other, 6817))  # nothing is sent
            return str(probe.getsockname()[0])
    return socket.gethostname()
