"""What is done and what is not: against a model that remembers every voxel, and against Daisy itself."""

import itertools
import shutil
import sys
import tempfile
from pathlib import Path

import daisy.v2 as daisy
import numpy as np
import pytest
import zarr
from funlib.geometry import Coordinate, Roi
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from blockflow.errors import RunDirectoryError
from blockflow.execution.journal import Journal, Mark
from blockflow.execution.tracking import (
    _overlapping,
    _same_blocks,
    count_done,
    done_blocks,
    plan_tracking,
)
from blockflow.tasks import FITS, BlockGrid, Recipe

properties = settings(max_examples=150, deadline=None)


def _recipe(grid, parameter=0):
    """A recipe as the tasks make it: it holds the parameters and all of the grid but its place and size."""
    return Recipe.of(
        arguments={"threshold": parameter},
        blocks={
            "read": list(grid.read_roi.shape),
            "write": list(grid.write_roi.shape),
            "context": [list(margin) for margin in grid.context],
            "fit": grid.fit,
        },
    )


def _line(total, write=4, context=0, begin=0, fit="shrink"):
    """A grid along one axis; `begin` and `total` do not count the context."""
    return BlockGrid(
        Roi((begin - context,), (total + 2 * context,)),
        Roi((-context,), (write + 2 * context,)),
        Roi((0,), (write,)),
        fit,
    )


def _make_marks(plan, grid):
    """Daisy's array of marks, as Daisy lays it out: C order, a cell per write ROI that the total ROI has room for."""
    folder = plan.tracking_path / "done"
    if not folder.exists():
        shape = [
            -(-have // step) for have, step in zip(grid.total_roi.shape, grid.write_roi.shape, strict=True)
        ]
        zarr.create_group(plan.tracking_path)
        array = zarr.create_array(
            folder, shape=shape, chunks=shape, dtype="u1", compressors=None, fill_value=0
        )
        array[...] = 9  # what lies beyond the grid is Daisy's own business
        array[tuple(slice(0, count) for count in grid.shape)] = 0
    return zarr.open_array(folder, mode="r+")


def _do(plan, grid, done=(), *, begun=(), committed=(), found=()):
    """Leave behind what a session leaves in which these blocks, by number, came that far."""
    marks, journal = _make_marks(plan, grid), Journal(plan.journal)
    for blocks, mark in ((begun, Mark.BEGUN), (committed, Mark.COMMITTED), (done, Mark.COMMITTED)):
        for block in blocks:
            journal.mark(block, mark)
    for block in found:
        journal.mark(block, Mark.FOUND_DONE)
    for block in (*done, *found):
        marks[grid.position_of(block)] = 1
    journal.close()


def _do_all(plan, grid):
    _do(plan, grid, range(grid.number_of_blocks))


def _counted_done(plan):
    """The numbers of the blocks that a run would not do."""
    _, done, _ = done_blocks(plan.store)
    if plan.skip is not None:
        done = done | plan.skip
    return set(np.flatnonzero(done).tolist())


# --- against a model -----------------------------------------------------------------------------------


@st.composite
def _sequences(draw):
    """Grids of two kinds of blocks with two parameters each, over changing volumes, and what is done of each."""
    dims = draw(st.integers(1, 2))
    longest = {1: 14, 2: 7}[dims]

    def numbers(low, high):
        return draw(st.lists(st.integers(low, high), min_size=dims, max_size=dims))

    kinds = []
    for _ in range(2):
        context, write = numbers(0, 1), numbers(1, 4)
        read = [2 * margin + size for margin, size in zip(context, write, strict=True)]
        kinds.append((Roi([0] * dims, read), Roi(context, write), draw(st.sampled_from(FITS))))
    steps = []
    for _ in range(draw(st.integers(2, 6))):
        read, write, fit = draw(st.sampled_from(kinds))
        total = Roi(numbers(0, 3), numbers(1, longest))
        try:
            grid = BlockGrid(total, read, write, fit)
        except ValueError:
            assume(False)
        fates = draw(
            st.lists(
                st.sampled_from(["", "begun", "committed", "done", "done", "found"]),
                min_size=grid.number_of_blocks,
                max_size=grid.number_of_blocks,
            )
        )
        steps.append((_recipe(grid, draw(st.integers(0, 1))), grid, fates, draw(st.integers(0, 9)) == 0))
    return steps


class _Model:
    """Every voxel's writers in order, and the blocks that are done. A block is its recipe and its two ROIs."""

    def __init__(self):
        self.writers = {}
        self.done = {}

    @staticmethod
    def blocks(recipe, grid):
        return [
            (recipe.hash, tuple(map(tuple, (read.begin, read.end, write.begin, write.end))))
            for read, write in grid
        ]

    @staticmethod
    def voxels(block):
        _, (_, _, begin, end) = block
        return set(itertools.product(*map(range, begin, end)))

    def write(self, block):
        voxels = self.voxels(block)
        for voxel in voxels:
            self.writers.setdefault(voxel, []).append(block)
        self.done = {
            other: its_voxels
            for other, its_voxels in self.done.items()
            if other == block or not its_voxels & voxels
        }

    def finish(self, block):
        self.done[block] = self.voxels(block)

    def has_foreign_voxels(self, block):
        """Whether the voxels that are there now are another block's, at least one of them."""
        return any(self.writers[v][-1] != block for v in self.voxels(block) if v in self.writers)

    def was_ever_foreign(self, block):
        return any(set(self.writers[v]) - {block} for v in self.voxels(block) if v in self.writers)

    def replace_output(self):
        self.writers.clear()
        self.done.clear()


@properties
@given(_sequences())
def test_exactly_the_blocks_count_as_done_whose_voxels_are_still_there(steps):
    """After any sequence of recipes, volumes, kills and replaced outputs a block counts as done if and only if
    it was done by the same recipe with the same ROIs, and no other block has written into it since. The check
    function is kept from blocks with others' voxels, and only from blocks that had some."""
    model, stamp = _Model(), 0
    with tempfile.TemporaryDirectory() as folder:
        for recipe, grid, fates, replaced in steps:
            if replaced:
                stamp += 1
                model.replace_output()
            blocks = model.blocks(recipe, grid)
            plan = plan_tracking(Path(folder), recipe, grid, {"out": str(stamp)})

            done = _counted_done(plan)
            assert done == {number for number, block in enumerate(blocks) if block in model.done}
            assert plan.to_do == len(blocks) - len(done) == len(blocks) - count_done(plan.store, Path(folder))

            journal = Journal(plan.journal)
            may_ask = [journal[i] not in (Mark.OTHER_RECIPE, Mark.OVERWRITTEN) for i in range(len(blocks))]
            for block, asked in zip(blocks, may_ask, strict=True):
                if asked:
                    assert not model.has_foreign_voxels(block)
                elif block not in model.done:
                    assert model.was_ever_foreign(block)
            untouched = {i for i in range(len(blocks)) if journal[i] == Mark.UNTOUCHED}
            journal.close()

            ways = {way: [] for way in ("begun", "committed", "done", "found")}
            for number, fate in enumerate(fates):
                if number in done or not fate or (fate == "found" and number not in untouched):
                    continue
                ways[fate].append(number)
                if fate != "found":
                    model.write(blocks[number])
                if fate in ("done", "found"):
                    model.finish(blocks[number])
            _do(plan, grid, **ways)


@st.composite
def _two_grids(draw):
    """Two grids over the same axes, with a map over the first."""
    dims = draw(st.integers(1, 3))

    def numbers(low, high):
        return draw(st.lists(st.integers(low, high), min_size=dims, max_size=dims))

    def grid(write, context, fit):
        read = [2 * margin + size for margin, size in zip(context, write, strict=True)]
        total = Roi(numbers(-4, 4), numbers(1, {1: 20, 2: 9, 3: 6}[dims]))
        try:
            return BlockGrid(total, Roi([0] * dims, read), Roi(context, write), fit)
        except ValueError:
            assume(False)

    write, context, fit = numbers(1, 4), numbers(0, 1), draw(st.sampled_from(FITS))
    first = grid(write, context, fit)
    second = (
        grid(write, context, fit)
        if draw(st.booleans())
        else grid(numbers(1, 4), numbers(0, 1), draw(st.sampled_from(FITS)))
    )
    cells = first.number_of_blocks
    blocks = np.array(draw(st.lists(st.booleans(), min_size=cells, max_size=cells))).reshape(first.shape)
    return first, blocks, second


@properties
@given(_two_grids())
def test_overlap_is_found_as_by_comparing_all_pairs(case):
    """The blocks that write where marked blocks of another grid write are those whose write ROIs intersect."""
    grid, blocks, target = case
    marked = [write for (_, write), is_marked in zip(grid, blocks.ravel(), strict=True) if is_marked]
    expected = [any(write.intersects(other) for other in marked) for _, write in target]
    assert _overlapping(blocks, grid, target).ravel().tolist() == expected


@properties
@given(_two_grids())
def test_same_blocks_are_found_as_by_comparing_all_pairs(case):
    """Of two grids with the same kind of blocks, the same blocks are those with equal read and write ROIs."""
    grid, blocks, target = case
    assume(_recipe(grid) == _recipe(target))
    marked = [rois for rois, is_marked in zip(grid, blocks.ravel(), strict=True) if is_marked]
    expected = [rois in marked for rois in target]
    assert _same_blocks(blocks, grid, target).ravel().tolist() == expected


def test_grids_with_other_numbers_of_axes_meet_everywhere():
    """Where another recipe wrote a volume of other axes, no place is known, so every block may be overwritten."""
    flat, deep = _line(8), BlockGrid(Roi((0, 0), (4, 8)), Roi((0, 0), (4, 4)), Roi((0, 0), (4, 4)), "valid")
    assert _overlapping(np.array([True, False]), flat, deep).all()
    assert not _overlapping(np.array([False, False]), flat, deep).any()


# --- against Daisy -------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("total", "context", "write", "fit"),
    [
        ((23,), (2,), (4,), "shrink"),
        ((11, 13), (1, 2), (3, 4), "shrink"),
        ((11, 13), (1, 2), (3, 4), "overhang"),
        ((12, 15), (1, 2), (3, 4), "valid"),
        ((7, 9, 6), (1, 0, 1), (2, 3, 2), "shrink"),
    ],
)
def test_daisys_marks_are_read_as_daisy_writes_them(tmp_path, monkeypatch, total, context, write, fit):
    """A real run's marks are read block for block, and what is taken back Daisy does again, and only that."""
    monkeypatch.chdir(tmp_path)
    context, write = Coordinate(context), Coordinate(write)
    grid = BlockGrid(
        Roi([5] * len(total), total),
        Roi([0] * len(total), write + context * 2),
        Roi(context, write),
        fit,
    )
    bad, did = {1, 4}, []

    def process(block):
        number = grid.index_of(block.write_roi.begin)
        did.append(number)
        journal = Journal(plan.journal)
        journal.mark(number, Mark.COMMITTED)
        journal.close()
        if number in bad:
            block.status = daisy.BlockStatus.FAILED

    def run():
        did.clear()
        task = daisy.Task(
            "task",
            grid.total_roi,
            grid.read_roi,
            grid.write_roi,
            process_function=process,
            read_write_conflict=False,
            fit=fit,
            max_retries=0,
            tracking_path=str(plan.tracking_path),
            skip_mask=plan.skip,
        )
        daisy.run_blockwise(task, multiprocessing=False, progress=False, summary=False)

    everything = set(range(grid.number_of_blocks))
    plan = plan_tracking(tmp_path / "tracking", _recipe(grid), grid, {})
    run()
    assert sorted(did) == sorted(everything)
    plan = plan_tracking(tmp_path / "tracking", _recipe(grid), grid, {})
    assert _counted_done(plan) == everything - bad
    assert plan.to_do == len(bad)

    # another recipe writes over the first and the last block
    other = plan_tracking(tmp_path / "tracking", _recipe(grid, 1), grid, {})
    ends = {0, grid.number_of_blocks - 1}
    _do(other, grid, begun=ends)
    plan = plan_tracking(tmp_path / "tracking", _recipe(grid), grid, {})
    assert _counted_done(plan) == everything - bad - ends
    run()
    assert set(did) == bad | ends

    # over everything
    other = plan_tracking(tmp_path / "tracking", _recipe(grid, 1), grid, {})
    _do(other, grid, begun=everything)
    plan = plan_tracking(tmp_path / "tracking", _recipe(grid), grid, {})
    assert plan.to_do == grid.number_of_blocks
    run()
    assert set(did) == everything


@pytest.mark.parametrize("way", [{"compressors": "auto"}, {"chunks": (2,)}])
def test_marks_in_an_unknown_way_are_refused(tmp_path, way):
    """Should Daisy keep its marks differently one day, that is an error and not a wrong answer."""
    grid = _line(16)
    plan = plan_tracking(tmp_path, _recipe(grid), grid, {})
    zarr.create_array(
        plan.tracking_path / "done",
        **({"shape": (4,), "chunks": (4,), "dtype": "u1", "compressors": None, "fill_value": 0} | way),
    )
    with pytest.raises(
        RunDirectoryError, match="Daisy keeps its marks in a way that this blockflow cannot read"
    ):
        plan_tracking(tmp_path, _recipe(grid), grid, {})


# --- one case each -------------------------------------------------------------------------------------


def test_a_new_task_has_everything_to_do(tmp_path):
    """In an empty folder nothing is done, nothing is skipped and nothing has changed."""
    grid = _line(16)
    plan = plan_tracking(tmp_path, _recipe(grid), grid, {})
    assert (plan.to_do, plan.skip, list(plan.changes)) == (4, None, [])


def test_what_a_stopped_run_has_done_is_done(tmp_path):
    """A run that goes on has to do what was not done, whatever was begun or committed."""
    grid = _line(24)
    _do(plan_tracking(tmp_path, _recipe(grid), grid, {}), grid, [0, 3], begun=[1], committed=[2])
    plan = plan_tracking(tmp_path, _recipe(grid), grid, {})
    assert _counted_done(plan) == {0, 3}
    assert plan.to_do == 4
    _, _, journal = done_blocks(plan.store)
    assert journal.tolist() == [
        Mark.COMMITTED,
        Mark.BEGUN,
        Mark.COMMITTED,
        Mark.COMMITTED,
        Mark.UNTOUCHED,
        Mark.UNTOUCHED,
    ]


def test_a_changed_recipe_does_everything_again_and_says_why(tmp_path):
    """With another parameter nothing counts as done, and the message names the parameter with both values."""
    grid = _line(16)
    _do_all(plan_tracking(tmp_path, _recipe(grid, 5), grid, {}), grid)
    plan = plan_tracking(tmp_path, _recipe(grid, 7), grid, {})
    assert plan.to_do == 4
    assert list(plan.changes) == ["arguments.threshold: 5 -> 7: all its blocks are done again"]
    _, _, journal = done_blocks(plan.store)
    assert set(journal.tolist()) == {Mark.OTHER_RECIPE}


def test_back_to_the_first_recipe_only_what_was_overwritten_is_done_again(tmp_path):
    """A -> B -> A: the blocks that B began are A's no more, the others are."""
    grid = _line(24)
    _do_all(plan_tracking(tmp_path, _recipe(grid, 0), grid, {}), grid)
    _do(plan_tracking(tmp_path, _recipe(grid, 1), grid, {}), grid, [0], begun=[4])
    plan = plan_tracking(tmp_path, _recipe(grid, 0), grid, {})
    assert _counted_done(plan) == {1, 2, 3, 5}
    _do_all(plan, grid)
    plan = plan_tracking(tmp_path, _recipe(grid, 1), grid, {})
    assert plan.to_do == 6


def test_a_recipe_that_wrote_nothing_takes_nothing_back(tmp_path):
    """A -> B -> A, where B was stopped before its first block: all of A is still done."""
    grid = _line(24)
    _do_all(plan_tracking(tmp_path, _recipe(grid, 0), grid, {}), grid)
    plan_tracking(tmp_path, _recipe(grid, 1), grid, {})
    assert plan_tracking(tmp_path, _recipe(grid, 0), grid, {}).to_do == 0


@pytest.mark.parametrize("begin", [0, -8])
def test_a_grown_volume_needs_only_its_new_part(tmp_path, begin):
    """Growing the total ROI, at its end or its beginning, leaves the blocks done that are the same as before."""
    small, large = _line(16, context=2), _line(32, context=2, begin=begin)
    _do_all(plan_tracking(tmp_path, _recipe(small), small, {}), small)
    plan = plan_tracking(tmp_path, _recipe(large), large, {})
    assert plan.to_do == 4
    assert _counted_done(plan) == set(range(-begin // 4, -begin // 4 + 4))
    assert list(plan.changes) == []


def test_a_border_block_that_was_cut_is_done_again_in_full(tmp_path):
    """Growing the total ROI uncuts the block at its old border: that is another block. Its check is not asked."""
    small, large = _line(10), _line(12)
    _do_all(plan_tracking(tmp_path, _recipe(small), small, {}), small)
    plan = plan_tracking(tmp_path, _recipe(large), large, {})
    assert _counted_done(plan) == {0, 1}
    _, _, journal = done_blocks(plan.store)
    assert journal.tolist() == [Mark.UNTOUCHED, Mark.UNTOUCHED, Mark.OTHER_RECIPE]


def test_a_shrunk_volume_is_done_but_for_its_border(tmp_path):
    """Within a volume that is done, a smaller one has only the block to do that its border cuts."""
    large, small = _line(32), _line(18)
    _do_all(plan_tracking(tmp_path, _recipe(large), large, {}), large)
    plan = plan_tracking(tmp_path, _recipe(small), small, {})
    assert _counted_done(plan) == {0, 1, 2, 3}
    _do(plan, small, [4])
    plan = plan_tracking(tmp_path, _recipe(large), large, {})
    assert _counted_done(plan) == set(range(8)) - {4}


def test_a_grid_at_another_place_shares_no_blocks(tmp_path):
    """A grid that is moved by less than a block has everything to do, and takes back what it writes over."""
    here, there = _line(16), _line(16, begin=2)
    _do_all(plan_tracking(tmp_path, _recipe(here), here, {}), here)
    moved = plan_tracking(tmp_path, _recipe(there), there, {})
    assert moved.to_do == 4
    _do(moved, there, [1])  # writes [6:10]
    assert _counted_done(plan_tracking(tmp_path, _recipe(here), here, {})) == {0, 3}


def test_a_replaced_output_has_everything_to_do_and_says_so(tmp_path):
    """Marks for an array that is not there any more do not count, of whatever recipe."""
    grid = _line(16)
    for parameter in (0, 1):
        _do_all(plan_tracking(tmp_path, _recipe(grid, parameter), grid, {"a": "1", "b": "1"}), grid)
    plan = plan_tracking(tmp_path, _recipe(grid, 0), grid, {"a": "1", "b": "2"})
    assert plan.to_do == 4
    assert list(plan.changes) == ["b is new, or another run has written it since: its blocks are done again"]
    assert plan_tracking(tmp_path, _recipe(grid, 1), grid, {"a": "1", "b": "2"}).to_do == 4


def test_a_store_that_was_half_removed_counts_for_nothing(tmp_path):
    """Killed while the marks of a replaced output were removed, a run does not take the rest of them for true."""
    grid = _line(16)
    plan = plan_tracking(tmp_path, _recipe(grid), grid, {"a": "1"})
    _do_all(plan, grid)
    (plan.store / "about.json").unlink()
    plan = plan_tracking(tmp_path, _recipe(grid), grid, {"a": "2"})
    assert plan.to_do == 4
    _, _, journal = done_blocks(plan.store)
    assert not journal.any()


def test_what_a_check_function_found_is_kept_and_claims_no_voxels(tmp_path):
    """Blocks that the task's check found done stay done, and take nothing back from another recipe."""
    grid = _line(16)
    _do(plan_tracking(tmp_path, _recipe(grid, 0), grid, {}), grid, [0])
    _do(plan_tracking(tmp_path, _recipe(grid, 1), grid, {}), grid, found=[1, 2])
    plan = plan_tracking(tmp_path, _recipe(grid, 1), grid, {})
    assert _counted_done(plan) == {1, 2}
    _, _, journal = done_blocks(plan.store)
    assert journal.tolist() == [Mark.OTHER_RECIPE, *[Mark.UNTOUCHED] * 3]
    assert _counted_done(plan_tracking(tmp_path, _recipe(grid, 0), grid, {})) == {0}


def test_voxels_stay_foreign_after_their_own_recipe_has_lost_the_block(tmp_path):
    """Of a block that was partly overwritten the rest still holds its recipe's voxels: no check is asked there."""
    wide, shifted, narrow = _line(4), _line(4, begin=2), _line(2, write=2)
    _do_all(plan_tracking(tmp_path, _recipe(wide, 0), wide, {}), wide)  # [0:4]
    _do_all(plan_tracking(tmp_path, _recipe(shifted, 1), shifted, {}), shifted)  # [2:6]
    plan = plan_tracking(tmp_path, _recipe(narrow, 2), narrow, {})  # [0:2]
    _, _, journal = done_blocks(plan.store)
    assert journal.tolist() == [Mark.OTHER_RECIPE]


def test_a_million_blocks_are_no_loop(tmp_path, monkeypatch):
    """Nothing is done block by block: a million blocks, grown and overwritten, take as many steps as a few."""

    def steps(length):
        small, large = (
            BlockGrid(
                Roi((0, 0, 0), (size,) * 3), Roi((0, 0, 0), (1,) * 3), Roi((0, 0, 0), (1,) * 3), "shrink"
            )
            for size in (length - 1, length)
        )
        folder = tmp_path / str(length)
        first = plan_tracking(folder, _recipe(small, 0), small, {})
        marks = np.zeros(small.shape, np.uint8)
        marks[1:, 1:] = Mark.COMMITTED
        marks.tofile(first.journal)
        _make_marks(first, small)[...] = (marks == Mark.COMMITTED).astype(np.uint8)
        second = plan_tracking(folder, _recipe(large, 1), large, {})
        marks = np.zeros(large.shape, np.uint8)
        marks[:2] = Mark.BEGUN
        marks.tofile(second.journal)
        lines = 0

        def count(frame, event, argument):
            nonlocal lines
            lines += event == "line"
            return count

        original = sys.gettrace()
        sys.settrace(count)
        try:
            plan = plan_tracking(folder, _recipe(large, 0), large, {})
        finally:
            sys.settrace(original)
        assert plan.to_do == length**3 - (length - 3) * (length - 2) * (length - 1)
        shutil.rmtree(folder)
        return lines

    few = steps(5)
    assert steps(100) < 2 * few
