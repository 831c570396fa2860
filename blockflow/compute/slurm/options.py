"""What a config may say under `compute` for Slurm, checked; and the amounts that it means."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self

from blockflow.errors import ConfigError
from blockflow.utility.quantity import parse_bytes

__all__ = ["OWN_ARGUMENTS", "SlurmOptions", "parse_time"]

#: what we ask sbatch for ourselves, so that `sbatch_args` cannot
OWN_ARGUMENTS = (
    *("array", "comment", "dependency", "error", "input", "job-name", "ntasks", "open-mode", "output"),
    *("parsable", "signal", "test-only", "wait", "wrap", "a", "d", "e", "i", "J", "n", "o", "W"),
)

_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<first>\d+)(?::(?P<second>\d+))?(?::(?P<third>\d+))?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def parse_time(time: int | str) -> int:
    """Seconds of a time as sbatch takes it: minutes, `MM:SS`, `HH:MM:SS`, `D-HH`, `D-HH:MM` or `D-HH:MM:SS`.

    Raises `ValueError` if it is none, or not positive.
    """
    match = _TIME.fullmatch(str(time).strip())
    seconds = 0
    if match is not None:
        first, second, third = (int(match[name] or 0) for name in ("first", "second", "third"))
        if match["days"] is not None:
            seconds = ((int(match["days"]) * 24 + first) * 60 + second) * 60 + third
        elif match["third"] is not None:
            seconds = (first * 60 + second) * 60 + third
        else:
            seconds = first * 60 + second
    if seconds <= 0:
        raise ValueError(
            f"{time!r} is no time for sbatch; write minutes, HH:MM:SS, D-HH or D-HH:MM:SS, as in 4:00:00"
        )
    return seconds


@dataclass(frozen=True)
class SlurmOptions:
    """The options of the contexts `slurm` and `srun`.

    Parameters
    ----------
    memory : int or 'auto', optional
        Bytes per worker; `auto`: what the task is projected to hold, and a margin. `None`: the site's default.
    max_memory : int, optional
        The most that a worker may be given after others ran out of memory. `None`: twice the first amount.
    partition, account, qos, constraint, gres : str, optional
        As sbatch takes them.
    time : int or str, optional
        How long one worker may run: minutes, `HH:MM:SS`, ... `None`: the partition's default.
    cpus_per_worker : int
    gpus : int or str, optional
        GPUs per worker, as `--gpus-per-task` takes them.
    modules, prologue : sequence of str
        Modules to load, then lines of shell to run, before each worker.
    environment : mapping of str to str
        Variables for the workers.
    sbatch_args : sequence of str
        Further arguments of sbatch (or srun), as `--reservation=night`.
    host : str, optional
        The address at which the nodes reach the machine of the driver. `None`: it is found out.

    Raises
    ------
    ConfigError
        If a value cannot be what it says.
    """

    memory: int | Literal["auto"] | None = None
    max_memory: int | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: int | str | None = None
    cpus_per_worker: int = 1
    gpus: int | str | None = None
    gres: str | None = None
    modules: Sequence[str] = ()
    prologue: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    sbatch_args: Sequence[str] = ()
    host: str | None = None

    def __post_init__(self) -> None:
        for name in ("partition", "account", "qos", "constraint", "gpus", "gres", "host"):
            self._one_line(name, getattr(self, name))
        if self.memory is not None and self.memory != "auto":
            object.__setattr__(self, "memory", self._bytes("memory", self.memory))
        if self.max_memory is not None:
            object.__setattr__(self, "max_memory", self._bytes("max_memory", self.max_memory))
        if self.max_memory is not None and isinstance(self.memory, int) and self.max_memory < self.memory:
            raise ConfigError(f"max_memory {self.max_memory} is less than memory {self.memory}; give more")
        if self.time is not None:
            try:
                parse_time(self.time)
            except ValueError as error:
                raise ConfigError(f"time {error}") from None
        if isinstance(self.cpus_per_worker, bool) or not isinstance(self.cpus_per_worker, int):
            raise ConfigError(f"cpus_per_worker is {self.cpus_per_worker!r}; give a whole number")
        if self.cpus_per_worker < 1:
            raise ConfigError(f"cpus_per_worker is {self.cpus_per_worker}; at least 1 is needed")
        for name in ("modules", "prologue", "sbatch_args"):
            lines = getattr(self, name)
            if isinstance(lines, str) or not isinstance(lines, Sequence):
                raise ConfigError(f"{name} is {lines!r}; give a list of lines")
            for line in lines:
                self._one_line(name, line)
        for argument in self.sbatch_args:
            _check_argument(argument)
        for variable, value in self.environment.items():
            if not _VARIABLE.fullmatch(str(variable)):
                raise ConfigError(f"environment has {variable!r}, which is no name of a variable")
            self._one_line(f"environment.{variable}", str(value))

    @classmethod
    def from_mapping(cls, context: str, options: Mapping[str, Any]) -> Self:
        """The options of a mapping. Raises `ConfigError`, naming the context."""
        valid = [field.name for field in fields(cls)]
        others = [key for key in options if key not in valid]
        if others:
            raise ConfigError(
                f"compute context {context!r} takes no {', '.join(map(repr, others))}; its keys are 'context', "
                f"{', '.join(map(repr, valid))}"
            )
        try:
            return cls(**options)
        except ConfigError as error:
            raise ConfigError(f"compute context {context!r}: {error}") from None

    def to_mapping(self) -> dict[str, Any]:
        """The options that are not as they are by default, as JSON data."""
        data: dict[str, Any] = {}
        for option in fields(self):
            value = getattr(self, option.name)
            if isinstance(value, Mapping):
                value = dict(value)
            elif isinstance(value, Sequence) and not isinstance(value, str):
                value = list(value)
            if value not in (None, [], {}) and (option.name, value) != ("cpus_per_worker", 1):
                data[option.name] = value
        return data

    @staticmethod
    def _bytes(name: str, amount: int | str) -> int:
        try:
            return parse_bytes(amount)
        except ValueError as error:
            raise ConfigError(f"{name} {error}") from None

    @staticmethod
    def _one_line(name: str, value: Any) -> None:
        if value is None or isinstance(value, int):
            return
        if not isinstance(value, str) or not value or any(character in value for character in "\n\r\0"):
            raise ConfigError(f"{name} is {value!r}; give one line of text")


def _check_argument(argument: str) -> None:
    name = argument.lstrip("-").partition("=")[0].split(" ", 1)[0]
    if not argument.startswith("-") or not name:
        raise ConfigError(f"sbatch_args has {argument!r}; write each as one text, as in --reservation=night")
    if name in OWN_ARGUMENTS or (not argument.startswith("--") and name[0] in OWN_ARGUMENTS):
        raise ConfigError(f"sbatch_args has {argument!r}, which blockflow sets itself; leave it out")
