"""Failure records: every attempt that failed says which block, where, when and why.

One file per attempt, named by block and attempt, so that counting the attempts of a block takes one look at
the file system and any number of processes may write at once.
"""

import json
import os
import re
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blockflow.errors import RunDirectoryError
from blockflow.utility.files import write_aside, write_json

__all__ = [
    "CAUSES",
    "NOT_THE_BLOCKS_FAULT",
    "FailureGroup",
    "FailureLog",
    "FailureRecord",
    "group_failures",
    "read_failures",
]

CAUSES = (
    "exception",
    "timeout",
    "out_of_memory",
    "killed",
    "node_failure",
    "preemption",
    "walltime",
    "cancelled",
    "unreachable",
    "check_failed",
)

#: causes that are somebody else's doing: a block that was lost so is recorded, but has used up no attempt
NOT_THE_BLOCKS_FAULT = frozenset({"node_failure", "preemption", "walltime", "cancelled"})


@dataclass(frozen=True)
class FailureRecord:
    """One failed attempt at a block, or (with `block` None) one worker that could not start.

    `read_roi` and `write_roi` are `[offset, shape]` in lattice units. `attempt` is 0 where the block was lost for no
    fault of its own, so that it has used up none; `final` says that no attempt was left. `host` is where the worker
    was, `job` its job, where it was one of a scheduler.
    """

    task: str
    block: int | None
    read_roi: list[list[int]] | None
    write_roi: list[list[int]] | None
    attempt: int
    final: bool
    cause: str
    message: str
    traceback: str | None
    host: str
    worker: str
    log: str
    time: float
    job: str | None = None


class FailureLog:
    """The failure records of one task in one run of the driver.

    Parameters
    ----------
    folder : Path
        One folder per task and session; made when the first record is written.
    task : str
    attempts : int
        How many attempts a block has.
    """

    def __init__(self, folder: Path, task: str, attempts: int) -> None:
        self._folder = folder
        self._task = task
        self._attempts = attempts
        self._last = f"-{attempts}.json"
        self._prefix = f"{folder}{os.sep}"

    def is_exhausted(self, block: int) -> bool:
        """Whether the block has failed as often as it may; made for speed."""
        return os.path.exists(f"{self._prefix}{block}{self._last}")  # noqa: PTH110 (a Path costs as much again)

    def add(
        self,
        block: int | None,
        rois: tuple[Any, Any] | None,
        cause: str,
        message: str,
        *,
        worker: str,
        log: str,
        traceback: str | None = None,
        host: str | None = None,
        job: str | None = None,
    ) -> FailureRecord:
        """Write a record; its attempt is the first that has none yet, or 0 if it does not count.

        `rois` are the read and the write ROI; `host` is this one unless it is given.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        read, write = ([[*roi.offset], [*roi.shape]] for roi in rois) if rois else (None, None)
        counts = block is None or cause not in NOT_THE_BLOCKS_FAULT
        number = 0
        while True:
            number += 1
            record = FailureRecord(
                task=self._task,
                block=block,
                read_roi=read,
                write_roi=write,
                attempt=number if counts else 0,
                final=block is not None and counts and number >= self._attempts,
                cause=cause,
                message=message,
                traceback=traceback,
                host=host or socket.gethostname(),
                worker=worker,
                log=log,
                time=time.time(),
                job=job,
            )
            name = f"{'worker' if block is None else block}-{'' if counts else 'lost'}{number}.json"
            try:
                write_json(self._folder / name, asdict(record), exclusive=True)
            except FileExistsError:
                continue
            return record

    def needs_more_memory(self, block: int, than: int) -> None:
        """Note that a worker that may hold so many bytes ran out of memory in this block."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_aside(self._memory_note(block), str(than).encode())

    def is_too_large_for(self, block: int, memory: int) -> bool:
        """Whether a worker that may hold no less than `memory` bytes ran out of memory in this block."""
        try:
            return int(self._memory_note(block).read_bytes()) >= memory
        except FileNotFoundError:
            return False

    def _memory_note(self, block: int) -> Path:
        return self._folder / f".{block}.memory"

    def keep(self, record: FailureRecord) -> None:
        """Take over the final record of an earlier session: the block has no attempt left."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_json(self._folder / f"{record.block}{self._last}", asdict(record))


def read_failures(folder: Path) -> Iterator[FailureRecord]:
    """The records of a session, by block and attempt."""
    if not folder.is_dir():
        return
    yield from sorted(
        map(_read, folder.glob("[!.]*.json")),
        key=lambda record: (-1 if record.block is None else record.block, record.attempt),
    )


def _read(path: Path) -> FailureRecord:
    try:
        return FailureRecord(**json.loads(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise RunDirectoryError(
            f"{path}: this failure record cannot be read: {error}. Remove the file"
        ) from error


@dataclass(frozen=True)
class FailureGroup:
    """Failures of one task that have the same cause and message."""

    records: list[FailureRecord]


def group_failures(records: Iterable[FailureRecord]) -> list[FailureGroup]:
    """Group records by task, cause and the last line of the message, numbers aside; the largest group first."""
    groups: dict[tuple[str, str, str], list[FailureRecord]] = {}
    for record in records:
        last_line = re.sub(r"\d+", "#", record.message.strip().rpartition("\n")[2])
        groups.setdefault((record.task, record.cause, last_line), []).append(record)
    return [FailureGroup(group) for group in sorted(groups.values(), key=len, reverse=True)]
