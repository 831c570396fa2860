"""The part of a config that knows where it runs."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from blockflow.compute import create_compute_context
from blockflow.config.models import Model
from blockflow.errors import ConfigError
from blockflow.utility.quantity import parse_bytes

__all__ = ["Amount", "ComputeConfig"]


def _bytes(amount: Any) -> Any:
    if amount is None or amount == "auto":
        return amount
    try:
        return parse_bytes(amount)
    except ValueError as error:
        raise PydanticCustomError("no_memory", "{reason}", {"reason": str(error)}) from None


#: an amount of memory, as '4 GB', '512 MiB' or in bytes
Amount = Annotated[int | None, BeforeValidator(_bytes)]


def _text(number: Any) -> Any:
    return str(number) if isinstance(number, int) and not isinstance(number, bool) else number


def _time(time: Any) -> Any:
    from blockflow.compute.slurm.options import parse_time

    if time is None or isinstance(time, bool) or not isinstance(time, int | str):
        return time
    try:
        parse_time(time)
    except ValueError as error:
        raise PydanticCustomError("no_time", "{reason}", {"reason": str(error)}) from None
    return str(time)


_Line = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\n\r\x00]*$")]
_Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]

#: keys of `compute` that belong to a cluster
_CLUSTER_KEYS = (
    *("max_memory", "partition", "account", "qos", "constraint", "time", "cpus_per_worker", "gpus", "gres"),
    *("modules", "prologue", "environment", "sbatch_args", "host"),
)


class ComputeConfig(Model):
    """Where workers run, and how many of them. All below `memory` is for the contexts 'slurm' and 'srun'."""

    context: Literal["serial", "local", "slurm", "srun"] = Field(
        default="local",
        description="'serial': everything in one process, for debugging; 'local': worker processes here; "
        "'slurm': elements of a job array per task; 'srun': tasks of steps inside an allocation.",
    )
    num_workers: int = Field(
        default=1,
        ge=1,
        description="Workers at one time, all tasks together; with 'slurm' and 'srun' of each task.",
    )
    memory: Annotated[int | Literal["auto"] | None, BeforeValidator(_bytes)] = Field(
        default=None,
        description="What one worker may hold, as '4 GB', '512 MiB' or in bytes; one that holds more is ended. "
        "'auto', for a cluster: what the task is projected to hold, and a margin.",
    )
    max_memory: Amount = Field(
        default=None,
        description="The most that a worker is given after others ran out of memory; by default twice memory.",
    )
    partition: _Line | None = Field(default=None, description="As sbatch's --partition.")
    account: _Line | None = Field(default=None, description="As sbatch's --account.")
    qos: _Line | None = Field(default=None, description="As sbatch's --qos.")
    constraint: _Line | None = Field(default=None, description="As sbatch's --constraint.")
    time: Annotated[str | None, BeforeValidator(_time)] = Field(
        default=None,
        description="How long one worker may run: minutes, HH:MM:SS, D-HH or D-HH:MM:SS. It is replaced while "
        "there is work.",
    )
    cpus_per_worker: int = Field(default=1, ge=1, description="CPUs of one worker.")
    gpus: Annotated[_Line | None, BeforeValidator(_text)] = Field(
        default=None, description="GPUs of one worker, as 1 or 'a100:1' (--gpus-per-task)."
    )
    gres: _Line | None = Field(default=None, description="As sbatch's --gres.")
    modules: list[_Line] = Field(default_factory=list, description="Modules to load before each worker.")
    prologue: list[_Line] = Field(
        default_factory=list, description="Lines of shell to run before each worker."
    )
    environment: dict[_Variable, _Line] = Field(
        default_factory=dict, description="Variables of the workers' environment."
    )
    sbatch_args: list[_Line] = Field(
        default_factory=list, description="Further arguments of sbatch (or srun), as '--reservation=night'."
    )
    host: _Line | None = Field(
        default=None,
        description="The address at which the nodes reach the driver's machine; by default it is found out.",
    )

    @model_validator(mode="after")
    def _fits_context(self) -> Self:
        on_cluster = self.context in ("slurm", "srun")
        given = [key for key in _CLUSTER_KEYS if key in self.model_fields_set and not on_cluster]
        if self.memory == "auto" and not on_cluster:
            given.append("memory: auto")
        if given:
            raise PydanticCustomError(
                "not_a_cluster",
                "the context {context} takes no {given}; these are for the contexts slurm and srun",
                {"context": self.context, "given": ", ".join(given)},
            )
        if on_cluster:
            try:
                create_compute_context(self.spec())
            except ConfigError as error:
                raise PydanticCustomError("no_options", "{reason}", {"reason": str(error)}) from None
        return self

    def spec(self) -> dict[str, Any]:
        """What `create_compute_context` makes the context from."""
        return self.model_dump(exclude={"num_workers"}, exclude_defaults=True) | {"context": self.context}
