"""What tests read of the traces that a run leaves."""

import json
import os
from pathlib import Path

from blockflow.execution.assignment import Assignment
from blockflow.execution.failures import FailureRecord
from blockflow.execution.look import failures_of
from blockflow.execution.run_directory import RunDirectory


def records(run: str | Path, task: str | None = None) -> list[FailureRecord]:
    """The failure records of the last session."""
    return list(failures_of(Path(run), task))


def events(run: str | Path, process: str) -> list[dict]:
    """The events of the processes of the last session whose name begins so."""
    directory = RunDirectory.open(Path(run))
    files = sorted((directory.path / "events").glob(f"{directory.session}.{process}*.jsonl"))
    return [json.loads(text) for file in files for text in file.read_text().splitlines()]


def assignment(run: str | Path, task: str) -> Assignment:
    """What the workers of a task were told in the last session."""
    return Assignment.load(Path(run) / "tasks" / task / "task.json")


def processes_of(run: str | Path) -> list[int]:
    """The processes that name the run directory on their command line or in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(run).encode() in command:
                found.append(int(entry.name))
    return found
