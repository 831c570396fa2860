"""Running slots of a graph from Python: `blockflow.plan` and `blockflow.run`."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blockflow.compute import create_compute_context
from blockflow.errors import PlanError
from blockflow.execution.driver import run_prepared
from blockflow.execution.fork_server import GRAPH, ForkServer
from blockflow.execution.progress import progress_for
from blockflow.graph import Slot
from blockflow.planning import Plan, Planned, Target, assemble, draft, plan_before
from blockflow.tasks import prepare
from blockflow.utility.quantity import parse_bytes

__all__ = ["plan", "run"]

Where = Target | str | os.PathLike[str]


def run(
    slots: Slot | Mapping[Slot, Where],
    target: Where | None = None,
    *,
    num_workers: int = 1,
    memory: int | str | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    name: str | None = None,
    compute_context: Any = None,
) -> bool:
    """Compute slots of a graph block by block, and store them: voxel for voxel what they answer lazily.

    Parameters
    ----------
    slots : Slot, or mapping of Slot to target
        What is to be stored.
    target : path or Target
        Where; for one slot.
    num_workers : int
        How many workers there are at one time.
    memory : int or str, optional
        What one worker may hold, in bytes or as "4 GB"; blocks are made to fit, and a worker that holds more is
        ended.
    run_dir : path, optional
        The run directory; by default `blockflow_runs/NAME-HASH`, by name and the paths of the targets.
    name : str, optional
        Of the run; by default the first target's.
    compute_context : str, mapping or object, optional
        Where workers run; by default `local`.

    Returns
    -------
    bool
        Whether every block is done. The run directory holds the details.

    Raises
    ------
    BlockflowError
        If something is wrong with the graph or the arguments, before anything has run.
    """
    wanted = _targets(slots, target)
    place, title = _place(wanted, run_dir, name)
    limit = None if memory is None else parse_bytes(memory)
    compute = create_compute_context(_with_memory(compute_context, limit))
    with ForkServer(place, compute, GRAPH) as server:
        planned = _planned(wanted, place, title, num_workers, limit)
        outcome = run_prepared(
            prepare(planned.tasks()),
            place,
            name=title,
            compute=compute,
            server=server,
            num_workers=num_workers,
            progress=progress_for(),
            plan=planned.plan.to_json(),
        )
    return outcome.complete


def plan(
    slots: Slot | Mapping[Slot, Where],
    target: Where | None = None,
    *,
    num_workers: int = 1,
    memory: int | str | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    name: str | None = None,
) -> Plan:
    """The plan that `blockflow.run` would follow, without running anything; arguments as there."""
    wanted = _targets(slots, target)
    place, title = _place(wanted, run_dir, name)
    return _planned(wanted, place, title, num_workers, None if memory is None else parse_bytes(memory)).plan


def _planned(
    wanted: Mapping[Slot, Target], run_dir: Path, name: str, num_workers: int, memory: int | None
) -> Planned:
    if num_workers < 1:
        raise PlanError(f"num_workers is {num_workers}; at least 1 is needed")
    drafted = draft(
        wanted, run_dir / "stages", num_workers=num_workers, memory=memory, before=plan_before(run_dir)
    )
    return assemble(drafted, name, memory)


def _targets(slots: Slot | Mapping[Slot, Where], target: Where | None) -> dict[Slot, Target]:
    if isinstance(slots, Slot):
        if target is None:
            raise PlanError(f"{slots.path}: give the path of the array that it is to be stored in")
        return {slots: Target.of(target)}
    if target is not None:
        raise PlanError("with several slots, give each its target in the mapping, and no other")
    return {slot: Target.of(where) for slot, where in slots.items()}


def _place(
    wanted: Mapping[Slot, Target], run_dir: str | os.PathLike[str] | None, name: str | None
) -> tuple[Path, str]:
    paths = sorted(target.path for target in wanted.values())
    title = name or (Path(paths[0]).stem if paths else "run")
    if run_dir is not None:
        return Path(run_dir).absolute(), title
    digest = hashlib.sha256(json.dumps(paths).encode()).hexdigest()[:12]
    return Path("blockflow_runs", f"{title}-{digest}").absolute(), title


def _with_memory(context: Any, memory: int | None) -> Any:
    if memory is None:
        return context
    if context is None or isinstance(context, str):
        return {"context": context or "local", "memory": memory}
    if isinstance(context, Mapping):
        return {"memory": memory, **context}
    raise PlanError("give memory to the compute context itself, where that is an object")
