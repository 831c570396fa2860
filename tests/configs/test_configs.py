"""Each config in `configs/` runs, as its first lines say, and makes the right voxels."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

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


def test_copy(folder):
    """The part is the crop of the labels, in shards, and the second task follows from it."""
    run(folder, "copy")
    labels = zarr.open(str(folder / "sample/labels"))[:]
    part = zarr.open(str(folder / "results/part.zarr"))
    np.testing.assert_array_equal(part[:], labels[:, 32:96, 32:96])
    assert (part.dtype, part.chunks, part.shards) == (np.uint16, (16, 16, 16), (32, 32, 32))
    np.testing.assert_array_equal(zarr.open(str(folder / "results/small.zarr"))[:], part[:] > 100)


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
