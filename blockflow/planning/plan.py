"""A plan: the tasks that a graph becomes, as plain data, before anything runs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from blockflow.utility.files import read_json

__all__ = ["FORMAT", "Plan", "PlannedRoi", "PlannedTask", "plan_before"]

FORMAT = 1


@dataclass(frozen=True)
class PlannedRoi:
    """A ROI in lattice units."""

    offset: tuple[int, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class PlannedTask:
    """One task of a plan.

    `kind` is `apply` (computes outputs), `pass` or `merge` (of an operator in stages), or `gate` (waits for all of an
    upstream task). Shapes and contexts are in voxels of the first output, ROIs in lattice units, amounts in bytes.

    Parameters
    ----------
    operators : tuple of str
        What it computes, upstream first.
    inputs, outputs : tuple of str
        Paths of what it reads and writes.
    in_order : tuple of str
        Of the inputs those that another task writes, of which a block waits for what lies in its read ROI.
    context : tuple of pairs
        Voxels that a block reads before and after what it writes, along each axis of space.
    blocks : int
    block_shape : tuple of int
    memory : int
        What a worker is projected to hold beyond its start.
    bytes_read, bytes_written : int
        By all blocks, uncompressed; what is read counts whole chunks.
    read_amplification : float
        Bytes read, in proportion to those of the region that is read once.
    recomputation : float
        Voxels that are computed, in proportion to those that are computed once.
    """

    name: str
    kind: str
    operators: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    total_roi: PlannedRoi
    read_roi: PlannedRoi
    write_roi: PlannedRoi
    fit: str
    block_shape: tuple[int, ...]
    blocks: int
    context: tuple[tuple[int, int], ...]
    memory: int
    bytes_read: int
    bytes_written: int
    read_amplification: float
    recomputation: float
    num_workers: int
    in_order: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Tasks in an order in which each comes after those it depends on.

    `memory_limit` is what a worker may hold, `baseline` what one is projected to hold at its start; `critical_path`
    the tasks that follow one another on the longest way through the plan, weighed by their blocks per worker.
    """

    name: str
    tasks: tuple[PlannedTask, ...]
    lattice: tuple[str, ...]
    num_workers: int
    memory_limit: int
    baseline: int
    critical_path: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    format: int = field(default=FORMAT)

    def __getitem__(self, name: str) -> PlannedTask:
        for task in self.tasks:
            if task.name == name:
                return task
        raise KeyError(f"the plan has no task {name!r}; it has {', '.join(task.name for task in self.tasks)}")

    @property
    def memory(self) -> int:
        """What a worker is projected to hold at most, its start included."""
        return self.baseline + max((task.memory for task in self.tasks), default=0)

    def to_json(self) -> dict[str, Any]:
        """As JSON data; `from_json` is the inverse."""
        return _listed(asdict(self))  # type: ignore[no-any-return]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Plan":
        """The plan that `to_json` described. ValueError for data of another format."""
        if data.get("format") != FORMAT:
            raise ValueError(f"a plan of format {data.get('format')}; this blockflow reads format {FORMAT}")
        tasks = tuple(_task(task) for task in data["tasks"])
        return cls(**{**{name: _frozen(value) for name, value in data.items()}, "tasks": tasks})


def plan_before(run_dir: Path) -> Plan | None:
    """The plan that a run directory was last run with, if it has one that this blockflow reads."""
    try:
        return Plan.from_json(read_json(run_dir / "plan.json"))
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _task(data: Mapping[str, Any]) -> PlannedTask:
    values: dict[str, Any] = {one.name: _frozen(data[one.name]) for one in fields(PlannedTask)}
    for name in ("total_roi", "read_roi", "write_roi"):
        values[name] = PlannedRoi(tuple(data[name]["offset"]), tuple(data[name]["shape"]))
    return PlannedTask(**values)


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
