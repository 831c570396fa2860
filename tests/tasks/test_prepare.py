"""From tasks to all that must be known before they run: every check, and that nothing is written."""

import os
import textwrap
from fractions import Fraction
from pathlib import Path

import pytest
from funlib.geometry import Coordinate, Roi
from hypothesis import given, settings
from hypothesis import strategies as st

from blockflow.errors import StorageError, TaskError, WorkerFileError
from blockflow.storage import ArraySpec, VolumeMetadata, open_array
from blockflow.tasks import BlockwiseTask, prepare

WORKER = """
from blockflow.storage import open_array, spec_like

def spawn_worker(**kwargs):
    return lambda: None

def arrays(input, output, chunks=None, shards=None, **parameters):
    spec = spec_like(open_array(input), output, chunks=chunks, shards=shards)
    return {"inputs": {"input": input}, "outputs": {"output": spec}}
"""


def _metadata(voxel_size, offset):
    dims = len(voxel_size)
    return VolumeMetadata(
        tuple(voxel_size),
        tuple(offset),
        ("nm",) * dims,
        tuple(f"d{i}" for i in range(dims)),
        ("space",) * dims,
    )


def _create(path, shape=(40,), chunks=(10,), voxel_size=None, offset=None, **more):
    voxel_size, offset = voxel_size or (1,) * len(shape), offset or (0,) * len(shape)
    spec = ArraySpec(str(path), shape, "uint8", _metadata(voxel_size, offset), chunks, **more)
    spec.create()
    return spec.path


def _block(write, before=0, after=None):
    """Read and write ROI of one axis or more, with a context."""
    write = Coordinate(write)
    before = Coordinate((before,) * write.dims)
    after = before if after is None else Coordinate((after,) * write.dims)
    return {"read_roi": Roi(-before, before + write + after), "write_roi": Roi(write * 0, write)}


class House:
    """A folder with an input array and a worker file, and tasks made from them."""

    def __init__(self, folder):
        self.folder = folder
        self.worker = folder / "worker.py"
        self.worker.write_text(WORKER)
        self.raw = _create(folder / "raw")
        self.out = str(folder / "out")

    def task(self, name="task", write=(10,), before=0, after=None, kwargs=(), **more):
        kwargs = {"input": self.raw, "output": self.out} | dict(kwargs)
        values = {"total_roi": None, "worker_file": self.worker} | _block(write, before, after) | more
        return BlockwiseTask(name, kwargs=kwargs, **values)

    def function_task(self, outputs, name="task", write=(10,), before=0, after=None, **more):
        values = {"total_roi": None, "process_function": print} | _block(write, before, after) | more
        return BlockwiseTask(name, outputs=outputs, **values)

    def files(self):
        return {
            path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
            for path in self.folder.rglob("*")
        }


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


def _recipe(task):
    return prepare([task])[0].recipe


def test_nothing_is_written(house):
    """Preparing a chain of tasks leaves every file and folder as it was."""
    before = house.files()
    first = house.task("first")
    second = house.task(
        "second", kwargs={"input": house.out, "output": str(house.folder / "last")}, upstream=(first,)
    )
    prepare([second])
    assert house.files() == before


def test_a_prepared_task_knows_its_arrays_and_defaults(house):
    """Inputs, outputs, descriptions of what is to be created, and the worker file's settings are resolved."""
    (prepared,) = prepare([house.task()])
    assert prepared.name == "task"
    assert dict(prepared.inputs) == {"input": house.raw}
    assert dict(prepared.outputs) == {"output": house.out}
    assert [spec.path for spec in prepared.specs] == [house.out]
    assert (prepared.grid.fit, prepared.read_write_conflict) == ("valid", True)
    assert (prepared.before_check, prepared.after_check, prepared.init_callback_fn) == (None, None, None)
    assert prepared.lattice.is_world
    assert list(prepared.warnings) == []


def test_the_task_overrules_the_worker_file(house):
    """Settings of the task win over those of the worker file, which win over the defaults."""
    house.worker.write_text(WORKER + "fit = 'shrink'\nread_write_conflict = False\ncheck_function = print\n")
    (prepared,) = prepare([house.task()])
    assert (prepared.grid.fit, prepared.read_write_conflict) == ("shrink", False)
    assert (prepared.before_check, prepared.after_check) == (print, print)
    (prepared,) = prepare([house.task(fit="overhang", read_write_conflict=True, check_function=(len, repr))])
    assert (prepared.grid.fit, prepared.read_write_conflict) == ("overhang", True)
    assert (prepared.before_check, prepared.after_check) == (len, repr)


@pytest.mark.parametrize("check", [3, (print,), (print, None), [print, print]])
def test_a_check_must_be_a_function_or_two(house, check):
    """A check that is no function and no pair of them is refused with what it is."""
    with pytest.raises(TaskError, match=r"task task: check_function must be a function, or a pair .*, not "):
        prepare([house.task(check_function=check)])


def test_without_a_total_roi_the_output_and_the_context_are_covered(house):
    """Total ROI `None` is the output's ROI grown by the context, so that blocks write all of the output."""
    (prepared,) = prepare([house.task(before=3, after=2)])
    assert prepared.grid.total_roi == Roi((-3,), (45,))
    assert prepared.grid.covered == open_array(house.raw).roi


def test_without_output_the_input_is_covered(house):
    """Where no output is known, total ROI `None` is the input's grown by the context, with a warning."""
    task = house.function_task({}, before=3, inputs={"raw": house.raw})
    (prepared,) = prepare([task])
    assert prepared.grid.total_roi == Roi((-3,), (46,))
    assert [warning for warning in prepared.warnings if "no outputs are known" in warning]


def test_without_any_array_a_total_roi_is_needed(house):
    """Without arrays and total ROI there is nothing to cover, and the error says what to give."""
    with pytest.raises(
        TaskError, match=r"task task: the total ROI cannot be found out.*Give total_roi, or name inputs"
    ):
        prepare([house.function_task({})])


@pytest.mark.parametrize("fit", ["valid", "shrink"])
def test_writing_beyond_the_output_is_refused(house, fit):
    """Blocks that would write outside of the output are refused with both ROIs and the largest total ROI."""
    with pytest.raises(
        TaskError,
        match=r"task task: the blocks write \[0:50\].*output 'output' .*out\) covers only \[0:40\]"
        r".*at most \[-2:42\].*'overhang'",
    ):
        prepare([house.task(before=2, total_roi=Roi((-2,), (54,)), fit=fit)])
    (prepared,) = prepare([house.task(before=2, total_roi=Roi((-2,), (44,)), fit=fit)])
    assert prepared.grid.covered == Roi((0,), (40,))


def test_overhang_may_write_beyond_the_output(house):
    """With `overhang` blocks may reach over the output's end, since that is cut off."""
    (prepared,) = prepare([house.task(write=(30,), total_roi=Roi((0,), (40,)), fit="overhang")])
    assert prepared.grid.covered == Roi((0,), (60,))


@pytest.mark.parametrize("fit", ["valid", "overhang", "shrink"])
def test_blocks_that_miss_the_output_are_refused(house, fit):
    """A total ROI that does not meet the output at all is refused, whatever the fit."""
    with pytest.raises(TaskError, match="they do not meet" if fit == "overhang" else "covers only"):
        prepare([house.task(total_roi=Roi((100,), (40,)), fit=fit)])


def test_valid_warns_of_what_it_leaves_out(house):
    """Where `valid` leaves voxels unprocessed, a warning says how many and what to do."""
    house.out = _create(house.folder / "divisible", chunks=(15,))
    (prepared,) = prepare([house.function_task({"out": house.out}, write=(15,))])
    (warning,) = prepared.warnings
    assert "leaves 10 of 40 lattice points (25.0 %) unprocessed" in warning
    assert "Use fit 'shrink'" in warning
    (prepared,) = prepare([house.function_task({"out": house.out}, write=(15,), fit="shrink")])
    assert list(prepared.warnings) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"total_roi": Roi((1,), (40,))}, r"from \(1,?\) on are off the voxels of .*coarse"),
        ({"write": (6,)}, r"blocks of shape \(6,?\).*off the voxels of .*voxel size \(4,?\).*Move the ROIs"),
        ({"total_roi": Roi((-2,), (44,)), "before": 2}, r"off the voxels of .*coarse"),
        ({"total_roi": Roi((0,), (38,)), "fit": "shrink"}, r"off the voxels of"),
    ],
)
def test_rois_between_voxels_are_refused(house, more, message):
    """Blocks that begin or end inside a voxel are refused with the array, its voxels and the cure."""
    raw = _create(house.folder / "coarse", voxel_size=(4,), chunks=(2,))
    with pytest.raises(TaskError, match=message):
        prepare([house.task(kwargs={"input": raw}, **{"write": (8,)} | more)])


@pytest.mark.parametrize("fit", ["valid", "overhang", "shrink"])
@pytest.mark.parametrize(("before", "after"), [(0, 2), (2, 0), (2, 2), (0, 0)])
def test_a_fine_input_may_be_read_with_a_context_that_the_output_cannot_show(house, fit, before, after):
    """The context counts in voxels of the input alone; the output needs whole voxels where blocks write."""
    fine = _create(house.folder / "fine", shape=(40,), voxel_size=(2,))
    coarse = _create(house.folder / "coarse", shape=(20,), chunks=(2,), voxel_size=(4,))
    task = house.function_task(
        {"out": coarse}, inputs={"raw": fine}, write=(8,), before=before, after=after, fit=fit
    )
    (prepared,) = prepare([task])
    assert prepared.grid.covered == Roi((0,), (80,))


def test_arrays_of_other_dimensions_than_the_rois_are_refused(house):
    """ROIs of 1 axis and arrays of 2 are refused with both numbers, with a total ROI and without one."""
    raw = _create(house.folder / "flat", shape=(40, 40), chunks=(10, 10))
    with pytest.raises(TaskError, match=r"the write ROI has 1 axes, but .*out has 2"):
        prepare([house.task(kwargs={"input": raw})])
    with pytest.raises(TaskError, match=r"the ROIs have 1 axes, but .*flat has 2"):
        prepare([house.task(kwargs={"input": raw}, total_roi=Roi((0,), (40,)))])


def test_arrays_of_different_dimensions_have_no_lattice(house):
    """Arrays of 1 and of 2 spatial axes in one run are refused."""
    flat = _create(house.folder / "flat", shape=(40, 40), chunks=(10, 10))
    with pytest.raises(StorageError, match=r"same number of spatial axes.*\[1, 2\]"):
        prepare([house.function_task({"out": flat}, inputs={"raw": house.raw})])


@pytest.mark.parametrize(
    ("layout", "kind"), [({"chunks": (8,)}, "chunk"), ({"chunks": (2,), "shards": (8,)}, "shard")]
)
@pytest.mark.parametrize("planned", [False, True])
def test_blocks_that_share_a_write_unit_are_refused_with_a_safe_shape(house, layout, kind, planned):
    """Blocks that would share a chunk or shard are refused with the nearest safe shape; that is accepted."""
    if not planned:
        house.out = _create(house.folder / "stored", **layout)

    def task(write):
        if planned:
            return house.task(write=write, kwargs=layout, fit="shrink")
        return house.function_task({"output": house.out}, write=write, fit="shrink")

    with pytest.raises(
        TaskError,
        match=rf"task task: blocks that write \(10,?\).*would share {kind}s of output 'output'"
        r".*shape \(8,?\); or store",
    ):
        prepare([task((10,))])
    prepare([task((8,))])
    prepare([task((16,))])


def test_blocks_between_write_units_are_told_where_to_begin(house):
    """Blocks of a safe shape that begin inside of a chunk are told the next place to begin at."""
    with pytest.raises(TaskError, match=r"safe write ROI has shape \(10,?\) and begins at \(10,?\)"):
        prepare([house.task(total_roi=Roi((5,), (30,)))])
    prepare([house.task(total_roi=Roi((10,), (30,)))])


def test_one_block_may_write_any_part(house):
    """A single block shares nothing with anyone, whatever it covers of a chunk."""
    prepare([house.task(write=(7,), total_roi=Roi((5,), (7,)))])


@st.composite
def unsafe_tasks(draw):
    """An output and a task over it, of 1 to 3 axes, whose blocks may share write units."""
    dims = draw(st.integers(1, 3))

    def numbers(low, high):
        return tuple(draw(st.lists(st.integers(low, high), min_size=dims, max_size=dims)))

    voxel_size, offset, unit = (
        Coordinate(numbers(1, 3)),
        Coordinate(numbers(-5, 5)),
        Coordinate(numbers(1, 5)),
    )
    spec = ArraySpec("/nowhere/out", (60,) * dims, "uint8", _metadata(voxel_size, offset), unit)
    write = Coordinate(numbers(1, 12)) * voxel_size
    before, after = (Coordinate(numbers(0, 2)) * voxel_size for _ in range(2))
    begin = offset + Coordinate(numbers(0, 6)) * voxel_size
    return spec, write, before, after, begin, draw(st.sampled_from(["valid", "overhang", "shrink"]))


def _units_shared(grid, array):
    """How many blocks touch each write unit, at most, counted unit by unit along each axis."""
    for axis in range(grid.total_roi.dims):
        unit, offset = array.spatial_write_unit[axis], array.offset[axis]
        touched = []
        for position in range(grid.shape[axis]):
            low = grid.origin[axis] + position * grid.write_roi.shape[axis]
            high = min(low + grid.write_roi.shape[axis], array.roi.end[axis])
            touched += {(point - offset) // unit for point in range(low, high)}
        if len(touched) > len(set(touched)):
            return True
    return False


@settings(max_examples=80, deadline=None)
@given(unsafe_tasks())
def test_the_safe_shape_that_a_refusal_names_is_accepted(case):
    """No accepted task shares a write unit; a refused one is accepted with the shape that was named."""
    from blockflow.tasks.checks import check_write_units
    from blockflow.tasks.geometry import BlockGrid

    spec, write, before, after, begin, fit = case
    array = spec.planned()

    def grid_of(shape, begin):
        total = Roi(begin, array.roi.end - begin).grow(before, after)
        return BlockGrid(total, Roi(before * 0, before + shape + after), Roi(before, shape), fit)

    grid = grid_of(write, begin)
    try:
        check_write_units(grid, "out", array)
    except TaskError as error:
        words = str(error).split("nearest safe write ROI has shape ")[1].split("; or store")[0]
        named = [
            Coordinate(int(number) for number in text.strip("() ").replace(",", " ").split())
            for text in words.split(" and begins at ")
        ]
        shape, start = named[0], named[1] if len(named) == 2 else begin
        assert all(
            abs(new - old) < unit
            for new, old, unit in zip(shape, write, array.spatial_write_unit, strict=True)
        )
        safe = grid_of(shape, start)
        check_write_units(safe, "out", array)
        assert not _units_shared(safe, array)
        return
    assert not _units_shared(grid, array)


def test_an_existing_array_that_differs_is_refused(house):
    """Another array in the output's place is refused with what differs; an equal one is used as it is."""
    _create(house.out, shape=(30,))
    with pytest.raises(
        StorageError,
        match=r"task task: .*out exists and is another array.*shape is \(30,\), wanted \(40,\)"
        r".*Choose another path",
    ):
        prepare([house.task()])
    (house.folder / "out").rename(house.folder / "old")
    _create(house.out)
    prepare([house.task()])


def test_an_existing_array_of_another_scale_is_refused_as_another_array(house):
    """Also an array whose scale does not fit the run's lattice is refused for what it is."""
    _create(house.out, voxel_size=(0.3,))
    with pytest.raises(StorageError, match=r"is another array.*voxel_size is \(0\.3,\), wanted \(1,\)"):
        prepare([house.task()])


def test_an_output_below_a_file_is_refused(house):
    """An output whose folder would be a file is refused before anything runs."""
    with pytest.raises(StorageError, match=r"worker\.py is a file, so no array can be made there"):
        prepare([house.task(kwargs={"output": str(house.worker / "out")})])


def test_an_output_in_a_read_only_folder_is_refused(house, monkeypatch):
    """An output where one may not write is refused before anything runs."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(StorageError, match=rf"output 'output' .*{house.folder} is read-only for you"):
        prepare([house.task()])


def test_missing_inputs_and_outputs_are_refused(house):
    """An input, or an output that nobody creates, must be there; the error names the task."""
    with pytest.raises(StorageError, match=r"task task: .*nothing: there is no such array"):
        prepare([house.task(kwargs={"input": str(house.folder / "nothing")})])
    with pytest.raises(StorageError, match=r"nothing: there is no such array"):
        prepare([house.function_task({"out": str(house.folder / "nothing")})])


def test_arguments_that_the_worker_file_does_not_take_are_refused(house):
    """Arguments that `arrays` cannot be called with are refused with task and file."""
    with pytest.raises(WorkerFileError, match=r"task task: worker\.py does not take these arguments"):
        prepare([BlockwiseTask("task", None, worker_file=house.worker, **_block((10,)))])


def test_a_grid_that_cannot_be_names_the_task(house):
    """What is wrong with fit or ROIs is told with the task's name."""
    with pytest.raises(TaskError, match="task task: fit is 'best'; valid are"):
        prepare([house.task(fit="best")])
    with pytest.raises(TaskError, match="task task: zero blocks"):
        prepare([house.task(write=(50,))])


def test_a_task_may_read_what_an_upstream_task_will_make(house):
    """A planned output is an input like any other: its ROI, its chunks, and its recipe instead of a stamp."""
    first = house.task("first", kwargs={"chunks": (5,)})
    second = house.task(
        "second", kwargs={"input": house.out, "output": str(house.folder / "last")}, upstream=(first,)
    )
    one, two = prepare([second])
    assert (one.name, two.name) == ("first", "second")
    assert two.specs[0].chunks == (5,)
    assert two.grid.covered == Roi((0,), (40,))
    assert two.recipe.parts["inputs"] == {"input": {"recipe": one.recipe.hash}}


def test_the_recipe_of_a_chain_is_the_same_before_and_after_the_arrays_are_made(house, monkeypatch):
    """Recipes do not change when planned arrays come into being, however their paths are spelled."""
    monkeypatch.chdir(house.folder)
    first = house.task("first", kwargs={"output": "./out"})
    second = house.task("second", kwargs={"input": house.out, "output": "last"}, upstream=(first,))
    before = prepare([second])
    for prepared in before:
        for spec in prepared.specs:
            spec.create()
    after = prepare([second])
    assert [
        prepared.recipe.changes_since(old.recipe) for prepared, old in zip(after, before, strict=True)
    ] == [[], []]


def test_all_arrays_of_a_run_share_a_lattice(house):
    """ROIs of all tasks count in the common step of all arrays, also of those that are not made yet."""
    raw = _create(house.folder / "um", voxel_size=(0.108,), offset=(0.054,))
    house.worker.write_text(WORKER)
    (prepared,) = prepare([house.task(kwargs={"input": raw}, write=(20,))])
    assert prepared.lattice.step == (Fraction(54, 1000),)
    assert prepared.grid.total_roi == Roi((1,), (80,))
    finer = _create(house.folder / "finer", voxel_size=(0.027,), offset=(0.054,), shape=(160,))
    task = house.task(kwargs={"input": raw}, write=(40,), inputs={"finer": finer})
    (prepared,) = prepare([task])
    assert prepared.lattice.step == (Fraction(27, 1000),)
    assert prepared.grid.total_roi == Roi((2,), (160,))


def test_the_recipe_changes_with_what_decides_the_voxels(house):
    """Parameter, code, input, block shape, context, fit and output description each change the recipe."""
    base = _recipe(house.task(kwargs={"threshold": 5}))
    assert _recipe(house.task(kwargs={"threshold": 5})).hash == base.hash
    changed = _recipe(house.task(kwargs={"threshold": 7}))
    assert changed.changes_since(base) == ["arguments.threshold: 5 -> 7"]
    for name, task in {
        "blocks.write_shape": house.task(kwargs={"threshold": 5}, write=(20,)),
        "blocks.context": house.task(kwargs={"threshold": 5}, before=2),
        "blocks.fit": house.task(kwargs={"threshold": 5}, fit="shrink"),
        "outputs.output.chunks": house.task(kwargs={"threshold": 5, "chunks": (5,)}),
        "arguments.positional": BlockwiseTask(
            "task",
            None,
            worker_file=house.worker,
            args=(house.raw, house.out),
            kwargs={"threshold": 5},
            **_block((10,)),
        ),
    }.items():
        recipe = _recipe(task)
        assert recipe.hash != base.hash
        assert name in [line.split(":")[0] for line in recipe.changes_since(base)]
    house.worker.write_text(WORKER + "\n")
    recipe = _recipe(house.task(kwargs={"threshold": 5}))
    assert [line.split(":")[0] for line in recipe.changes_since(base)] == ["code.sha256"]


def test_the_recipe_changes_with_the_stamp_of_an_input(house):
    """An input whose metadata file was rewritten is another input."""
    base = _recipe(house.task())
    os.utime(Path(house.raw) / "zarr.json", ns=(1, 1))
    recipe = _recipe(house.task())
    assert [line.split(":")[0] for line in recipe.changes_since(base)] == ["inputs.input.zarr.json"]


def test_the_recipe_does_not_know_the_total_roi_or_the_place_of_the_output(house):
    """Another total ROI, task name, number of workers or output path is the same work for each block."""
    base = _recipe(house.task()).hash
    assert _recipe(house.task(total_roi=Roi((10,), (20,)))).hash == base
    assert _recipe(house.task("other", num_workers=5, max_retries=0, timeout=3.0)).hash == base
    assert _recipe(house.task(kwargs={"output": str(house.folder / "elsewhere")})).hash == base


def test_a_change_upstream_changes_the_recipe_downstream(house):
    """What an upstream task would make otherwise is another input for those after it."""

    def recipes(threshold):
        first = house.task("first", kwargs={"threshold": threshold})
        last = str(house.folder / "last")
        return prepare([house.task("second", kwargs={"input": house.out, "output": last}, upstream=(first,))])

    (_, before), (_, after) = recipes(5), recipes(7)
    assert [line.split(":")[0] for line in after.recipe.changes_since(before.recipe)] == [
        "inputs.input.recipe",
        "upstream.first",
    ]


def test_a_worker_file_without_arrays_warns(house):
    """Where outputs are not known, a warning says what cannot be checked and how to name them."""
    house.worker.write_text(textwrap.dedent("def spawn_worker(**kwargs): ..."))
    (prepared,) = prepare([house.task(total_roi=Roi((0,), (40,)))])
    (warning,) = prepared.warnings
    assert "no outputs are known, so it cannot be checked whether blocks share chunks" in warning
    assert "Define arrays(**kwargs)" in warning
