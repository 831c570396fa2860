"""`blockflow array convert`: any format to any other, gone on with where it was interrupted."""

import numpy as np
import pytest
from click.testing import CliRunner

from blockflow.cli import cli
from blockflow.storage import ArraySpec, VolumeMetadata, open_array

METADATA = VolumeMetadata((40, 32, 32), (0, 0, 0), ("nm",) * 3, ("z", "y", "x"), ("space",) * 3)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with an array `raw`, of 20 x 18 x 10 voxels."""
    monkeypatch.chdir(tmp_path)
    spec = ArraySpec("raw", (20, 18, 10), "uint8", METADATA, (8, 8, 8))
    spec.create()
    array = open_array("raw", "r+")
    array.data[...] = np.arange(3600).reshape(20, 18, 10) % 251
    return tmp_path


def run(*arguments, status=0):
    result = CliRunner().invoke(cli, ["array", *map(str, arguments)], standalone_mode=False)
    said = result.output + str(result.exception or "")
    assert (result.exception is None and not result.return_value) == (status == 0), said
    return said


def test_all_formats_in_a_round(folder):
    """From zarr over fileset, HDF5 and npy to zarr: voxels and place in the world stay, and info tells the format."""
    original = open_array("raw")
    run("convert", "raw", "a.json", "--chunks", "8,8,10", "--compressor", "gzip:1", "--num-workers", 2)
    run("convert", "a.json", "b.h5/volume/raw")
    run("convert", "b.h5/volume/raw", "c.npy")
    run("convert", "c.npy", "d.zarr", "--chunks", "4,18,10", "--dtype", "uint16", "--zarr-format", 2)
    for path, kind, lines in [
        ("a.json", "fileset", ["compressor:     gzip", "stored:         9 of 9 blocks"]),
        ("b.h5/volume/raw", "HDF5", ["compressor:     none"]),
        ("c.npy", "numpy", ["chunks:         20 x 18 x 10"]),
        ("d.zarr", "zarr v2", ["dtype:          uint16", "stored:         5 of 5 chunks"]),
    ]:
        array = open_array(path)
        np.testing.assert_array_equal(array.to_ndarray(), original.to_ndarray())
        assert array.metadata == METADATA
        said = run("info", path)
        assert f"format:         {kind}\n" in said
        assert all(line in said for line in lines)
    run("show", "a.json", "--output", "a.png")
    assert (folder / "a.png").stat().st_size > 0


def test_the_same_command_again_does_nothing(folder):
    """A conversion that is done is not done again; one file that is there is not written over."""
    run("convert", "raw", "a.json")
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*.h5")}
    assert stamps
    run("convert", "raw", "a.json")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.h5")} == stamps
    run("convert", "raw", "b.npy")
    assert "something already" in run("convert", "raw", "b.npy", status=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["raw", "b.npy", "--chunks", "4,4,4"], "--chunks has no meaning"),
        (["raw", "b.npy", "--num-workers", "2"], "--num-workers or --run-dir has no meaning"),
        (["raw", "b.zarr", "--chunks", "4,x"], "write it as 64,64,64"),
        (["raw", "b.json", "--shards", "8,8,8"], "neither shards"),
        (["raw", "b.json", "--compressor", "zstd"], "have 'gzip' and 'none'"),
        (["nothing", "b.zarr"], "no such array"),
    ],
)
def test_what_has_no_meaning_is_refused(folder, arguments, message):
    """Options that the target cannot have are refused, and nothing is written."""
    assert message in run("convert", *arguments, status=2)
    assert {path.name for path in folder.iterdir()} <= {"raw", "blockflow_runs"}
