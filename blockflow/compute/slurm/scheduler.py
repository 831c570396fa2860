"""How elements come to be: as a job array, or as the tasks of a step inside an allocation. One interface for both."""

import os
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

from blockflow.compute.context import WorkersOf
from blockflow.compute.slurm.accounting import SACCT_FIELDS, usage_of_sacct
from blockflow.compute.slurm.commands import CommandError, Commands, SlurmSetup, scheduler_environment
from blockflow.compute.slurm.decisions import (
    NODE_DOWN,
    Element,
    elements_of,
    is_final,
    is_pending,
    ranges_of,
    split_array,
)
from blockflow.compute.slurm.options import SlurmOptions
from blockflow.compute.slurm.script import (
    array_script,
    element_command,
    job_name,
    prologue_of,
    resource_arguments,
)
from blockflow.compute.slurm.worker import Usage
from blockflow.utility.files import write_aside

__all__ = ["Arrays", "Scheduler", "Steps"]

#: how often the accounting is asked, half a second apart, since it lags behind
_ACCOUNTING_LOOKS = 6


class Scheduler(ABC):
    """Starts elements for one task, and knows their states."""

    @abstractmethod
    def submit(self, count: int, memory: int | None, excluded: Sequence[str]) -> list[str]:
        """Ask for so many elements; gives their names. Raises `CommandError` if that failed."""

    @abstractmethod
    def look(self, lost: Mapping[str, str]) -> dict[str, Element]:
        """The elements that are known, by name; `lost`, by name with their nodes, are those to know more about."""

    @abstractmethod
    def cancel(self, elements: Sequence[str] | None = None) -> None:
        """End these elements, or all of them."""

    def usage(self) -> list[Usage]:
        """What the scheduler knows of what the elements have used, once they have ended."""
        return []


class Arrays(Scheduler):
    """Each submission is a job array (several, if it is larger than an array may be)."""

    def __init__(self, options: SlurmOptions, workers: WorkersOf, folder: Path, setup: SlurmSetup) -> None:
        self._options = options
        self._workers = workers
        self._folder = folder
        self._largest = setup.largest_array
        self._name = job_name(workers.run, workers.task)
        self._commands = Commands(folder / "commands.log")
        self._jobs: list[str] = []
        self._has_accounting = setup.has_accounting

    def submit(self, count: int, memory: int | None, excluded: Sequence[str]) -> list[str]:
        elements: list[str] = []
        for size in split_array(count, self._largest):
            text = array_script(
                self._options,
                self._workers.run,
                self._workers.task,
                self._folder,
                elements=size,
                most=self._workers.most,
                memory=memory,
                excluded=excluded,
            )
            script = self._folder / "array.sh"
            write_aside(script, text.encode())
            try:
                job = self._commands.submit(script)
            except CommandError:
                if elements:
                    return elements
                raise
            self._jobs.append(job)
            elements += elements_of(job, size)
        return elements

    def look(self, lost: Mapping[str, str]) -> dict[str, Element]:
        found = {element.id: element for element in self._commands.queue(self._name)}
        self._explain_requeues(found, lost)
        forgotten = [name for name in lost if name not in found]
        if forgotten and self._has_accounting:
            fields = ("JobID", "State", "NodeList")
            try:
                for line in self._commands.accounting(forgotten, fields):
                    if line["JobID"] in forgotten:
                        state = line["State"].split()[0]
                        found[line["JobID"]] = Element(line["JobID"], state, line["NodeList"], None, "")
            except CommandError:
                self._has_accounting = False
        return found

    def _explain_requeues(self, found: dict[str, Element], lost: Mapping[str, str]) -> None:
        """Tell the elements that were put back since their node is down from those that were pushed out."""
        put_back = {
            name: node for name, node in lost.items() if name in found and is_pending(found[name].state)
        }
        if put_back:
            down = self._commands.down_nodes(set(put_back.values()))
            for name, node in put_back.items():
                if node in down:
                    found[name] = replace(found[name], reason=NODE_DOWN)

    def cancel(self, elements: Sequence[str] | None = None) -> None:
        self._commands.cancel(self._name, [] if elements is None else ranges_of(elements))

    def usage(self) -> list[Usage]:
        usage: list[Usage] = []
        for _ in range(_ACCOUNTING_LOOKS if self._jobs and self._has_accounting else 0):
            usage = usage_of_sacct(self._commands.accounting(self._jobs, SACCT_FIELDS))
            if usage and all(is_final(one.state or "") for one in usage):
                break
            time.sleep(0.5)
        return usage


class Steps(Scheduler):
    """Each submission is one step of the allocation that this process is in, whatever the number of its tasks."""

    def __init__(self, options: SlurmOptions, workers: WorkersOf, folder: Path) -> None:
        self._options = options
        self._workers = workers
        self._folder = folder
        self._numbers = count()
        self._steps: dict[str, tuple[subprocess.Popen[bytes], list[str]]] = {}

    def command(self, count: int, memory: int | None, excluded: Sequence[str]) -> list[str]:
        """The command of a step of `count` tasks."""
        shares = {"partition": None, "account": None, "qos": None, "time": None}
        options = SlurmOptions(**{**self._options.to_mapping(), **shares})  # these are the allocation's
        arguments = [
            argument
            for argument in resource_arguments(options, None, excluded)
            if not argument.startswith("--mem")
        ]
        if memory is not None:
            per_cpu = -(-memory // (1024**2 * options.cpus_per_worker))
            arguments.append(f"--mem-per-cpu={per_cpu}M")
        return [
            *("srun", f"--ntasks={count}", "--exact", "--kill-on-bad-exit=0", "--wait=0", "--input=none"),
            *(f"--job-name={job_name(self._workers.run, self._workers.task)}", "--open-mode=append"),
            f"--output={self._folder}/srun.out",
            *arguments,
            *options.sbatch_args,
            *("/bin/bash", "-c", "\n".join([*prologue_of(options), 'exec "$@"']), "element"),
            *element_command(self._folder),
        ]

    def submit(self, count: int, memory: int | None, excluded: Sequence[str]) -> list[str]:
        name = f"step{next(self._numbers)}"
        kept = {"SLURM_JOB_ID", "SLURM_JOBID", "SLURM_NODELIST", "SLURM_JOB_NODELIST"}
        environment = scheduler_environment(os.environ) | {
            key: os.environ[key] for key in kept if key in os.environ
        }
        with (self._folder / "srun.out").open("ab") as output:
            process = subprocess.Popen(
                self.command(count, memory, excluded),
                env=environment | {"BLOCKFLOW_STEP": name},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        elements = elements_of(name, count)
        self._steps[name] = (process, list(elements))
        return list(elements)

    def look(self, lost: Mapping[str, str]) -> dict[str, Element]:
        found: dict[str, Element] = {}
        for name, (process, elements) in list(self._steps.items()):
            ended = process.poll() is not None
            for element in elements:  # of a task that is lost while others run, no more will be known
                state = "" if element in lost else "COMPLETED" if ended else "RUNNING"
                found[element] = Element(element, state, "", None, "")
            if ended:
                del self._steps[name]
        return found

    def cancel(self, elements: Sequence[str] | None = None) -> None:
        if elements is not None:
            return  # a task of a step cannot be ended alone; it is told at the door that it is not needed
        for process, _ in self._steps.values():
            with suppress(ProcessLookupError):
                process.terminate()
        deadline = time.monotonic() + 10.0
        for process, _ in self._steps.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:  # srun may wait for ever for a node that is gone
                process.kill()
                process.wait()
