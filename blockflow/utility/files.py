"""Files that are never half written: written aside, then renamed into place."""

import json
import os
import uuid
from pathlib import Path
from typing import Any

__all__ = ["read_json", "write_aside", "write_json"]


def write_aside(path: Path, data: bytes | memoryview, *, exclusive: bool = False) -> None:
    """Write `data` to `path` so that a reader sees the old content or the new one, never a part.

    With `exclusive`, a file that is there already stays and `FileExistsError` is raised.
    """
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        aside.write_bytes(data)
        if exclusive:
            os.link(aside, path)
            aside.unlink()
        else:
            aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any, *, exclusive: bool = False) -> None:
    """Write `value` as indented JSON, as `write_aside` does."""
    write_aside(path, json.dumps(value, indent=2).encode() + b"\n", exclusive=exclusive)


def read_json(path: Path) -> Any:
    return json.loads(path.read_bytes())
