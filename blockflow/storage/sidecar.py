"""Attributes of arrays in formats that have no place for them: a JSON file beside the array."""

from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

from blockflow.errors import StorageError
from blockflow.utility.files import read_json, write_json

__all__ = ["Sidecar", "sidecar_of"]


def sidecar_of(path: str | Path) -> Path:
    """The file that holds the attributes of the array in `path`."""
    return Path(f"{path}.attributes.json")


class Sidecar(MutableMapping[str, Any]):
    """The attributes of an array, each read and written in the moment it is asked for.

    Parameters
    ----------
    path : str or Path
        Of the array.
    defaults : mapping, optional
        What holds where the file says nothing.
    """

    def __init__(self, path: str | Path, defaults: dict[str, Any] | None = None) -> None:
        self._file = sidecar_of(path)
        self._defaults = defaults or {}

    def asdict(self) -> dict[str, Any]:
        """All of them."""
        try:
            stored = read_json(self._file)
        except FileNotFoundError:
            stored = {}
        except ValueError as error:
            raise StorageError(f"{self._file}: this is no JSON: {error}. Correct it, or remove it") from None
        if not isinstance(stored, dict):
            raise StorageError(f"{self._file}: attributes are an object with names in braces, not {stored!r}")
        return {**self._defaults, **stored}

    def __getitem__(self, name: str) -> Any:
        return self.asdict()[name]

    def __setitem__(self, name: str, value: Any) -> None:
        write_json(self._file, {**self.asdict(), name: value})

    def __delitem__(self, name: str) -> None:
        stored = self.asdict()
        del stored[name]
        write_json(self._file, stored)

    def __iter__(self) -> Iterator[str]:
        return iter(self.asdict())

    def __len__(self) -> int:
        return len(self.asdict())
