"""Which blocks are done: Daisy's tracking stores by recipe and geometry, and what a new run may skip.

A store belongs to one recipe, one block grid and the very output arrays that it was written for. It holds
Daisy's own marks (`done`) and a journal: one byte per block that workers set when they begin to write it and
when its voxels are committed. Daisy's marks say what is finished; the journal says what was touched, and so
which marks of *other* recipes no longer hold. Every use of a store gives it the next place in an order, so of
two recipes that touched a place, the later one's voxels are there.

All maps are arrays over block grids, so a million blocks take milliseconds.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from funlib.geometry import Roi
from numpy.typing import NDArray

from blockflow.errors import RunDirectoryError
from blockflow.execution.journal import Mark
from blockflow.execution.store import BoolMap, Store
from blockflow.tasks import BlockGrid, Recipe

__all__ = ["TrackingPlan", "count_done", "done_blocks", "plan_tracking", "unmark"]


@dataclass(frozen=True)
class TrackingPlan:
    """What a run of a task goes by.

    `skip` is true where an earlier run of the same recipe on another grid did the very same block; what
    `tracking_path` itself holds, Daisy skips. `remaining` is true for the blocks that are left.
    """

    store: Path
    tracking_path: Path
    journal: Path
    skip: BoolMap | None
    grid: BlockGrid
    remaining: BoolMap
    changes: Sequence[str]

    @property
    def to_do(self) -> int:
        """How many blocks are left."""
        return int(np.count_nonzero(self.remaining))

    def reserve(self) -> None:
        """Give the marks of the blocks their room on the disk, once the engine is up. `OSError` if there is none."""
        Store.load(self.store).reserve()


def plan_tracking(
    folder: Path,
    recipe: Recipe,
    grid: BlockGrid,
    generations: Mapping[str, str],
    upstream: Sequence[TrackingPlan] = (),
) -> TrackingPlan:
    """Find or make the store for this recipe and grid, and see what earlier runs have done already.

    Parameters
    ----------
    folder : Path
        The task's tracking folder.
    recipe, grid
        Of the run that begins.
    generations : mapping of str to str
        The stamp of each output array by its path: marks for other arrays do not count.
    upstream : sequence of TrackingPlan
        Of the tasks that this one waits for. A block that reads where they have blocks to do is done again: when
        it was done, the voxels there were not.
    """
    stores, changes = _valid_stores(folder, generations)
    _forget_overwritten(stores)
    own = next((s for s in stores if s.recipe.hash == recipe.hash and s.grid == grid), None)
    if own is None:
        own = Store(folder / _key(recipe, grid, generations), recipe, grid, generations, 0)
        if own.path.exists():  # what a process left that was killed while it removed or made a store
            shutil.rmtree(own.path)
    others = [store for store in stores if store is not own]
    own.order = 1 + max((store.order for store in stores), default=0)
    own.save()

    same = [store for store in others if store.recipe.hash == recipe.hash]
    different = [store for store in others if store.recipe.hash != recipe.hash]
    if any(before.to_do for before in upstream):
        for store in (own, *same):
            store.unmark(_reading_what_remains(store.grid, upstream))
    done = own.done()
    skip = np.zeros(grid.shape, np.bool_)
    for store in same:
        skip |= _same_blocks(store.done(), store.grid, grid)
    _renew_journal(own, others)
    if different and not same and not done.any():
        latest = max(different, key=lambda store: store.order)
        changes += [f"{line}: all its blocks are done again" for line in recipe.changes_since(latest.recipe)]
    return TrackingPlan(
        store=own.path,
        tracking_path=own.daisy_path,
        journal=own.journal_path,
        skip=skip if skip.any() else None,
        grid=grid,
        remaining=~(done | skip),
        changes=changes,
    )


def done_blocks(store: Path) -> tuple[BlockGrid, BoolMap, NDArray[np.uint8]]:
    """The grid of a store, which of its blocks are done by Daisy's marks, and its journal."""
    loaded = Store.load(store)
    return loaded.grid, loaded.done(), loaded.journal()


def count_done(store: Path, folder: Path) -> int:
    """How many blocks of a store's grid are done by its recipe, in this store or another one of the folder."""
    own = Store.load(store)
    done = own.done()
    for path in folder.glob("*/about.json"):
        other = Store.load(path.parent)
        if (
            path.parent != store
            and other.recipe.hash == own.recipe.hash
            and other.generations == own.generations
        ):
            done |= _same_blocks(other.done(), other.grid, own.grid)
    return int(np.count_nonzero(done))


def unmark(folder: Path, roi: Roi | None) -> int:
    """Take back the marks of all blocks that write in `roi` (`None`: anywhere); says how many there were.

    Raises `RunDirectoryError` if the ROI has another number of axes.
    """
    stores = [Store.load(path.parent) for path in sorted(folder.glob("*/about.json"))]
    return sum(store.unmark(_writing_in(store.grid, roi)) for store in stores)


def _writing_in(grid: BlockGrid, roi: Roi | None) -> BoolMap:
    if roi is None:
        return np.ones(grid.shape, np.bool_)
    if roi.dims != grid.total_roi.dims:
        raise RunDirectoryError(f"ROI {roi} has {roi.dims} axes, the blocks have {grid.total_roi.dims}")
    result = np.ones((), np.bool_)
    for axis in range(roi.dims):
        begin, end = _edges(grid, axis)
        result = np.logical_and.outer(result, (begin < roi.end[axis]) & (end > roi.begin[axis]))
    return result


def _key(recipe: Recipe, grid: BlockGrid, outputs: Iterable[str]) -> str:
    place = hashlib.sha256(json.dumps([grid.to_json(), sorted(outputs)], sort_keys=True).encode()).hexdigest()
    return f"{recipe.hash[:16]}-{place[:8]}"


def _valid_stores(folder: Path, generations: Mapping[str, str]) -> tuple[list[Store], list[str]]:
    """The stores whose outputs are still the same arrays; the others are thrown away, with a line each."""
    stores, lost = [], set()
    for path in sorted(folder.glob("*/about.json")):
        store = Store.load(path.parent)
        store.mend()
        if store.generations and generations.keys().isdisjoint(store.generations):
            continue  # of other arrays: it holds again when the run writes those
        replaced = {name for name, stamp in store.generations.items() if generations.get(name) != stamp}
        if replaced:
            lost |= replaced
            (store.path / "about.json").unlink()  # first, so that half a store is none
            shutil.rmtree(store.path)
        else:
            stores.append(store)
    return stores, [
        f"{name} is new, or another run has written it since: its blocks are done again"
        for name in sorted(lost)
    ]


def _forget_overwritten(stores: Sequence[Store]) -> None:
    for store in stores:
        overwritten = np.zeros(store.grid.shape, np.bool_)
        for newer in stores:
            if newer.order > store.order:
                overwritten |= _meeting_others(newer.touched(), newer, store)
        if overwritten.any():
            store.forget(overwritten)


def _meeting_others(blocks: BoolMap, store: Store, target: Store) -> BoolMap:
    """Which blocks of `target` write where any of `blocks` of `store` writes that is not the very same block."""
    meeting = _overlapping(blocks, store.grid, target.grid)
    if store.recipe.hash == target.recipe.hash:
        meeting &= ~_same_blocks(np.ones(store.grid.shape, np.bool_), store.grid, target.grid)
    return meeting


def _renew_journal(own: Store, others: Sequence[Store]) -> None:
    """Prepare the journal for a new session: what check functions found is asked again, unless others wrote there."""
    marks = own.journal()
    marks[(marks == Mark.FOUND_DONE) | (marks == Mark.OTHER_RECIPE)] = Mark.UNTOUCHED
    for store in others:
        written = _meeting_others(store.ever_touched(), store, own)
        marks[written & (marks == Mark.UNTOUCHED)] = Mark.OTHER_RECIPE
    own.write_journal(marks)


def _reading_what_remains(grid: BlockGrid, upstream: Sequence[TrackingPlan]) -> BoolMap:
    """Which blocks read where a block of an upstream task is still to be done."""
    reading = np.zeros(grid.shape, np.bool_)
    for before in upstream:
        reading |= _overlapping(before.remaining, before.grid, grid, margin=grid.context)
    return reading


def _edges(grid: BlockGrid, axis: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the write ROIs along an axis begin and end."""
    begin = grid.origin[axis] + np.arange(grid.shape[axis], dtype=np.int64) * grid.write_roi.shape[axis]
    end = begin + grid.write_roi.shape[axis]
    return begin, np.minimum(end, grid.writable.end[axis]) if grid.fit == "shrink" else end


def _overlapping(
    blocks: BoolMap,
    grid: BlockGrid,
    target: BlockGrid,
    margin: tuple[Sequence[int], Sequence[int]] | None = None,
) -> BoolMap:
    """Which blocks of `target` write, with a `margin` around it read, where any of `blocks` (over `grid`) writes."""
    if grid.total_roi.dims != target.total_roi.dims:
        return np.full(target.shape, blocks.any(), dtype=np.bool_)

    def along(axis: int) -> Callable[[NDArray[np.int64]], NDArray[np.int64]]:
        (begin, end), (low, high) = _edges(grid, axis), _edges(target, axis)
        if margin is not None:
            low, high = low - margin[0][axis], high + margin[1][axis]
        first = np.searchsorted(end, low, side="right")
        last = np.maximum(np.searchsorted(begin, high, side="left"), first)
        return lambda sums: np.take(sums, last, axis) - np.take(sums, first, axis)

    result: NDArray[Any] = blocks
    for axis in range(blocks.ndim):
        padding = [(0, 0)] * blocks.ndim
        padding[axis] = (1, 0)
        sums = np.cumsum(np.pad(result, padding), axis=axis, dtype=np.int64)
        result = along(axis)(sums) > 0
    return result


def _same_blocks(blocks: BoolMap, grid: BlockGrid, target: BlockGrid) -> BoolMap:
    """Which blocks of `target` are, ROI for ROI, among `blocks` (a map over `grid` of the same recipe)."""
    result = np.zeros(target.shape, np.bool_)
    taken, given, equal = [], [], []
    for axis in range(blocks.ndim):
        shift, rest = divmod(target.origin[axis] - grid.origin[axis], grid.write_roi.shape[axis])
        if rest:
            return result
        low = max(0, -shift)
        high = min(target.shape[axis], grid.shape[axis] - shift)
        if low >= high:
            return result
        taken.append(slice(low + shift, high + shift))
        given.append(slice(low, high))
        same_end = _edges(grid, axis)[1][taken[axis]] == _edges(target, axis)[1][given[axis]]
        equal.append(same_end)
    same = np.ones((), np.bool_)
    for ends in equal:
        same = np.logical_and.outer(same, ends)
    result[tuple(given)] = blocks[tuple(taken)] & same
    return result
