"""From a draft to a plan as data, and to the tasks that are run."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from funlib.geometry import Coordinate, Roi

from blockflow.errors import PlanError
from blockflow.graph import StagedOperator
from blockflow.graph.afterwards import asking_operators
from blockflow.planning.block_shape import Choice, inner_block
from blockflow.planning.border_blocks import as_inner_blocks, reads_around
from blockflow.planning.part import ApplyPart, BlockCost, Part, PassPart, held_bytes
from blockflow.planning.plan import Plan, PlannedRoi, PlannedTask
from blockflow.planning.planner import BASELINE, DEFAULT_MEMORY, Draft, Stage, needs
from blockflow.planning.programs import inputs_of, program_of
from blockflow.tasks import BlockwiseTask
from blockflow.tasks.geometry import BlockGrid

__all__ = ["Planned", "assemble"]

#: blocks along an axis whose context is looked at
_PERIOD = 16

#: a plan warns where a worker reads, or computes, more than this many times what is needed once
_MUCH = 3.0


@dataclass(frozen=True, eq=False)
class Planned:
    """A plan, and what it takes to make its tasks."""

    plan: Plan
    draft: Draft

    @asking_operators()
    def tasks(self) -> list[BlockwiseTask]:
        """The plan's tasks, each after those it depends on; they depend on no others."""
        tasks: dict[str, BlockwiseTask] = {}
        for planned in self.plan.tasks:
            tasks[planned.name] = self.task(planned, tuple(tasks[name] for name in planned.upstream))
        return list(tasks.values())

    def task(self, planned: PlannedTask, upstream: tuple[BlockwiseTask, ...]) -> BlockwiseTask:
        """One task of the plan, after those of `upstream`."""
        draft = self.draft
        program, outputs = program_of(draft, planned)
        target = next((one.target for one in draft.outputs if one.array.path in planned.outputs), None)
        return BlockwiseTask(
            name=planned.name,
            total_roi=Roi(planned.total_roi.offset, planned.total_roi.shape),
            read_roi=Roi(planned.read_roi.offset, planned.read_roi.shape),
            write_roi=Roi(planned.write_roi.offset, planned.write_roi.shape),
            lattice=draft.lattice,
            process_function=program,
            fit=planned.fit,
            read_write_conflict=False,
            num_workers=planned.num_workers,
            max_retries=target.max_retries if target else 2,
            timeout=target.timeout if target else None,
            memory=self.plan.baseline + planned.memory,
            upstream=upstream,
            inputs=inputs_of(draft, planned),
            outputs=outputs,
        )


@asking_operators()
def assemble(
    draft: Draft,
    name: str,
    memory: int | None,
    makers: Mapping[str, str] | None = None,
    others: Iterable[str] = (),
) -> Planned:
    """The plan of a draft; `others` are further tasks of the run, `makers` those that write arrays, by path."""
    planner = _Assembly(draft, dict(makers or {}), frozenset(others))
    tasks = planner.tasks()
    plan = Plan(
        name=name,
        tasks=tuple(tasks),
        lattice=tuple(draft.lattice.texts()),
        num_workers=draft.num_workers,
        memory_limit=memory or DEFAULT_MEMORY,
        baseline=BASELINE,
        critical_path=_critical_path(tasks),
        warnings=tuple(planner.warnings),
        notes=tuple(planner.notes),
    )
    return Planned(plan, draft)


class _Assembly:
    """Makes the planned tasks of a draft, one after the other."""

    def __init__(self, draft: Draft, makers: dict[str, str], taken: frozenset[str]) -> None:
        self.draft = draft
        self.makers = makers
        self._taken = taken
        self.warnings: list[str] = []
        self.notes: list[str] = []
        self._done: dict[str, PlannedTask] = {}

    def tasks(self) -> list[PlannedTask]:
        for output in self.draft.outputs:
            if output.slot in self.draft.kept:
                self.notes.append(
                    f"{output.slot.path} is stored though nobody asked for it, since computing it again would take "
                    f"longer: {output.target.path}"
                )
        for part in self.draft.parts:
            self._add_part(part)
        return list(self._done.values())

    def _add_part(self, part: Part) -> None:
        draft, choice = self.draft, self.draft.choices[part.name]
        frame = part.frame
        fit = part.output.target.fit if isinstance(part, ApplyPart) else "shrink"
        once = part.cost(frame.roi)
        if isinstance(part, PassPart):
            part = replace(part, write_shape=choice.shape)
        computing = part.operators(frame.roi)
        if isinstance(part, PassPart):
            computing.append(part.operator)
        paths, merged = needs(part, draft.stages)
        write = Roi(frame.roi.offset, choice.shape)
        before, after, regular = _context(part, BlockGrid(frame.roi, write, write, fit))
        total = frame.roi.grow(before, after)
        grid = BlockGrid(total, write.grow(before, after), write, fit)
        made = sorted(paths & self.makers.keys())
        upstream = [f"{stage.part.name.removesuffix('-pass')}-merge" for stage in merged]
        for path in made:
            maker = self.makers[path]
            upstream.append(maker if regular.get(path, True) else self._gate(maker, grid))
        for name in upstream:
            self._widen(name, total)
        outputs = (self._stage_of(part).results,) if isinstance(part, PassPart) else (frame.path,)
        voxel = frame.voxel_size
        planned = PlannedTask(
            name=self._unique(part.name),
            kind="apply" if isinstance(part, ApplyPart) else "pass",
            operators=tuple(draft.names.get(one, one.name) for one in computing),
            inputs=(*sorted(paths), *(stage.merged for stage in merged)),
            outputs=outputs,
            total_roi=_planned(total),
            read_roi=_planned(grid.read_roi),
            write_roi=_planned(write),
            fit=fit,
            block_shape=tuple(int(size) for size in choice.shape / voxel),
            blocks=grid.number_of_blocks,
            context=tuple(
                (math.ceil(a / size), math.ceil(b / size))
                for a, b, size in zip(before, after, voxel, strict=True)
            ),
            memory=choice.cost.memory,
            bytes_read=int(choice.cost.bytes_read * self._whole_blocks(part, choice.shape, "bytes_read")),
            bytes_written=part.bytes_written(frame.roi),
            read_amplification=self._times(part, choice, once, "bytes_read"),
            recomputation=self._times(part, choice, once, "computed"),
            num_workers=self._workers(part),
            in_order=tuple(path for path in made if regular.get(path, True)),
            upstream=tuple(dict.fromkeys(upstream)),
        )
        self._warn(planned, grid, reads_around(part))
        self._warn_of_untold(planned, part)
        approximate = [
            draft.names.get(one, one.name)
            for one in part.operators(frame.roi)
            if one.exactness == "approximate"
        ]
        if approximate:
            self.warnings.append(
                f"{planned.name}: {', '.join(approximate)} gives blockwise only about what it gives for the whole"
            )
        if choice.better is not None:
            self.notes.append(
                f"{planned.name}: blocks stay {list(planned.block_shape)} voxels, as when this run directory was last "
                f"run, so that what is done stays done. Blocks of {list(choice.better.shape / voxel)} would take about "
                f"{100 * choice.better.seconds / choice.seconds:.0f} % of the time: to do it all anew, give block_shape"
            )
        self._done[planned.name] = planned
        if isinstance(part, PassPart):
            self._add_merge(planned, self._stage_of(part), total)
        else:
            self.makers[frame.path] = planned.name

    def _stage_of(self, part: PassPart) -> Stage:
        return self.draft.stages[part.operator]

    def _workers(self, part: Part) -> int:
        asked = part.output.target.num_workers if isinstance(part, ApplyPart) else None
        return min(asked or self.draft.num_workers, self.draft.num_workers)

    def _unique(self, name: str) -> str:
        if name in self._done or name in self._taken:
            raise PlanError(
                f"two tasks of the plan would be called {name!r}; give one, or what it is made for, another name",
                name,
            )
        return name

    def _add_merge(self, passed: PlannedTask, stage: Stage, roi: Roi) -> None:
        name = self._unique(passed.name.removesuffix("-pass") + "-merge")
        single = self._single(name, "merge", roi, (stage.results,), (stage.merged,), passed)
        grid = stage.part.grid(self.draft.choices[stage.part.name].shape)
        taken = stage.operator.merge_bytes(grid)
        self._done[name] = replace(single, memory=held_bytes(taken) if taken else 0)

    def _gate(self, maker: str, grid: BlockGrid) -> str:
        """A task of one block that waits for all of another one, where blocks read it from elsewhere."""
        name = f"{maker}-all"
        if name not in self._done:
            self._unique(name)
            upstream = self._done.get(maker)
            covers = _roi(upstream.total_roi) if upstream is not None else grid.total_roi
            self._done[name] = self._single(
                name, "gate", covers.union(grid.total_roi), (), (), upstream or maker
            )
        return name

    def _single(
        self,
        name: str,
        kind: str,
        roi: Roi,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        upstream: PlannedTask | str,
    ) -> PlannedTask:
        one = _planned(roi)
        operators = upstream.operators[-1:] if isinstance(upstream, PlannedTask) and kind == "merge" else ()
        return PlannedTask(
            name=name,
            kind=kind,
            operators=operators,
            inputs=inputs,
            outputs=outputs,
            total_roi=one,
            read_roi=one,
            write_roi=one,
            fit="shrink",
            block_shape=(),
            blocks=1,
            context=(),
            memory=0,
            bytes_read=0,
            bytes_written=0,
            read_amplification=1.0,
            recomputation=1.0,
            num_workers=1,
            upstream=(upstream.name if isinstance(upstream, PlannedTask) else upstream,),
        )

    def _widen(self, name: str, roi: Roi) -> None:
        """Let the one block of a merge or gate reach as far as those who wait for it: they find it by its ROI."""
        task = self._done.get(name)
        if task is None or task.kind not in ("merge", "gate"):
            return
        if roi.dims != len(task.total_roi.shape):
            raise PlanError(
                f"what {name} merges has {len(task.total_roi.shape)} axes of space, and an output that needs it "
                f"{roi.dims}; store a result with as many axes",
                name.removesuffix("-merge"),
            )
        wide = _planned(_roi(task.total_roi).union(roi))
        self._done[name] = replace(task, total_roi=wide, read_roi=wide, write_roi=wide)

    def _warn_of_untold(self, planned: PlannedTask, part: Part) -> None:
        """Stored inputs that an operator does not say that it reads: workers do not have them."""
        read = {step.slot for step in part.walk(part.frame.roi)}
        for operator in part.operators(part.frame.roi):
            if isinstance(operator, StagedOperator):
                continue  # its pass reads what its parts need no more
            for leaf in (leaf for slot in operator.inputs.values() for leaf in slot._leaves()):
                if leaf.source in part.stored and leaf.source not in read:
                    self.warnings.append(
                        f"{planned.name}: {leaf.path} is {part.stored[leaf.source].path}, and requiredInputRoi of "
                        f"{type(operator).__name__} does not name it: a block that asks for it fails"
                    )

    def _whole_blocks(self, part: Part, shape: Coordinate, figure: str) -> float:
        """As how many whole blocks all of them count, since those at the end are smaller, or read around the array."""
        if reads_around(part):
            return as_inner_blocks(part, shape, inner_block(part.frame.roi, shape), attrgetter(figure))
        sizes = zip(part.frame.roi.shape, shape, strict=True)
        return float(math.prod(size / edge for size, edge in sizes))

    def _times(self, part: Part, choice: Choice, once: BlockCost, figure: str) -> float:
        """How many times what is needed once all blocks together take."""
        block, needed = getattr(choice.cost, figure), getattr(once, figure)
        whole = self._whole_blocks(part, choice.shape, figure)
        return round(max(1.0, block * whole / needed), 3) if needed else 1.0

    def _warn(self, planned: PlannedTask, grid: BlockGrid, around: Sequence[str]) -> None:
        if planned.read_amplification > _MUCH:
            context = f"have a context of {[list(pair) for pair in planned.context]}"
            if around:
                context = f"at the border read all of each axis that {', '.join(around)} goes around"
            self.warnings.append(
                f"{planned.name}: {planned.read_amplification:.1f} times the input is read, since blocks of "
                f"{list(planned.block_shape)} voxels {context}. More memory, or larger chunks, let blocks be larger"
            )
        if planned.recomputation > _MUCH:
            self.warnings.append(
                f"{planned.name}: {planned.recomputation:.1f} times as many voxels are computed as there are, since "
                "contexts add up along the chain. Store an intermediate, by an output of its own"
            )
        if grid.fit == "valid" and grid.unprocessed:
            share = 100 * grid.unprocessed / math.prod(grid.writable.shape)
            self.warnings.append(
                f"{planned.name}: fit 'valid' leaves {share:.1f} % of the output unprocessed, where no whole block fits"
            )
        if planned.blocks < planned.num_workers:
            self.warnings.append(
                f"{planned.name}: {planned.blocks} blocks for {planned.num_workers} workers: some will have nothing "
                "to do"
            )


def _context(part: Part, grid: BlockGrid) -> tuple[Coordinate, Coordinate, dict[str, bool]]:
    """How far blocks read before and after what they write, in lattice units; and whether, by path, all do alike.

    Where those that are looked at differ, others may reach farther still: by as much as these differ, at most, as
    workers make sure.
    An array that a flip, a transposition or the like lies before is read from elsewhere: no context tells where.
    """
    zero = Coordinate((0,) * part.frame.roi.dims)
    voxel_sizes = {array.path: array.voxel_size for array in part.stored.values()}
    reach: dict[str, list[tuple[Coordinate, Coordinate]]] = {}
    for write_roi in _samples(grid):
        for path, roi in part.read_rois(write_roi.intersect(part.frame.roi)).items():
            if roi.dims != zero.dims:
                raise PlanError(
                    f"{part.name}: {path} has {roi.dims} axes of space and what is written {zero.dims}; all arrays of "
                    "a run must have the same number",
                    part.about,
                )
            reach.setdefault(path, []).append((write_roi.begin - roi.begin, roi.end - write_roi.end))
    before, after, regular = zero, zero, {}
    for path, found in reach.items():
        slack = (voxel_sizes[path] + part.frame.voxel_size) * 2
        regular[path] = all(
            max(values) - min(values) <= more
            for side in (0, 1)
            for values, more in zip(zip(*(pair[side] for pair in found), strict=True), slack, strict=True)
        )
        if regular[path]:
            before, after = (
                _largest(known, (value + _spread(side) for value in side))
                for known, side in zip((before, after), zip(*found, strict=True), strict=True)
            )
    sizes = (part.frame.voxel_size, *voxel_sizes.values())
    common = Coordinate(math.lcm(*along) for along in zip(*sizes, strict=True))
    return _up(before, common), _up(after, common), regular


def _samples(grid: BlockGrid) -> Iterator[Roi]:
    """Write ROIs of blocks at the corners of the grid, and along each axis of the first ones, in the middle, and the
    last: what is resampled is read alike by every so many blocks.
    """
    found = dict.fromkeys(itertools.product(*({0, count - 1} for count in grid.shape)))
    for axis, count in enumerate(grid.shape):
        for place in {*range(min(count, _PERIOD)), count // 2}:
            found.setdefault(tuple(place * (one == axis) for one in range(len(grid.shape))))
    for position in found:
        yield grid.write_roi_of(position)


def _largest(least: Coordinate, others: Iterable[Coordinate]) -> Coordinate:
    return Coordinate(max(values) for values in zip(least, *others, strict=True))


def _spread(values: Sequence[Coordinate]) -> Coordinate:
    return Coordinate(max(along) - min(along) for along in zip(*values, strict=True))


def _up(value: Coordinate, step: Coordinate) -> Coordinate:
    return Coordinate(-(-a // b) * b for a, b in zip(value, step, strict=True))


def _planned(roi: Roi) -> PlannedRoi:
    return PlannedRoi(tuple(int(value) for value in roi.offset), tuple(int(value) for value in roi.shape))


def _roi(planned: PlannedRoi) -> Roi:
    return Roi(planned.offset, planned.shape)


def _critical_path(tasks: Sequence[PlannedTask]) -> tuple[str, ...]:
    longest: dict[str, tuple[float, tuple[str, ...]]] = {}
    for task in tasks:
        length, path = max((longest[name] for name in task.upstream if name in longest), default=(0.0, ()))
        longest[task.name] = length + task.blocks / task.num_workers, (*path, task.name)
    return max(longest.values(), default=(0.0, ()))[1]
