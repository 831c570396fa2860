"""A limit on how many blocks are processed at one time, over the workers of several tasks on one machine.

There is one lock file per slot, and each worker is bound to one of them: the workers of the tasks are dealt
out in turn, so workers of different tasks that share a slot do their blocks alternately. A slot is held only
while a block is processed, so a worker that waits for blocks of an upstream task never keeps that task from
getting on. The kernel frees the slot of a worker that dies.
"""

import fcntl
import os
from pathlib import Path

__all__ = ["Slot"]


class Slot:
    """One slot: `take` waits until no other worker has it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)

    def take(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def release(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._file)
