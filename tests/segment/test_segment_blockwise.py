"""`segment_blockwise`: what is cut by blocks comes back whole, whatever the blocks are."""

import json
import re
from pathlib import Path

import cc3d
import numpy as np
import pytest
import zarr
from funlib.geometry import Roi
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import blockflow
from blockflow.errors import LabelError, TaskError, WorkerFileError
from blockflow.execution.look import failures_of
from blockflow.labels import Stitch, merge_blocks
from blockflow.storage import LocalArrayIdentifier, open_array


def same_objects(found, expected):
    """Whether two label images show the same objects, whatever their numbers."""
    pairs = np.unique(np.stack([found.ravel(), expected.ravel()]).astype(np.uint64), axis=1)
    return len(np.unique(pairs[0])) == pairs.shape[1] == len(np.unique(pairs[1]))


def objects():
    """Discs that touch, and tubes among them that run through the whole image: each has a value of its own."""
    image = np.zeros((90, 110), np.uint16)
    y, x = np.indices(image.shape)
    for number, (row, column) in enumerate((r, c) for r in range(8, 90, 13) for c in range(8, 110, 13)):
        image[(y - row) ** 2 + (x - column) ** 2 <= 45] = number + 1
    image[40:44] = 1000
    image[44:47] = 1001
    image[:, 70:73] = 1002
    return image


@pytest.mark.parametrize("fit", ["shrink", "overhang"])
@pytest.mark.parametrize("recompute", [False, True])
def test_components_have_the_numbers_of_the_whole(make, segment, random_image, fit, recompute):
    """Connected components of an anisotropic volume with an offset equal cc3d's, stored or computed twice."""
    image = random_image(21, 26, 30)
    make(image)
    found = segment(
        "connected_components", (8, 9, 16), fit=fit, recompute=recompute, parameters={"connectivity": 6}
    )
    np.testing.assert_array_equal(found, cc3d.connected_components((image > 0).view("u1"), connectivity=6))
    array = open_array("out.zarr")
    assert (array.dtype, array.voxel_size, array.offset) == (np.uint64, (4, 3, 3), (8, -6, 3))


def test_a_valid_fit_covers_whole_blocks_alone(make, segment, random_image):
    """With fit 'valid' what whole blocks cover is numbered as the components of that part."""
    image = random_image(21, 26, 30)
    make(image)
    found = segment("connected_components", (8, 9, 16), fit="valid", parameters={"connectivity": 18})
    inner = np.s_[:16, :18, :16]
    np.testing.assert_array_equal(
        found[inner], cc3d.connected_components((image[inner] > 0).view("u1"), connectivity=18)
    )
    found[inner] = 0
    assert not found.any()


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    block=st.tuples(st.integers(3, 12), st.integers(3, 12), st.integers(3, 12)),
    context=st.tuples(*[st.integers(0, 2)] * 3),
    connectivity=st.sampled_from([6, 26]),
    multi_label=st.booleans(),
)
def test_any_blocks_and_any_context(
    tmp_path_factory, monkeypatch, make, segment, random_image, block, context, connectivity, multi_label
):
    """Whatever the block shape and context, and in both ways of labels, components have the numbers of the whole."""
    monkeypatch.chdir(tmp_path_factory.mktemp("case"))
    image = random_image(13, 12, 14)
    make(image)
    found = segment(
        "connected_components",
        block,
        context,
        parameters={"connectivity": connectivity, "multi_label": multi_label},
    )
    expected = image if multi_label else (image > 0).view("u1")
    np.testing.assert_array_equal(found, cc3d.connected_components(expected, connectivity=connectivity))


def test_a_dacapo_file_runs_as_it_is(make, dacapo_file):
    """A file and a call as for DaCapo, arrays by identifiers, default parameters and those in their place."""
    image = objects()
    roi = make(image, "data.zarr/raw", voxel_size=[2, 2], offset=[0, 0])
    zarr.create_array(
        "data.zarr/labels", shape=image.shape, dtype="uint64", chunks=(30, 55),
        attributes={"voxel_size": [2, 2], "offset": [0, 0]},
    )  # fmt: skip
    block = Roi((0, 0), (60, 110))
    assert blockflow.blockwise.segment_blockwise(
        segment_function_file=dacapo_file,
        context=(0, 0),
        total_roi=roi,
        read_roi=block,
        write_roi=block,
        num_workers=2,
        max_retries=0,
        input_array_identifier=LocalArrayIdentifier(Path("data.zarr"), "raw"),
        output_array_identifier=LocalArrayIdentifier(Path("data.zarr"), "labels"),
        parameters={"background": 1000},
        stitch="none",
        run_dir="run",
        compute_context="serial",
    )
    found = zarr.open_array("data.zarr/labels")[...]
    assert not found[image == 1000].any()
    assert found[image != 1000].all()
    for rows in (slice(0, 30), slice(30, 60), slice(60, 90)):
        for columns in (slice(0, 55), slice(55, 110)):
            part = np.where(image == 1000, 0, image + 1)[rows, columns]
            assert same_objects(found[rows, columns], cc3d.connected_components(part, connectivity=8))
    values, first = np.unique(found[found > 0], return_index=True)
    np.testing.assert_array_equal(values, np.arange(1, len(values) + 1))
    assert (np.diff(first) > 0).all()  # numbered by first voxel, in C order


@pytest.mark.parametrize("stitch", ["overlap", {"rule": "overlap", "measure": "fraction", "threshold": 0.8}])
@pytest.mark.parametrize("block", [(24, 28), (15, 40)])
def test_objects_cut_by_blocks_come_back_whole(make, segment, dacapo_file, stitch, block):
    """By overlap, touching discs and tubes are what a run in one piece makes of them: whole, and apart."""
    image = objects()
    make(image)
    whole = segment(dacapo_file, image.shape, output="whole.zarr", run_dir="whole")
    found = segment(dacapo_file, block, (6, 6), stitch=stitch)
    assert len(np.unique(whole)) > 60
    np.testing.assert_array_equal(found, whole)


def test_touching_joins_all_that_touches_and_equal_joins_equals(make, segment):
    """By touch neighbours become one across a border; with `equal` only those that have one value."""
    Path("plain.py").write_text(
        "def segment_function(input_array, block):\n    return input_array[block.read_roi]\n"
    )
    image = np.array([[1, 1, 1, 1], [2, 2, 3, 3], [0, 0, 0, 0], [5, 0, 0, 5]], np.uint8)
    make(image)
    found = segment("plain.py", (4, 2))
    assert found.tolist() == [[1, 1, 1, 1], [2, 2, 2, 2], [0, 0, 0, 0], [3, 0, 0, 4]]
    found = segment(
        "plain.py", (4, 2), output="two.zarr", run_dir="two", stitch={"rule": "touching", "equal": True}
    )
    assert found.tolist() == [[1, 1, 1, 1], [2, 2, 3, 3], [0, 0, 0, 0], [4, 0, 0, 5]]
    image = np.array([[1, 0], [0, 2]], np.uint8)
    make(image, "diagonal.zarr")
    more = {"input": "diagonal.zarr", "run_dir": "three"}
    assert segment("plain.py", (1, 1), output="three.zarr", **more).max() == 2
    more = {"input": "diagonal.zarr", "run_dir": "four", "stitch": {"rule": "touching", "connectivity": 8}}
    assert segment("plain.py", (1, 1), output="four.zarr", **more).max() == 1


def test_channels_and_times_are_segmented_one_by_one(make, segment, random_image):
    """Along channels and time there are volumes of their own, even where blocks are cut along time."""
    image = np.stack([random_image(3, 8, 9, 10, seed=seed) for seed in (0, 1)])
    scale = {"voxel_size": [2, 4, 3, 3], "offset": [0] * 4, "axis_names": ["c^", "t", "z", "y", "x"]}
    make(image, types=["channel", "time", "space", "space", "space"], **scale)
    found = segment("connected_components", (2, 4, 5, 4), parameters={"connectivity": 6})
    expected, count = np.zeros(image.shape, np.uint64), 0
    for index in np.ndindex(2, 3):
        labels = cc3d.connected_components((image[index] > 0).view("u1"), connectivity=6).astype(np.uint64)
        expected[index] = np.where(labels, labels + count, 0)
        count += int(labels.max())
    np.testing.assert_array_equal(found, expected)


def test_a_run_goes_on_where_it_was(make, segment, random_image):
    """A second run does nothing; with other parameters everything is done again, and is right."""
    image = random_image(20, 20, 20)
    make(image)

    def done():
        results = json.loads(Path("run/run.json").read_text())["results"]
        return [results[f"connected_components-{task}"]["done"] for task in ("segment", "merge", "number")]

    for recompute, expected in ((False, [8, 1, 8]), (False, [0, 0, 0]), (True, [8, 1, 8]), (True, [0, 0, 0])):
        segment("connected_components", (10, 10, 10), recompute=recompute, parameters={"connectivity": 26})
        assert done() == expected
    found = segment("connected_components", (10, 10, 10), parameters={"connectivity": 6})
    assert done() == [8, 1, 8]
    np.testing.assert_array_equal(found, cc3d.connected_components((image > 0).view("u1"), connectivity=6))


def test_a_function_that_wavers_is_found_out(make):
    """Labels that are not the same the second time end in an error that says what to do, not in wrong labels."""
    Path("wavers.py").write_text(
        "import os\nimport numpy as np\nrecompute = True\n"
        "def segment_function(input_array, block):\n"
        "    different = os.path.exists('later')\n"
        "    open('later', 'w').close()\n"
        "    return np.arange(256, dtype=np.uint64).reshape(16, 16) % (3 + different)\n"
    )
    roi = make(np.zeros((16, 16), np.uint8))
    more = {"input": "image.zarr", "output": "out.zarr", "run_dir": "run", "compute_context": "serial"}
    assert not blockflow.segment_blockwise("wavers.py", (0, 0), roi, roi, roi, 1, 0, **more)
    (record, *_) = failures_of(Path("run"), "wavers-number")
    assert "has other labels now than those that were merged" in record.message
    assert "use recompute: false" in record.message


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"stitch": "glue"}, LabelError, "rule is 'glue'; it is one of touching, overlap, none"),
        ({"stitch": {"rule": "overlap", "share": 1}}, LabelError, "give one of touching, overlap, none, or a mapping"),
        ({"stitch": {"connectivity": 6}}, LabelError, "connectivity is 6; with 2 spatial axes it is one of 4, 8"),
        ({"stitch": {"threshold": 0}}, LabelError, "threshold is 0; it is above 0, and at most 1"),
        ({"stitch": "overlap"}, TaskError, "along axis 0 there is none. Give a context there"),
        ({"dtype": "int32"}, TaskError, "labels are uint32 or uint64; .* is to hold int32"),
        ({"chunk": [1, 1]}, TaskError, "no argument 'chunk'; .*chunks"),
        ({"output": None}, TaskError, "give either output or output_array_identifier"),
        ({"chunks": [5, 5]}, TaskError, "would share chunks of output .*nearest safe"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(make, segment, dacapo_file, arguments, error, message):
    """What is wrong with an argument is said before anything has run."""
    make(np.zeros((12, 12), np.uint8))
    with pytest.raises(error, match=message):
        segment(dacapo_file, (4, 6), **arguments)
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return None", "segment_function must return an array of uint64 labels, not NoneType"),
        ("return input_array[block.read_roi] * 0.5", "must return an array of uint64 labels, not float64"),
        (
            "return input_array[block.read_roi][1:]",
            r"labels of shape \(3, 6\) for read ROI .* \(4, 6\) voxels",
        ),
    ],
)
def test_what_a_function_returns_is_checked(make, body, message):
    """A function that returns anything but labels of its read ROI fails its block, and the record says why."""
    Path("bad.py").write_text(f"def segment_function(input_array, block):\n    {body}\n")
    roi = make(np.zeros((4, 6), np.uint8))
    more = {"input": "image.zarr", "output": "out.zarr", "run_dir": "run", "compute_context": "serial"}
    assert not blockflow.segment_blockwise("bad.py", (0, 0), roi, roi, roi, 1, 0, **more)
    (record, *_) = failures_of(Path("run"), "bad-segment")
    assert re.search(message, record.message)


def test_a_file_without_a_function_is_refused(make, segment):
    """A file that defines no segment_function is named, with what to add."""
    make(np.zeros((4, 6), np.uint8))
    Path("bad.py").write_text("x = 1\n")
    with pytest.raises(WorkerFileError, match=r"defines no segment_function\. Add `def segment_function"):
        segment("bad.py", (4, 6))


def test_too_many_labels_for_the_type_are_refused():
    """More labels than the output's type can number are an error of the merge, not wrong numbers."""
    block = {
        "count": np.int64(300),
        "first": np.arange(300),
        "begin": np.zeros(2, np.int64),
        "shape": np.array([20, 20]),
    }
    merge = lambda dtype: merge_blocks(  # noqa: E731
        (1, 1),
        lambda _, *names: {name: block[name] for name in names},
        Stitch("none"),
        (0, 1),
        (0, 1),
        dtype=dtype,
    )
    assert merge(np.uint16)["table"].max() == 300
    with pytest.raises(LabelError, match="there are 300 labels, and uint8 numbers at most 255"):
        merge(np.uint8)


WORKER_FILE = """
import daisy
import numpy as np
from scipy import ndimage
from blockflow.storage import open_from_identifier

fit = "shrink"
read_write_conflict = False

def spawn_worker(first, input_array_identifier, output_array_identifier, background=0):
    def io_loop():
        source = open_from_identifier(input_array_identifier, mode="r")
        target = open_from_identifier(output_array_identifier)
        client = daisy.Client()
        while True:
            with client.acquire_block() as block:
                if block is None:
                    return
                data = source[block.read_roi]
                labels = np.zeros(data.shape, np.uint64)
                count = first + 10**12 * block.block_id[1]
                for value in np.unique(data[data != background]):
                    found, number = ndimage.label(data == value, np.ones((3,) * data.ndim))
                    labels[found > 0] = found[found > 0].astype(np.uint64) + np.uint64(count)
                    count += number
                target[block.write_roi] = labels
    return io_loop
"""


@pytest.mark.parametrize("context", ["serial", "local"])
def test_a_worker_file_runs_as_the_first_task(make, context):
    """A file with spawn_worker labels blocks with any ids, by DaCapo's loop and arguments; what touches becomes one."""
    Path("worker.py").write_text(WORKER_FILE)
    image = (objects() % 1000 % 5 > 2).astype(np.uint8)
    roi = make(image, "data.zarr/raw", voxel_size=[2, 2], offset=[0, 0])
    zarr.create_array(
        "data.zarr/labels", shape=image.shape, dtype="uint64", chunks=(30, 55),
        attributes={"voxel_size": [2, 2], "offset": [0, 0]},
    )  # fmt: skip
    block = Roi((0, 0), (60, 110))

    def run():
        return blockflow.segment_blockwise(
            "worker.py",
            (0, 0),
            roi,
            block,
            block,
            2,
            0,
            None,
            None,
            7,
            input_array_identifier=LocalArrayIdentifier(Path("data.zarr"), "raw"),
            output_array_identifier=LocalArrayIdentifier(Path("data.zarr"), "labels"),
            stitch={"rule": "touching", "connectivity": 8},
            run_dir="run",
            compute_context=context,
        )

    assert run()
    expected = cc3d.connected_components(image, connectivity=8)
    np.testing.assert_array_equal(zarr.open_array("data.zarr/labels", mode="r")[...], expected)
    assert run()
    results = json.loads(Path("run/run.json").read_text())["results"]
    assert {name: one["done"] for name, one in results.items()} == {
        "worker-segment": 0,
        "worker-merge": 0,
        "worker-number": 0,
    }


def test_a_worker_file_cannot_compare_contexts(make, segment):
    """A worker file writes no more than its write ROI, so `overlap` and `recompute` are refused."""
    Path("worker.py").write_text("def spawn_worker(**kwargs):\n    return lambda: None\n")
    make(np.zeros((8, 8), np.uint8))
    for more in ({"stitch": "overlap"}, {"recompute": True}):
        with pytest.raises(TaskError, match="is a worker file, which writes what is in its write ROI"):
            segment("worker.py", (4, 4), (1, 1), **more)


def test_a_bundled_worker_file_is_a_first_task(make, segment):
    """A worker file that declares its own output, with its checks, is used as it is: a mask becomes labels."""
    image = (objects() > 40).astype(np.uint8)
    make(image, chunks=(30, 55))
    found = segment("threshold", (30, 55), threshold=0)
    np.testing.assert_array_equal(found > 0, image > 0)
    assert found.max() == 1
