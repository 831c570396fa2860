"""Event files: what each process did, one line of JSON per event, one file per process."""

import json
import os
import time
from pathlib import Path
from typing import Any

__all__ = ["EventLog", "last_event"]

_TAIL = 512


class EventLog:
    """An event file that this process alone appends to.

    Each line has `t` (seconds since the epoch), `m` (this machine's monotonic clock), `event`, and what
    belongs to it. Lines reach the operating system at once, so they outlive a killed process.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o666)

    def write(self, event: str, **more: Any) -> None:
        extra = f", {json.dumps(more)[1:-1]}" if more else ""
        self._line(event, extra)

    def write_block(self, event: str, block: int) -> None:
        """The event of a block, by its number; made for speed."""
        self._line(event, f', "block": {block}')

    def _line(self, event: str, extra: str) -> None:
        line = f'{{"t": {time.time():.6f}, "m": {time.monotonic():.6f}, "event": "{event}"{extra}}}\n'
        os.write(self._file, line.encode())

    def close(self) -> None:
        os.close(self._file)


def last_event(path: Path) -> dict[str, Any] | None:
    """The last whole event in the file, or `None` if there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            tail = _TAIL
            while True:
                start = max(0, size - tail)
                file.seek(start)
                lines = file.read(size - start).split(b"\n")
                event = _last_whole(lines[1 if start else 0 : -1])
                if event is not None or start == 0:
                    return event
                tail *= 8
    except FileNotFoundError:
        return None


def _last_whole(lines: list[bytes]) -> dict[str, Any] | None:
    for line in reversed(lines):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            return event
    return None
