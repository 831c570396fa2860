"""Each config in `configs/` runs, as its first lines say, and makes the right voxels."""

import shutil
import subprocess
import sys
from pathlib import Path

import cc3d
import numpy as np
import pytest
import scipy.ndimage
import zarr

from blockflow.config import load_config
from blockflow.config.graph import ConfigGraph
from blockflow.operators import operator_names
from blockflow.storage import open_array
from blockflow.stype import ArrayLike

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("configs") / "configs"
    shutil.copytree(
        CONFIGS, folder, ignore=shutil.ignore_patterns("sample", "results", "runs", "__pycache__")
    )
    subprocess.run(
        [sys.executable, "-m", "blockflow", "sample", str(folder / "sample")], check=True, timeout=100
    )
    return folder


def run(folder, name):
    end = subprocess.run(
        [sys.executable, "-m", "blockflow", "run", str(folder / f"{name}.yaml")],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert end.returncode == 0, end.stdout + end.stderr


def test_threshold(folder):
    """The mask is where the sample is above 128."""
    run(folder, "threshold")
    raw = zarr.open(str(folder / "sample/raw"))[:]
    np.testing.assert_array_equal(zarr.open(str(folder / "results/mask.zarr"))[:], raw > 128)


def test_argmax(folder):
    """The classes are those of the greatest probability."""
    run(folder, "argmax")
    probabilities = zarr.open(str(folder / "sample/probabilities"))[:]
    np.testing.assert_array_equal(zarr.open(str(folder / "results/classes.zarr"))[:], probabilities.argmax(0))


def test_predict(folder, monkeypatch):
    """Blocks with context equal the model on the whole volume, borders aside, where the fill value is seen."""
    run(folder, "predict")
    monkeypatch.syspath_prepend(str(folder))
    from edge_model import edges

    raw = zarr.open(str(folder / "sample/raw"))[:]
    expected = edges(np.pad(raw, 1))[1:-1, 1:-1, 1:-1]
    np.testing.assert_array_equal(zarr.open(str(folder / "results/edges.zarr"))[:], expected)


def test_network(folder):
    """The outlines are where the gradient is steep; the network that finds them is made by the script beside it."""
    pytest.importorskip("torch", reason="PyTorch is not installed: configs/network.yaml is NOT tested")
    subprocess.run([sys.executable, str(folder / "edge_network.py")], check=True, timeout=100)
    run(folder, "network")
    raw = np.pad(zarr.open(str(folder / "sample/raw"))[:].astype(np.float32), 1)
    inner = slice(1, -1)
    squares = sum(
        ((np.roll(raw, -1, axis) - np.roll(raw, 1, axis))[inner, inner, inner] / 2) ** 2 for axis in range(3)
    )
    outlines = zarr.open(str(folder / "results/outlines.zarr"))[:]
    clear = np.abs(squares - 25**2) > 0.01
    np.testing.assert_array_equal(outlines[clear], (squares > 25**2)[clear])
    assert 0.01 < outlines.mean() < 0.99


def test_copy(folder):
    """The part is the crop of the labels, in shards, and the second task follows from it."""
    run(folder, "copy")
    labels = zarr.open(str(folder / "sample/labels"))[:]
    part = zarr.open(str(folder / "results/part.zarr"))
    np.testing.assert_array_equal(part[:], labels[:, 32:96, 32:96])
    assert (part.dtype, part.chunks, part.shards) == (np.uint16, (16, 16, 16), (32, 32, 32))
    np.testing.assert_array_equal(zarr.open(str(folder / "results/small.zarr"))[:], part[:] > 100)


def test_connected_components(folder):
    """The components have the numbers that cc3d gives those of the whole sample."""
    run(folder, "connected_components")
    raw = zarr.open(str(folder / "sample/raw"))[:]
    expected = cc3d.connected_components((raw > 128).view(np.uint8), connectivity=6)
    np.testing.assert_array_equal(zarr.open(str(folder / "results/components.zarr"))[:], expected)
    assert expected.max() > 100


def test_segment(folder):
    """Cells are labelled where the foreground is, none ends where blocks meet, and a task takes the labels on."""
    run(folder, "segment")
    cells = zarr.open(str(folder / "results/cells.zarr"))[:]
    inside = zarr.open(str(folder / "results/inside.zarr"))[:] > 0
    np.testing.assert_array_equal(cells > 0, inside)
    np.testing.assert_array_equal(zarr.open(str(folder / "results/foreground.zarr"))[:], inside)
    assert cells.dtype == np.uint32
    numbers, first = np.unique(cells[cells > 0], return_index=True)
    assert len(numbers) == numbers[-1] > 10
    assert (np.diff(first) > 0).all()
    for axis in range(3):
        for border in range(64, cells.shape[axis], 64):
            across = [np.take(cells, at, axis) for at in (border - 1, border)]
            near = [np.take(cells, at, axis) for at in (border + 20, border + 21)]
            same, usual = ((one == other)[(one > 0) & (other > 0)].mean() for one, other in (across, near))
            assert same > 0.9 * usual


def test_catalogue(folder):
    """The outputs are what scipy and numpy make of the sample, and voxel sizes go along."""
    run(folder, "catalogue")
    raw = zarr.open(str(folder / "sample/raw"))[:]
    smooth = scipy.ndimage.gaussian_filter(raw, 1.0, output=np.float32)
    np.testing.assert_array_equal(zarr.open(str(folder / "results/above_mean.zarr"))[:], smooth > raw.mean())
    half = zarr.open(str(folder / "results/half.zarr"))
    means = raw.reshape(96, 64, 2, 64, 2).mean((2, 4))
    np.testing.assert_array_equal(half[:], np.rint(means))
    assert half.attrs["voxel_size"] == [40, 64, 64]


#: they need a file that describes the data, and are tried in test_fileset_operators
OF_FILES = {
    "BlockwiseFilesetReader",
    "BlockwiseFilesetWriter",
    "RESTfulBlockwiseFilesetReader",
    "RESTfulVolumeReader",
}


def test_every_operator_has_a_line_that_works(folder):
    """The catalogue config uses every operator but those of files, and each line of it gives data of its kind."""
    loaded = load_config(folder / "catalogue.yaml")
    graph = ConfigGraph(loaded, lambda name: open_array(loaded.absolute(loaded.config.arrays[name].path)))
    assert {operator.type for operator in loaded.config.operators.values()} == {*operator_names()} - OF_FILES
    for name in loaded.config.operators:
        for output in graph._operator(name).outputs.values():
            slot = next(iter(output._leaves()))
            assert slot.ready(), (name, slot.meta.NOTREADY)
            if slot.stype.__class__ is ArrayLike:
                stop = [min(3, size) for size in slot.meta.shape]
                made = slot([0] * len(stop), stop).wait()
                assert (made.dtype, list(made.shape)) == (slot.dtype, stop), name
            else:
                assert slot.value is not None


def test_graph(folder):
    """Each output is what scipy and numpy make of the sample, and tasks read what the graph stores."""
    run(folder, "graph")
    found = {
        name: zarr.open(str(folder / f"results/graph_{name}.zarr"))[:] for name in ("smooth", "mask", "small")
    }
    raw = zarr.open(str(folder / "sample/raw"))[:]
    smooth = scipy.ndimage.gaussian_filter(raw, 1.0, output=np.float32)
    np.testing.assert_array_equal(found["smooth"], smooth)
    wide = smooth.astype(np.float64)
    norm = ((wide - wide.min()) / (wide.max() - wide.min())).astype(np.float32)
    np.testing.assert_array_equal(found["mask"], norm > 0.5)
    means = smooth.astype(np.float64).reshape(48, 2, 64, 2, 64, 2).mean((1, 3, 5))
    np.testing.assert_allclose(found["small"], means, rtol=1e-6)
    np.testing.assert_array_equal(zarr.open(str(folder / "results/graph_copied.zarr"))[:], smooth)
    np.testing.assert_array_equal(zarr.open(str(folder / "results/graph_bright.zarr"))[:], smooth > 128)


def test_slurm(folder):
    """Its script asks for what the config says; tests of a real cluster run such tasks."""
    end = subprocess.run(
        [sys.executable, "-m", "blockflow", "run", "--dry-run", str(folder / "slurm.yaml")],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert end.returncode == 0, end.stderr
    assert "at most 4 workers at one time" in end.stdout
    assert all(line in end.stdout for line in ("--array=0-3%4", "--time=1:00:00", "OMP_NUM_THREADS"))


def test_every_config_has_its_test():
    """No config is left out."""
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {path.stem for path in CONFIGS.glob("*.yaml")} <= tested


def test_filesets(folder):
    """The fileset holds the smoothed sample, the mask is made of it, and one HDF5 file too."""
    run(folder, "filesets")
    from blockflow.operators import OpGaussianSmoothing
    from blockflow.storage import open_array

    operator = OpGaussianSmoothing()
    operator.Input.setValue(zarr.open(str(folder / "sample/raw"))[:])
    operator.sigma.setValue(1.0)
    smooth = open_array(folder / "results/smooth.json").to_ndarray()
    np.testing.assert_array_equal(smooth, operator.Output[:].wait())
    np.testing.assert_array_equal(zarr.open(str(folder / "results/smooth_mask.zarr"))[:], smooth > 128)
    source, target = folder / "results/smooth.json", folder / "results/smooth.h5/volume/data"
    command = [sys.executable, "-m", "blockflow", "array", "convert", str(source), str(target)]
    subprocess.run(command, check=True, timeout=100)
    np.testing.assert_array_equal(open_array(target).to_ndarray(), smooth)
