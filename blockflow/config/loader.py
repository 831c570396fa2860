"""From a config file to a checked config that knows where each of its values stands."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from blockflow.config.document import Document, read_document
from blockflow.config.messages import in_plain_words
from blockflow.config.overrides import apply_override
from blockflow.config.problems import Location, Mark, Problem, raise_problems, shown
from blockflow.config.schema import Config
from blockflow.errors import ConfigError

__all__ = ["MAX_BYTES", "LoadedConfig", "load_config"]

#: a larger file is surely no config
MAX_BYTES = 10_000_000


@dataclass(frozen=True, eq=False)
class LoadedConfig:
    """A config as it was read.

    Parameters
    ----------
    path : Path
        The config file, absolute.
    text : str
        What stands in it, as given.
    config : Config
        What it says, with overrides and environment variables in place; paths are as given.
    folder : Path
        The folder that relative paths count from, absolute.
    overrides : tuple of str
        What was set beside the file.
    marks : mapping of Location to Mark
        Where each value stands.
    """

    path: Path
    text: str
    config: Config
    folder: Path
    overrides: tuple[str, ...]
    marks: Mapping[Location, Mark]

    @property
    def name(self) -> str:
        """What the run is called: as the config says, or like the file."""
        stem = re.sub(r"[^A-Za-z0-9_.-]", "_", self.path.stem).lstrip("-.")
        return self.config.name or stem[:100] or "run"

    @property
    def run_dir(self) -> Path:
        """The run directory, absolute."""
        return Path(self.absolute(self.config.run_dir or f"blockflow_runs/{self.name}"))

    def absolute(self, path: str) -> str:
        """A path of the config as an absolute one, without `..`; a URL stays as it is."""
        if "://" in path:
            return path
        expanded = os.path.expanduser(path)  # noqa: PTH111 (Path.expanduser raises where there is no such user)
        return os.path.abspath(self.folder / expanded)  # noqa: PTH100 (Path.resolve would follow links)

    def problem(self, location: Location, message: str) -> Problem:
        """Something wrong with the value at a location, or where it should stand."""
        return Problem(_mark_of(self.marks, location), location, message)


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> LoadedConfig:
    """Read and check a config file.

    Parameters
    ----------
    path : str or Path
        A YAML file. `${NAME}` in its text values stands for an environment variable, `${CONFIG_DIR}` for
        the folder of the file, `$$` for a `$`.
    overrides : iterable of str
        `key.sub=value`, the value in YAML; a later one wins.

    Raises
    ------
    ConfigError
        With a line for each thing that is wrong, which names the file and line, or the override.
    """
    text = _read_text(Path(path))
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 (Path.resolve would follow links)
    variables = {**os.environ, "CONFIG_DIR": str(absolute.parent)}
    document = read_document(
        text,
        mark=lambda line, column: Mark((0, line, column), f"{path}:{line}"),
        variables=variables,
        whole=lambda line, column: f"{path}:{line}:{column}",
    )
    if document.data is None and not document.problems:
        raise ConfigError(f"{path}: the file is empty; a config has at least 'tasks:' or 'outputs:'")
    if not isinstance(document.data, dict):
        raise_problems(document.problems)
        raise ConfigError(
            f"{document.marks[()].text}: a config is a mapping (lines of 'key: value'), "
            f"not {shown(document.data)}"
        )
    overrides = tuple(overrides)
    for number, override in enumerate(overrides):
        apply_override(document, override, number, variables)
    config = _validate(document)
    return LoadedConfig(absolute, text, config, absolute.parent, overrides, document.marks)


def _read_text(path: Path) -> str:
    try:
        if path.is_dir():
            raise ConfigError(f"{path}: this is a folder; name the config file in it")
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(
                f"{path}: {path.stat().st_size} bytes are too many for a config; is it another file?"
            )
        return path.read_bytes().decode()
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file (looked in {path.absolute().parent})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: no text in UTF-8 (byte {error.start}); a config is a YAML text file"
        ) from None
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _validate(document: Document) -> Config:
    problems, config = list(document.problems), None
    known = {problem.location for problem in problems}
    try:
        config = Config.model_validate(document.data)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            location, message = in_plain_words(detail)
            if location not in known:
                problems.append(Problem(_mark_of(document.marks, location), location, message))
    problems.extend(_shared_names(document))
    raise_problems(problems)
    assert config is not None
    return config


#: sections whose names must differ, and what one is called; a stored output may be called like its operator
_NAMED = (
    ("arrays", "an array"),
    ("operators", "an operator"),
    ("outputs", "an output"),
    ("tasks", "a task"),
    ("segmentations", "a segmentation"),
)


def _shared_names(document: Document) -> list[Problem]:
    problems = []
    taken: dict[str, tuple[str, str]] = {}
    for section, kind in _NAMED:
        names = document.data.get(section)
        for name in names if isinstance(names, dict) else ():
            other = taken.get(name)
            if other is None:
                taken[name] = (section, kind)
            elif (other[0], section) != ("operators", "outputs"):
                where = document.marks[other[0], name].text
                problems.append(
                    Problem(
                        document.marks[section, name],
                        (section, name),
                        f"the name {name!r} is taken by {other[1]} ({where}); rename one",
                    )
                )
    return problems


def _mark_of(marks: Mapping[Location, Mark], location: Location) -> Mark:
    """The mark of a value, or of the nearest one that it would be in."""
    while location and location not in marks:
        location = location[:-1]
    return marks[location]
