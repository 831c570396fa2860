"""Slurm's commands, run and noted: every one is a line in a log, since a scheduler is everybody's."""

import os
import re
import shlex
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blockflow.compute.slurm.decisions import (
    SQUEUE_FORMAT,
    Element,
    parse_down_nodes,
    parse_squeue,
    parse_time_left,
)
from blockflow.errors import ComputeError

__all__ = ["CommandError", "Commands", "SlurmSetup", "scheduler_environment"]

#: seconds after which a command that has not answered is given up
_PATIENCE = 60.0


class CommandError(ComputeError):
    """One of Slurm's commands failed; the message is what it said."""


@dataclass(frozen=True)
class SlurmSetup:
    """What matters of a cluster: the largest array, where its controller is, and whether it keeps accounts."""

    largest_array: int
    controller: str | None
    has_accounting: bool


def scheduler_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment for Slurm's commands, without what an enclosing job says of itself."""
    keep = {"SLURM_CONF", "SLURM_CLUSTERS", "SLURM_TIME_FORMAT"}
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(("SLURM_", "SLURMD_", "PMI_", "PMIX_")) or name in keep
    }


class Commands:
    """Runs Slurm's commands.

    Parameters
    ----------
    log : Path, optional
        A file to which a line is added for each command: when, how long, its exit status, what it was.
    """

    def __init__(self, log: Path | None = None) -> None:
        self._log = log

    def submit(self, script: Path) -> str:
        """The number of the job that `script` has become."""
        printed = self._run(["sbatch", "--parsable", str(script)]).strip()
        return printed.splitlines()[-1].partition(";")[0]

    def queue(self, name: str) -> list[Element]:
        """All elements of the jobs of this name that the controller knows, finished ones among them."""
        return parse_squeue(
            self._run(["squeue", "--me", "-h", "-r", "-t", "all", f"--name={name}", "-o", SQUEUE_FORMAT])
        )

    def down_nodes(self, nodes: Collection[str]) -> set[str]:
        """Those of these nodes that are down, or do not answer."""
        return parse_down_nodes(
            self._run(["sinfo", "-h", "-N", f"--nodes={','.join(sorted(nodes))}", "-o", "%N|%T"])
        )

    def jobs(self) -> dict[str, tuple[str, str]]:
        """The jobs of this user that wait or run: id -> name and comment, which is empty where there is none."""
        lines = self._run(["squeue", "--me", "-h", "-o", "%A|%j|%k"]).splitlines()
        parts = (line.strip().split("|", 2) for line in lines if line.count("|") >= 2)
        return {job: (name, "" if comment == "(null)" else comment) for job, name, comment in parts}

    def seconds_left(self, job: str) -> int | None:
        """How long a job may still run; `None`: for ever."""
        return parse_time_left(self._run(["squeue", "-h", f"--jobs={job}", "-o", "%L"]))

    def cancel(self, name: str, elements: Sequence[str] = (), *, pending_only: bool = False) -> None:
        """End these elements of the jobs of this name, or all of them."""
        arguments = ["--state=PENDING"] if pending_only else []
        self._run(["scancel", "--quiet", "--me", f"--name={name}", *arguments, *elements])

    def setup(self) -> SlurmSetup:
        text = self._run(["scontrol", "show", "config"])
        largest = re.search(r"^MaxArraySize\s*=\s*(\d+)", text, re.MULTILINE)
        controller = re.search(r"^SlurmctldHost\[0\]\s*=\s*([^\s(]+)(?:\(([^)]+)\))?", text, re.MULTILINE)
        return SlurmSetup(
            # the largest index is one less
            largest_array=max(1, int(largest[1]) - 1) if largest else 1000,
            controller=(controller[2] or controller[1]) if controller else None,
            has_accounting=re.search(r"^AccountingStorageType\s*=\s*\S*slurmdbd", text, re.MULTILINE)
            is not None,
        )

    def accounting(self, jobs: Sequence[str], fields: Sequence[str]) -> list[dict[str, str]]:
        """What sacct knows of the steps of these jobs. Raises `CommandError` where there is no accounting."""
        arguments = [
            "-n",
            "-P",
            "--noconvert",
            "-D",
            f"--jobs={','.join(jobs)}",
            f"--format={','.join(fields)}",
        ]
        lines = self._run(["sacct", *arguments]).splitlines()
        return [
            dict(zip(fields, line.split("|"), strict=True))
            for line in lines
            if line.count("|") == len(fields) - 1
        ]

    def _run(self, command: Sequence[str]) -> str:
        began = time.time()
        status: int | str = "no answer"
        try:
            done = subprocess.run(
                command,
                env=scheduler_environment(os.environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PATIENCE,
                check=False,
            )
            status = done.returncode
        except FileNotFoundError:
            raise ComputeError(
                f"there is no {command[0]} here: the context 'slurm' needs a machine from which jobs can be submitted"
            ) from None
        except subprocess.TimeoutExpired:
            raise CommandError(f"{command[0]}: timed out after {_PATIENCE:g} s") from None
        finally:
            self._note(began, status, command)
        if status != 0:
            raise CommandError(f"{shlex.join(command)}: {done.stderr.strip() or f'exit status {status}'}")
        return done.stdout

    def _note(self, began: float, status: int | str, command: Sequence[str]) -> None:
        if self._log is not None:
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(began))
            with self._log.open("a") as log:
                log.write(f"{when} {time.time() - began:.3f} s, {status}: {shlex.join(command)}\n")
