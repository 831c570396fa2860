"""From slots of a graph and where they are to be stored, to a plan."""

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from graphlib import TopologicalSorter
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from funlib.geometry import Coordinate

from blockflow.errors import PlanError
from blockflow.graph import Operator, Slot, StagedOperator
from blockflow.graph.afterwards import asking_operators
from blockflow.graph.probing import probe_undeclared
from blockflow.graph.regions import walk_back
from blockflow.planning.block_shape import Choice, choose_block_shape, inner_block
from blockflow.planning.part import ApplyPart, Output, Part, PassPart
from blockflow.planning.plan import Plan
from blockflow.planning.target import Target, spec_of, storable_shape, volume_of_slot
from blockflow.storage import Array, ArraySpec, Lattice, open_array, use_lattice
from blockflow.stype import ArrayLike
from blockflow.tasks.graph_data import GraphData, path_of_array, refresh
from blockflow.utility.quantity import format_bytes

__all__ = ["BASELINE", "DEFAULT_MEMORY", "Draft", "Stage", "describe_output", "draft", "needs"]

#: bytes that a worker holds when it has loaded what it needs and begun no block
BASELINE = 96 * 2**20

#: bytes that a worker may hold where nothing is said of it
DEFAULT_MEMORY = 2 * 10**9


@dataclass(frozen=True, eq=False)
class Stage:
    """An operator in stages: its pass, and where its results and what is merged of them are."""

    operator: StagedOperator
    part: PassPart
    results: str
    merged: str


@dataclass(frozen=True, eq=False)
class Draft:
    """A graph, cut into parts, each with its block shape, in an order in which each follows those it needs.

    `kept` are the slots that it stores though nobody asked for it.
    """

    graph: GraphData
    names: Mapping[Operator, str]
    lattice: Lattice
    parts: Sequence[Part]
    choices: Mapping[str, Choice]
    stages: Mapping[Operator, Stage]
    outputs: Sequence[Output]
    kept: Sequence[Slot]
    num_workers: int

    @property
    def seconds(self) -> float:
        """What it takes by the model of `block_shape`."""
        return sum(choice.seconds for choice in self.choices.values())


@asking_operators()
def draft(
    outputs: Mapping[Slot, Target | str | os.PathLike[str]],
    work_dir: Path,
    *,
    num_workers: int = 1,
    memory: int | None = None,
    scales: Iterable[tuple[Sequence[float], Sequence[float]]] = (),
    before: Plan | None = None,
) -> Draft:
    """Cut a graph into parts.

    Parameters
    ----------
    outputs : mapping of Slot to Target or path
        What is to be stored.
    work_dir : Path
        Where results of stages are kept, and what the plan stores by itself.
    num_workers : int
        Workers at one time.
    memory : int, optional
        Bytes that a worker may hold, its start included; by default `DEFAULT_MEMORY`, whatever the machine has, so
        that the plan is the same everywhere.
    scales : iterable of (voxel size, offset)
        Of further arrays of the same run, for the lattice.
    before : Plan, optional
        The plan that the run was last run with: its block shapes are kept as far as they can be, and what it
        stores by itself, so that what is done stays done.

    Raises
    ------
    PlanError, StorageError, TaskError
        With what to change; nothing was written.
    """
    if not outputs:
        raise PlanError("there is nothing to be stored: give at least one slot and a path for it")
    memory = DEFAULT_MEMORY if memory is None else memory
    if memory <= BASELINE:
        raise PlanError(
            f"a worker may hold {format_bytes(memory)}, and holds {format_bytes(BASELINE)} when it starts; give more "
            "memory",
            "memory",
        )
    targets = {slot: Target.of(target) for slot, target in outputs.items()}
    refresh(targets)
    for slot, target in targets.items():
        storable_shape(slot, target)
    probe_undeclared(targets)
    cut = partial(
        _cut,
        work_dir=work_dir,
        num_workers=num_workers,
        budget=memory - BASELINE,
        scales=tuple(scales),
        before={task.name: task.block_shape for task in before.tasks} if before else {},
    )
    best = cut(targets)
    if before is not None:
        return _stored_before(best, targets, work_dir, cut, before)
    while (better := _with_one_stored(best, targets, work_dir, cut)) is not None:
        best = better
    return best


def _cut(
    targets: Mapping[Slot, Target],
    kept: Mapping[Slot, Target] = MappingProxyType({}),
    *,
    work_dir: Path,
    num_workers: int,
    budget: int,
    scales: Sequence[Any],
    before: Mapping[str, tuple[int, ...]],
) -> Draft:
    """A draft that stores what is asked for, and `kept`."""
    graph = GraphData.of(targets)
    names = graph.names(targets)
    read = _arrays_of(targets)
    specs = _specs({**targets, **kept}, read)
    staged = _staged(targets)
    layouts = {operator: _layout(operator, read, names) for operator in staged}
    _refuse_other_axes(specs, {**targets, **kept}, read)
    described = [*specs.values(), *layouts.values()]
    lattice = Lattice.of(
        [
            *((array.metadata.voxel_size, array.metadata.offset) for array in read.values()),
            *((spec.metadata.voxel_size, spec.metadata.offset) for spec in described),
            *scales,
        ]
    )
    with use_lattice(lattice):
        stored = {slot: open_array(array.path) for slot, array in read.items()}
    outputs = [
        Output(slot, target, specs[slot], specs[slot].planned(lattice))
        for slot, target in {**targets, **kept}.items()
    ]
    # what fit 'valid' leaves unwritten is not what the slot answers, so it is not read in its place
    stored |= {output.slot.source: output.array for output in outputs if output.target.fit != "valid"}
    stages: dict[Operator, Stage] = {
        operator: _stage(operator, layouts[operator].planned(lattice), stored, names, work_dir)
        for operator in staged
    }
    applied: list[Part] = [_part(output, stored) for output in outputs]
    parts = _in_order([*applied, *(stage.part for stage in stages.values())], stages)
    for part in parts:
        _refuse_objects(part)
    choices = {part.name: _choose(part, num_workers, budget, before.get(part.name)) for part in parts}
    return Draft(graph, names, lattice, parts, choices, stages, outputs, tuple(kept), num_workers)


#: what the model must promise at least of storing something that nobody asked for: seconds of all workers together,
#: and a share of the time
_LEAST_GAIN, _LEAST_SHARE = 4.0, 0.2

#: how many slots are weighed for being stored
_MOST_CANDIDATES = 12


def _with_one_stored(
    current: Draft, targets: Mapping[Slot, Target], work_dir: Path, cut: Callable[..., Draft]
) -> Draft | None:
    """The draft with one more slot stored, where computing it again costs clearly more than to store and read it."""
    if current.seconds * current.num_workers < _LEAST_GAIN:
        return None
    kept = {output.slot: output.target for output in current.outputs if output.slot in current.kept}
    best = None
    for slot in _computed_again(current)[:_MOST_CANDIDATES]:
        trial = cut(targets, {**kept, slot: _own_target(current, slot, work_dir)})
        if best is None or trial.seconds < best.seconds:
            best = trial
    if best is None:
        return None
    gain = (current.seconds - best.seconds) * current.num_workers
    return None if gain < max(_LEAST_GAIN, _LEAST_SHARE * current.seconds * current.num_workers) else best


def _stored_before(
    current: Draft, targets: Mapping[Slot, Target], work_dir: Path, cut: Callable[..., Draft], before: Plan
) -> Draft:
    """The draft that stores by itself what the plan before did."""
    paths = {path for task in before.tasks for path in task.outputs}
    asked = {output.slot.source for output in current.outputs}
    kept = {
        step.slot: _own_target(current, step.slot, work_dir)
        for part in current.parts
        for step in part.walk(part.frame.roi)
        if part.is_computed(step) and step.slot not in asked
    }
    kept = {slot: target for slot, target in kept.items() if target.path in paths}
    return cut(targets, kept) if kept else current


def _own_target(draft: Draft, slot: Slot, work_dir: Path) -> Target:
    """Where a slot is stored that nobody asked for."""
    operator = slot.operator
    assert operator is not None
    name = draft.names.get(operator, operator.name)
    return Target.of(str(work_dir / f"{name}-{slot.name}.zarr"))


def _computed_again(draft: Draft) -> list[Slot]:
    """Slots that several parts compute, or one part more than once; those that come to most voxels first."""
    voxels: Counter[Slot] = Counter()
    for part in draft.parts:
        choice = draft.choices[part.name]
        final = {output.slot.source for output in draft.outputs}
        for step in part.walk(inner_block(part.frame.roi, choice.shape)):
            if part.is_computed(step) and step.slot not in final and step.slot.ready():
                region = math.prod(b - a for a, b in zip(step.start, step.stop, strict=True))
                voxels[step.slot] += region * choice.blocks
    whole = {slot: math.prod(slot.meta.shape) for slot in voxels}
    again = [slot for slot in voxels if voxels[slot] > 1.2 * whole[slot] > 1]
    return sorted(again, key=lambda slot: whole[slot] - voxels[slot])


def _arrays_of(slots: Iterable[Slot]) -> dict[Slot, Array]:
    """The arrays that slots take their data from, by the slots that have them as values."""
    found: dict[Slot, Array] = {}
    seen: set[Slot] = set()
    stack = [slot.source for slot in slots]
    while stack:
        slot = stack.pop()
        if slot in seen:
            continue
        seen.add(slot)
        path = path_of_array(slot._value)
        if path is not None:
            found[slot] = open_array(path)
        elif slot._value is None and slot.operator is not None and not slot.is_input:
            inputs = (leaf for taken in slot.operator.inputs.values() for leaf in taken._leaves())
            stack += [leaf.source for leaf in inputs if leaf.ready()]
    return found


def _specs(targets: Mapping[Slot, Target], read: Mapping[Slot, Array]) -> dict[Slot, ArraySpec]:
    inputs = {os.path.realpath(array.path): array.path for array in read.values()}
    taken: dict[str, Slot] = {}
    specs = {}
    for slot, target in targets.items():
        path = os.path.realpath(target.path)
        if path in inputs:
            raise PlanError(
                f"{slot.path} would be stored in {target.path}, which is read; choose another path",
                target.task_name,
            )
        if path in taken:
            raise PlanError(
                f"{slot.path} and {taken[path].path} would both be stored in {target.path}; give each its own path",
                target.task_name,
            )
        taken[path] = slot
        specs[slot] = _spec(slot, target, read)
    return specs


def _refuse_other_axes(
    specs: Mapping[Slot, ArraySpec], targets: Mapping[Slot, Target], read: Mapping[Slot, Array]
) -> None:
    """PlanError for an output that has other axes of space than what is read."""
    for array in read.values():
        known = len(array.metadata.spatial_axes)
        for slot, spec in specs.items():
            axes = len(spec.metadata.spatial_axes)
            if axes != known:
                raise PlanError(
                    f"{slot.path} has shape {spec.shape}, with {axes} axes of space, and {array.path}, which it is "
                    f"computed from, {known}: all arrays of a run have the same number. A statistic is an input of "
                    f"other operators in a run; for the numbers themselves ask for them: {slot.path}[:].wait()",
                    targets[slot].task_name,
                )


@asking_operators()
def describe_output(slot: Slot, target: Target) -> ArraySpec:
    """The array that a slot is to be stored in, as `draft` describes it."""
    return _spec(slot, target, _arrays_of([slot]))


def _spec(slot: Slot, target: Target, read: Mapping[Slot, Array]) -> ArraySpec:
    """Chunks are those of an input of the same shape, or else of any."""
    shape = tuple(slot.meta.shape or ())
    like = next((array for array in read.values() if array.shape == shape), None) or next(
        iter(read.values()), None
    )
    return spec_of(slot, target, like)


def _staged(slots: Iterable[Slot]) -> list[StagedOperator]:
    """The operators in stages that slots need, upstream ones first."""
    found: dict[StagedOperator, None] = {}
    for slot in slots:
        whole = {slot.source: ((0,) * len(slot.meta.shape), tuple(slot.meta.shape))}
        for step in walk_back(whole):
            operator = step.slot.operator
            if step.is_computed and isinstance(operator, StagedOperator):
                for inner in _staged([operator.inputs[operator.stage_input]]):
                    found.setdefault(inner)
                found.setdefault(operator)
    return list(found)


def _layout(operator: StagedOperator, read: Mapping[Slot, Array], names: Mapping[Operator, str]) -> ArraySpec:
    """The input of an operator in stages as an array, for the blocks of its pass."""
    slot = operator.inputs[operator.stage_input]
    shape = tuple(int(size) for size in slot.meta.shape)
    like = next((array for array in read.values() if array.shape == shape), None)
    target = Target(f"the input of {names.get(operator, operator.name)}")
    return replace(spec_of(slot, target, like), metadata=volume_of_slot(slot))


def _stage(
    operator: StagedOperator,
    layout: Array,
    stored: Mapping[Slot, Array],
    names: Mapping[Operator, str],
    work_dir: Path,
) -> Stage:
    name = names.get(operator, operator.name)
    part = PassPart(f"{name}-pass", stored, operator, layout)
    return Stage(operator, part, str(work_dir / f"{name}-results"), str(work_dir / f"{name}-merged"))


def _part(output: Output, stored: Mapping[Slot, Array]) -> ApplyPart:
    reads = {slot: array for slot, array in stored.items() if slot is not output.slot.source}
    return ApplyPart(output.target.task_name, reads, output)


def needs(part: Part, stages: Mapping[Operator, Stage]) -> tuple[set[str], list[Stage]]:
    """Paths of the arrays that a part reads, and the stages of which it needs what was merged."""
    steps = part.walk(part.frame.roi)
    paths = {part.stored[step.slot].path for step in steps if step.slot in part.stored}
    merged = [stages[operator] for operator in part.operators(part.frame.roi) if operator in stages]
    return paths, merged


def _in_order(parts: Sequence[Part], stages: Mapping[Operator, Stage]) -> list[Part]:
    makers = {part.output.array.path: part for part in parts if isinstance(part, ApplyPart)}
    edges: dict[Part, list[Part]] = {}
    for part in parts:
        paths, merged = needs(part, stages)
        edges[part] = [makers[path] for path in sorted(paths) if path in makers and makers[path] is not part]
        edges[part] += [stage.part for stage in merged]
    return list(TopologicalSorter(edges).static_order())


def _refuse_objects(part: Part) -> None:
    """PlanError for what is computed and is no array of numbers: blocks hold arrays."""
    for step in part.walk(part.frame.roi):
        if part.is_computed(step) and (
            not isinstance(step.slot.stype, ArrayLike) or np.dtype(step.slot.meta.dtype).hasobject
        ):
            raise PlanError(
                f"{step.slot.path} is computed and is no array of numbers, so that blocks cannot have it. Let its "
                "operator give numbers, or set the value itself: slot.setValue(value)",
                part.about,
            )


def _choose(part: Part, num_workers: int, memory: int, block_before: tuple[int, ...] | None) -> Choice:
    extent = part.frame.roi.shape
    if isinstance(part, ApplyPart):
        workers = min(part.output.target.num_workers or num_workers, num_workers)
        wanted = _wanted(part.output)
    else:
        workers, wanted = num_workers, None
    unit = Coordinate(map(min, part.frame.spatial_write_unit, extent))
    voxel = part.frame.voxel_size
    known = block_before is not None and len(block_before) == len(voxel)
    before = Coordinate(block_before) * voxel if known else None
    return choose_block_shape(part, unit, workers, memory, wanted, before)


def _wanted(output: Output) -> Coordinate | None:
    """The block shape that a target asks for, in lattice units."""
    shape = output.target.block_shape
    if shape is None:
        return None
    array = output.array
    axes = array.metadata.spatial_axes
    if len(shape) not in (len(array.shape), len(axes)) or any(size < 1 for size in shape):
        raise PlanError(
            f"{output.slot.path}: block_shape {list(shape)} must be {len(array.shape)} positive numbers, one for each "
            f"axis of {list(array.shape)}",
            output.target.task_name,
        )
    spatial = [shape[axis] for axis in axes] if len(shape) == len(array.shape) else shape
    return Coordinate(spatial) * array.voxel_size
