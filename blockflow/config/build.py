"""From a checked config to tasks: names become paths, and inputs become dependencies."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

from funlib.geometry import Roi

from blockflow.config.graph import ConfigGraph, operator_references, target_of
from blockflow.config.loader import LoadedConfig
from blockflow.config.models import RoiConfig
from blockflow.config.problems import Location, Problem, raise_problems
from blockflow.config.references import (
    keywords_given_twice,
    place_of_reference,
    references,
    resolve,
    shared_paths,
    upstream_of,
)
from blockflow.config.segmentations import function_file_of, segmentation_references, tasks_of_segmentation
from blockflow.errors import BlockflowError, ConfigError, PlanError
from blockflow.graph.window import UndeclaredRegionError
from blockflow.planning import Planned, Target, assemble, describe_output, draft, plan_before
from blockflow.storage import Array, ArraySpec, ResultsSpec, open_array, open_stored, planned_arrays
from blockflow.tasks import BlockwiseTask, described_outputs, find_worker_file
from blockflow.utility.words import choices

if TYPE_CHECKING:
    from blockflow.graph import Slot

__all__ = ["Run", "build_run"]


@dataclass(frozen=True, eq=False)
class Run:
    """What a config comes to: all tasks, each after those that it depends on, and the plan of its graph."""

    tasks: list[BlockwiseTask]
    planned: Planned | None


def build_run(loaded: LoadedConfig) -> Run:
    """The tasks of a config, and the plan of its graph.

    The worker file of a task gets the absolute paths of its inputs and outputs as keyword arguments, and
    `args` beside them. A task that reads what another one, or the graph, writes depends on it.

    Raises
    ------
    ConfigError
        With a line for each name that means nothing, worker file that is not there, keyword that is given
        twice, or output that something else is using; or for tasks that wait for each other; or for what of the graph
        cannot be made or cut into tasks.
    StorageError
        If an array cannot be opened.
    """
    problems = [*shared_paths(loaded)]
    inputs: dict[str, dict[str, str]] = {}
    needs: dict[str, dict[str, Location]] = {}
    worker_files: dict[str, Path] = {}
    for name, task in loaded.config.tasks.items():
        inputs[name], needs[name] = {}, {}
        for location, given in references(name, task):
            try:
                path, maker = (
                    resolve(loaded, given) if location[2] == "inputs" else upstream_of(loaded, given)
                )
            except ConfigError as error:
                problems.append(loaded.problem(location, str(error)))
                continue
            if location[2] == "inputs":
                inputs[name][str(location[3])] = path
            if maker is not None:
                needs[name].setdefault(maker, location)
        try:
            worker_files[name] = find_worker_file(os.path.expanduser(task.worker_file), loaded.folder)  # noqa: PTH111
        except (BlockflowError, OSError) as error:
            problems.append(loaded.problem(("tasks", name, "worker_file"), str(error)))
        problems += keywords_given_twice(loaded, name, task)
    for name, segmentation in loaded.config.segmentations.items():
        inputs[name], needs[name] = {}, {}
        for location, given in segmentation_references(name, segmentation):
            is_input = location[2] == "input"
            try:
                path, maker = resolve(loaded, given) if is_input else upstream_of(loaded, given)
            except ConfigError as error:
                problems.append(loaded.problem(location, str(error)))
                continue
            if is_input:
                inputs[name]["input"] = path
            if maker is not None:
                needs[name].setdefault(maker, location)
        try:
            function_file_of(loaded, segmentation)
        except (BlockflowError, OSError) as error:
            problems.append(loaded.problem(("segmentations", name, "function_file"), str(error)))
    for name, output in loaded.config.outputs.items():
        needs[name] = {}
        for given in operator_references(loaded, output.slot):
            if given == output.slot:
                message = f"there is no operator {given!r}; {choices(given, loaded.config.operators)}"
                problems.append(loaded.problem(("outputs", name, "slot"), message))
                continue
            try:
                _, maker = resolve(loaded, given, stored=False)
            except ConfigError as error:
                problems.append(loaded.problem(place_of_reference(loaded, given, name), str(error)))
                continue
            if maker is not None:
                needs[name].setdefault(maker, ("outputs", name, "slot"))
    if not problems:
        problems += _circles(loaded, needs)
    raise_problems(problems)
    return _Builder(loaded, inputs, needs, worker_files).run()


class _Builder:
    """Builds worker-file tasks and the graph, which may take from each other in any order."""

    def __init__(
        self,
        loaded: LoadedConfig,
        inputs: Mapping[str, Mapping[str, str]],
        needs: Mapping[str, Mapping[str, Location]],
        worker_files: Mapping[str, Path],
    ) -> None:
        self._loaded = loaded
        self._inputs = inputs
        self._needs = needs
        self._worker_files = worker_files
        self._described: dict[str, ArraySpec | ResultsSpec] = {}
        self._known: set[str] = set()
        self._graph = ConfigGraph(loaded, self._open_named)

    def run(self) -> Run:
        planned = self._plan() if self._loaded.config.outputs else None
        order = {name: list(made) for name, made in self._needs.items()}
        if planned is not None:
            order |= {task.name: list(task.upstream) for task in planned.plan.tasks}
        built: dict[str, BlockwiseTask] = {}
        for name in TopologicalSorter(order).static_order():
            upstream = tuple(built[needed] for needed in order[name])
            if name in self._loaded.config.tasks:
                built[name] = self._task(name, upstream)
            elif name in self._loaded.config.segmentations:
                built[name] = self._segmentation(name, upstream)
            elif planned is not None:
                built[name] = planned.task(planned.plan[name], upstream)
        return Run(list(built.values()), planned)

    def _task(self, name: str, upstream: tuple[BlockwiseTask, ...]) -> BlockwiseTask:
        loaded = self._loaded
        try:
            return _build(loaded, name, self._inputs[name], self._worker_files[name], upstream)
        except BlockflowError as error:
            raise_problems([loaded.problem(("tasks", name), str(error))])
            raise

    def _segmentation(self, name: str, upstream: tuple[BlockwiseTask, ...]) -> BlockwiseTask:
        """The last task of a segmentation; the others are upstream of it."""
        loaded = self._loaded
        for needed in self._needs[name]:
            self._describe(needed)
        try:
            with planned_arrays(self._described.values()):
                return tasks_of_segmentation(loaded, name, self._inputs[name]["input"], upstream)[-1]
        except BlockflowError as error:
            raise_problems([loaded.problem(("segmentations", name), str(error))])
            raise

    def _plan(self) -> Planned:
        loaded = self._loaded
        outputs = loaded.config.outputs
        slots: dict[Slot, Target] = {}
        for name, one in outputs.items():
            slot = self._graph.output(name)
            if slot in slots:
                message = (
                    f"output {slots[slot].name!r} stores this slot, too; store it once, and let all who read it take "
                    "that array"
                )
                raise_problems([loaded.problem(("outputs", name, "slot"), message)])
            slots[slot] = target_of(loaded, name, one)
        for name in (*loaded.config.tasks, *loaded.config.segmentations):
            self._describe(name)
        makers = {
            loaded.absolute(path): name
            for name, task in loaded.config.tasks.items()
            for path in task.outputs.values()
        } | {loaded.absolute(one.output): name for name, one in loaded.config.segmentations.items()}
        compute = loaded.config.compute
        limit = compute.memory if isinstance(compute.memory, int) else None  # auto: what the plan projects
        with planned_arrays(self._described.values()), self._said_in_config():
            others = [open_stored(path) for path in sorted({*self._described, *self._paths_of_tasks()})]
            drafted = draft(
                slots,
                loaded.run_dir / "stages",
                num_workers=compute.num_workers,
                memory=limit,
                scales=[
                    (array.metadata.voxel_size, array.metadata.offset)
                    for array in others
                    if isinstance(array, Array)
                ],
                before=plan_before(loaded.run_dir),
            )
            return assemble(
                drafted, loaded.name, limit, makers, (*loaded.config.tasks, *loaded.config.segmentations)
            )

    @contextmanager
    def _said_in_config(self) -> Iterator[None]:
        """Say where in the config that stands which cannot be planned."""
        config = self._loaded.config
        try:
            yield
        except (PlanError, UndeclaredRegionError) as error:
            sections: dict[str, Iterable[str]] = {
                "compute": ("memory",),
                "outputs": config.outputs,
                "operators": config.operators,
                "tasks": config.tasks,
            }
            location: Location = next(
                ((section, error.about) for section, names in sections.items() if error.about in names),
                ("outputs",),
            )
            raise_problems([self._loaded.problem(location, str(error))])

    def _paths_of_tasks(self) -> set[str]:
        return {path for inputs in self._inputs.values() for path in inputs.values()}

    def _describe(self, name: str) -> None:
        """Know what a task or an output writes, and all that it takes for that, before anything is there."""
        if name in self._known:
            return
        self._known.add(name)
        for needed in self._needs[name]:
            self._describe(needed)
        with planned_arrays(self._described.values()):
            if name in self._loaded.config.tasks:
                found = described_outputs(self._task(name, ()))
            elif name in self._loaded.config.segmentations:
                found = described_outputs(self._segmentation(name, ()))
            else:
                target = target_of(self._loaded, name, self._loaded.config.outputs[name])
                with self._said_in_config():
                    found = [describe_output(self._graph.output(name), target)]
        self._described |= {spec.path: spec for spec in found}

    def _open_named(self, given: str) -> Array:
        path, maker = resolve(self._loaded, given, stored=False)
        if maker is not None:
            self._describe(maker)
        with planned_arrays(self._described.values()):
            return open_array(path)


def _build(
    loaded: LoadedConfig,
    name: str,
    inputs: Mapping[str, str],
    worker_file: Path,
    upstream: tuple[BlockwiseTask, ...],
) -> BlockwiseTask:
    task, compute = loaded.config.tasks[name], loaded.config.compute
    outputs = {keyword: loaded.absolute(path) for keyword, path in task.outputs.items()}
    return BlockwiseTask(
        name=name,
        total_roi=None if task.total_roi == "auto" else _roi(task.total_roi),
        read_roi=_roi(task.read_roi or task.write_roi),
        write_roi=_roi(task.write_roi),
        worker_file=worker_file,
        kwargs={**inputs, **outputs, **task.args},
        fit=task.fit,
        read_write_conflict=task.read_write_conflict,
        num_workers=min(task.num_workers or compute.num_workers, compute.num_workers),
        max_retries=task.max_retries,
        timeout=task.timeout,
        memory=task.memory,
        upstream=upstream,
        inputs=inputs,
        outputs=outputs,
    )


def _roi(roi: RoiConfig) -> Roi:
    return Roi(roi.offset, roi.shape)


def _circles(loaded: LoadedConfig, needs: Mapping[str, Mapping[str, Location]]) -> list[Problem]:
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        circle = error.args[1][:-1]  # each is needed by the next, and the last by the first
        first = min(range(len(circle)), key=lambda index: list(needs).index(circle[index]))
        circle = circle[first:] + circle[:first]
        location = needs[circle[0]][circle[-1]]
        return [
            loaded.problem(
                location,
                f"tasks wait for each other: {' -> '.join([*circle, circle[0]])} (each is needed by the "
                "next); remove one of these inputs or upstream entries",
            )
        ]
    return []
