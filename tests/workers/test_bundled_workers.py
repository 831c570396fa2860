"""The bundled worker files: right voxels, their errors, each usable on its own, and from an installed wheel."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import zarr
from operators.networks import weights_of, write_network
from traces import records

import blockflow
from blockflow.errors import StorageError, TaskError
from blockflow.tasks import bundled_worker_files

CHECKOUT = Path(__file__).parents[2]
NAMES = ["argmax", "connected_components", "copy", "predict", "threshold"]


def run(name, *block, run_dir="run", **arguments):
    return blockflow.run_blockwise(
        name,
        None,
        *(block * 2 if len(block) == 1 else block),
        2,
        0,
        run_dir=run_dir,
        compute_context="serial",
        **arguments,
    )


def test_all_are_there():
    """The bundled worker files are found by name."""
    assert sorted(bundled_worker_files()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_runs_by_itself(name):
    """`python workers/NAME.py start-worker --help` says what the options are, from whatever folder."""
    path = str(bundled_worker_files()[name])
    for arguments in (["--help"], ["start-worker", "--help"]):
        end = subprocess.run([sys.executable, path, *arguments], capture_output=True, text=True)
        assert end.returncode == 0, end.stderr
        assert "start-worker" in end.stdout


@pytest.mark.parametrize("name", NAMES)
def test_each_has_the_contract(name):
    """Each defines fit, read_write_conflict, check_function, arrays and spawn_worker."""
    from blockflow.tasks import load_worker_file

    loaded = load_worker_file(bundled_worker_files()[name])
    assert loaded.fit == "shrink"
    assert loaded.read_write_conflict is False
    assert callable(loaded.check_function)
    assert loaded.arrays is not None


def test_copy_rechunks_casts_and_crops(volume, voxels):
    """The copy of a part, in shards of another chunk shape and another type, equals that part."""
    path, data = volume
    crop = {"offset": [8 + 16 * 4, 8 * 3, 3 + 12 * 3], "shape": [24 * 4, 16 * 3, 32 * 3]}
    assert run(
        "copy", voxels((8, 16, 8)), input=path, output="o.zarr", dtype="float32", crop=crop, chunks=[4, 8, 8],
        shards=[8, 16, 8], compressor="gzip:1",
    )  # fmt: skip
    array = zarr.open("o.zarr")
    np.testing.assert_array_equal(array[:], data[16:40, 8:24, 12:44].astype("f4"))
    assert (array.dtype, array.chunks, array.shards) == (np.float32, (4, 8, 8), (8, 16, 8))
    assert array.attrs["offset"] == [72, 24, 39]
    assert run(
        "copy",
        voxels((16, 16, 16)),
        input="o.zarr",
        output="two.zarr",
        zarr_format=2,
        chunks=[8, 8, 8],
        run_dir="r2",
    )
    np.testing.assert_array_equal(zarr.open("two.zarr")[:], array[:])
    assert zarr.open("two.zarr").metadata.zarr_format == 2


def test_copy_never_wraps_a_value_that_does_not_fit(volume, voxels):
    """A cast that would lose a value fails its block, and says which values."""
    path, _ = volume
    big = zarr.open(path, mode="r+")
    big[0, 0, 0] = 70_000
    assert run("copy", voxels((16, 16, 16)), input=path, output="o.zarr", dtype="uint16") is False
    (record,) = records("run")
    assert "70000" in record.message
    assert record.block == 0


@pytest.mark.parametrize(
    ("crop", "message"),
    [
        ({"offset": [0, 0, 0], "shape": [40, 30, 30]}, "must lie within"),
        ({"offset": [10, 0, 3], "shape": [40, 30, 30]}, "off the voxels"),
    ],
)
def test_a_crop_that_cannot_be_is_refused(volume, voxels, crop, message):
    """A crop outside of the input or off its voxels is an error before anything runs."""
    with pytest.raises(StorageError, match=message):
        run("copy", voxels((8, 8, 8)), input=volume[0], output="o.zarr", crop=crop)


def test_argmax_takes_the_first_of_equal_channels(voxels):
    """Argmax over the channel axis equals numpy's, and the output has the axes of space alone."""
    data = np.random.default_rng(1).integers(0, 3, (5, 20, 18, 22)).astype("f4")
    array = zarr.create_array("p.zarr", shape=data.shape, dtype="f4", chunks=(5, 8, 8, 8),
                              attributes={"voxel_size": [4, 3, 3], "axis_names": ["c^", "z", "y", "x"]})  # fmt: skip
    array[:] = data
    assert run("argmax", voxels((8, 8, 8)), input="p.zarr", output="o.zarr")
    np.testing.assert_array_equal(zarr.open("o.zarr")[:], data.argmax(0))
    assert zarr.open("o.zarr").dtype == np.uint8


def test_argmax_without_channels_is_refused(volume, voxels):
    """An input without a channel axis is an error that names the axes."""
    with pytest.raises(StorageError, match="one channel axis, this has 0"):
        run("argmax", voxels((8, 8, 8)), input=volume[0], output="o.zarr")


@pytest.fixture
def models():
    Path("models.py").write_text(
        "import numpy as np\n"
        "def box(a): return sum(np.roll(a.astype('f4'), s, x) for x in range(3) for s in (-1, 0, 1))\n"
        "def two(a): return np.stack([a, a * 2]).astype('f4')\n"
        "def small(a): return a[1:]\n"
        "class Net:\n    @staticmethod\n    def apply(a): return a + 1\n"
    )


def test_predict_with_context_equals_the_whole(volume, voxels, models):
    """A model with a receptive field of one voxel gives the whole-volume result on every voxel that has its context."""
    path, data = volume
    read = voxels((10, 10, 10), (-1, -1, -1))
    assert run("predict", read, voxels((8, 8, 8)), input=path, output="o.zarr", model="models:box")
    padded = np.pad(data, 1).astype("f4")
    expected = sum(np.roll(padded, s, x) for x in range(3) for s in (-1, 0, 1))[1:-1, 1:-1, 1:-1]
    np.testing.assert_array_equal(zarr.open("o.zarr")[:], expected)


def test_predict_may_make_channels_and_name_attributes(volume, voxels, models):
    """Channels come in front; a model may be an attribute of a class."""
    path, data = volume
    assert run("predict", voxels((8, 8, 8)), input=path, output="o.zarr", model="models:two", channels=2)
    np.testing.assert_array_equal(zarr.open("o.zarr")[:], np.stack([data, data * 2]))
    assert run(
        "predict", voxels((8, 8, 8)), input=path, output="n.zarr", model="models:Net.apply", run_dir="r2"
    )
    np.testing.assert_array_equal(zarr.open("n.zarr")[:], data + 1)


@pytest.mark.parametrize("ending", [".onnx", ".pt"])
def test_predict_takes_networks_and_channels(voxels, ending):
    """Three channels go into a network that lies in `folder`, and two come out, across the borders of blocks."""
    data = np.random.default_rng(1).integers(0, 99, (3, 20, 18, 22)).astype("f4")
    array = zarr.create_array("c.zarr", shape=data.shape, dtype="f4", chunks=(3, 8, 8, 8),
                              attributes={"voxel_size": [4, 3, 3], "axis_names": ["c^", "z", "y", "x"]})  # fmt: skip
    array[:] = data
    Path("nets").mkdir()
    weights = weights_of(2, 3, whole=True)
    write_network(f"nets/net{ending}", weights)
    read = voxels((10, 10, 10), (-1, -1, -1))
    arguments = {"input": "c.zarr", "output": "o.zarr", "model": f"net{ending}", "folder": "nets"}
    assert run("predict", read, voxels((8, 8, 8)), **arguments, channels=2)
    expected = [
        sum(scipy.ndimage.correlate(one.astype(float), w, mode="constant") for one, w in zip(data, row))
        for row in weights
    ]
    np.testing.assert_array_equal(zarr.open("o.zarr")[:], np.stack(expected))
    for wrong in ({"device": "tpu"}, {"model": "nothing.pt"}):
        with pytest.raises(TaskError, match=next(iter(wrong.values()))):
            run("predict", read, voxels((8, 8, 8)), **arguments | wrong, channels=2, run_dir="other")


def test_predict_takes_a_function_by_the_path_of_its_file(volume, voxels, models):
    """`path/to/file.py:name`, as the operator does."""
    path, data = volume
    model = f"{Path('models.py').absolute()}:Net.apply"
    assert run("predict", voxels((8, 8, 8)), input=path, output="o.zarr", model=model)
    np.testing.assert_array_equal(zarr.open("o.zarr")[:], data + 1)


def test_a_changed_model_file_is_another_recipe(volume, voxels, models):
    """When the model's code changes, its blocks are done again."""
    path, data = volume
    for more in ("", "def box(a): return a * 3\n"):
        with Path("models.py").open("a") as file:
            file.write(more)
        assert blockflow.run_blockwise(
            "predict", None, voxels((16, 16, 16)), voxels((16, 16, 16)), 1, 0, run_dir="run", input=path,
            output="o.zarr", model="models:box",
        )  # fmt: skip
    np.testing.assert_array_equal(zarr.open("o.zarr")[:], data * 3)


def test_models_that_cannot_be_used_are_told(volume, voxels, models):
    """A model without colon or module is refused up front; one that makes another shape fails its blocks with both."""
    path, _ = volume
    block = voxels((8, 8, 8))
    for model in ("models", "nosuchmodule:x"):
        with pytest.raises(TaskError, match=model.partition(":")[0]):
            run("predict", block, input=path, output="o.zarr", model=model)
    assert run("predict", block, input=path, output="o.zarr", model="models:small") is False
    assert "made shape" in records("run")[0].message
    assert run("predict", block, input=path, output="o2.zarr", model="models:nothing", run_dir="r2") is False
    assert "has no callable 'nothing'" in records("r2")[0].message


def test_what_was_committed_is_not_done_again(volume, voxels):
    """A block whose worker died after its commit, before Daisy knew, is found done by the recipe that wrote it."""
    path, data = volume
    Path("w.py").write_text(
        "import os\n"
        "import blockflow\n"
        "from blockflow.execution.client import is_committed\n"
        "from blockflow.storage import open_array, spec_like\n"
        "fit = 'shrink'\n"
        "read_write_conflict = False\n"
        "check_function = is_committed\n"
        "def arrays(input, output):\n"
        "    return {'inputs': {'input': input}, 'outputs': {'output': spec_like(open_array(input), output)}}\n"
        "def spawn_worker(input, output):\n"
        "    def loop():\n"
        "        source, target = open_array(input), open_array(output, 'r+')\n"
        "        for block in blockflow.blocks():\n"
        "            print('did', *block.write_roi.offset, flush=True)\n"
        "            target[block.write_roi] = source[block.write_roi]\n"
        "            if not os.path.exists('died'):\n"
        "                open('died', 'w').close()\n"
        "                os.kill(os.getpid(), 9)\n"
        "    return loop\n"
    )
    block = voxels((24, 24, 24))
    assert blockflow.run_blockwise("w.py", None, block, block, 1, input=path, output="o.zarr", run_dir="run")
    np.testing.assert_array_equal(zarr.open("o.zarr")[:], data)
    did = "".join(log.read_text() for log in Path("run/tasks/w/logs").glob("w-*.log")).splitlines()
    did = [line for line in did if line.startswith("did")]
    assert len(did) == len(set(did)) == 8


def test_a_worker_that_does_not_write_fails_its_check(volume, voxels):
    """`is_committed` asked after a block notices that nothing was written."""
    Path("w.py").write_text(
        "import blockflow\n"
        "from blockflow.execution.client import is_committed\n"
        "from blockflow.storage import open_array, spec_like\n"
        "check_function = is_committed\n"
        "def arrays(input, output):\n"
        "    return {'inputs': {'input': input}, 'outputs': {'output': spec_like(open_array(input), output)}}\n"
        "def spawn_worker(input, output):\n"
        "    def loop():\n"
        "        for block in blockflow.blocks(): pass\n"
        "    return loop\n"
    )
    assert run("w.py", voxels((40, 36, 44)), input=volume[0], output="o.zarr") is False
    assert {record.cause for record in records("run")} == {"check_failed"}


def test_the_wheel_holds_the_worker_files_and_runs_them(volume, tmp_path):
    """From an installed wheel, a bundled worker file is reached by its name, and nothing of the checkout is needed."""
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        "wheels",
        str(CHECKOUT),
    ]
    end = subprocess.run(build, capture_output=True, text=True)
    assert end.returncode == 0, end.stderr
    (wheel,) = Path("wheels").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall("installed")
    Path("config.yaml").write_text(
        "compute: {context: local}\n"
        "arrays: {v: {path: volume.zarr}}\n"
        "tasks:\n"
        "  mask: {worker_file: threshold, inputs: {input: v}, outputs: {output: m.zarr}, args: {threshold: 4},\n"
        "         write_roi: {offset: [0, 0, 0], shape: [64, 48, 48]}}\n"
    )
    end = subprocess.run(
        [sys.executable, "-c", "import blockflow.cli as c; print(c.__file__); c.main()", "run", "config.yaml"],
        env={**os.environ, "PYTHONPATH": str(Path("installed").absolute())}, capture_output=True, text=True,
    )  # fmt: skip
    assert end.returncode == 0, end.stdout + end.stderr
    assert str(tmp_path) in end.stdout.splitlines()[0]
    np.testing.assert_array_equal(zarr.open("m.zarr")[:], volume[1] > 4)
