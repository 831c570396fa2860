"""The journal of a tracking store: one byte per block, set by workers as they begin and commit it."""

import os
from enum import IntEnum
from pathlib import Path

__all__ = ["Journal", "Mark"]


class Mark(IntEnum):
    """What the journal says of a block."""

    UNTOUCHED = 0
    BEGUN = 1
    COMMITTED = 2
    FOUND_DONE = 3  # by the task's own check function
    OTHER_RECIPE = (
        4  # another recipe wrote here, or this one in blocks cut otherwise: no check function is asked
    )
    OVERWRITTEN = 5  # begun or committed, and then overwritten by such blocks: none is asked here either


class Journal:
    """A store's journal, one byte per block, written in place by many processes."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR)

    def mark(self, block: int, mark: Mark) -> None:
        os.pwrite(self._file, bytes((mark,)), block)

    def __getitem__(self, block: int) -> int:
        return os.pread(self._file, 1, block)[0]

    def close(self) -> None:
        os.close(self._file)
