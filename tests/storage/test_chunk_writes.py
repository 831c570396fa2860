"""A write that is killed in the middle leaves the old chunk, or shard, whole."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from blockflow.storage import ArraySpec, VolumeMetadata, open_array

ROOT = Path(__file__).parents[2]
SIDE = 64
LAYOUTS = pytest.mark.parametrize(
    ("zarr_format", "shards"), [(2, None), (3, None), (3, (SIDE, SIDE))], ids=["v2", "v3", "v3-shards"]
)

#: dies where the new bytes are complete but not yet in place
BEFORE_THE_RENAME = """
import os, pathlib
pathlib.Path.replace = lambda self, target: os.kill(os.getpid(), 9)
"""

#: dies while the new bytes are being written
IN_THE_BYTES = """
import resource, signal
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
"""

OVERWRITE = """
import sys
import numpy as np
from blockflow.storage import open_array
array = open_array(sys.argv[1], "r+")
voxels = np.random.default_rng(2).integers(0, 256, array.shape).astype("uint8")
{die}
array[array.roi] = voxels
"""


@pytest.fixture
def written(tmp_path, zarr_format, shards):
    """The path of an array of one write unit, and the voxels in it."""
    metadata = VolumeMetadata((1, 1), (0, 0), ("", ""), ("y", "x"), ("space", "space"))
    chunks = (SIDE // 2, SIDE // 2) if shards else (SIDE, SIDE)
    spec = ArraySpec(
        str(tmp_path / "a"), (SIDE, SIDE), "uint8", metadata, chunks, shards, zarr_format=zarr_format
    )
    spec.create()
    array = open_array(spec.path, "r+")
    voxels = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE)).astype("uint8")
    array[array.roi] = voxels
    return spec.path, voxels


@LAYOUTS
@pytest.mark.parametrize(
    ("die", "by"),
    [(BEFORE_THE_RENAME, signal.SIGKILL), (IN_THE_BYTES, signal.SIGXFSZ)],
    ids=["before-rename", "in-the-bytes"],
)
def test_a_killed_writer_leaves_the_old_voxels(written, die, by):
    """After a writer died in the middle of a write, all old voxels are there; the write can be done again."""
    path, old = written
    files = {file: file.read_bytes() for file in Path(path).rglob("*") if file.is_file()}
    result = subprocess.run(
        [sys.executable, "-c", OVERWRITE.format(die=die), path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == -by, result.stderr
    aside = {file for file in Path(path).rglob("*") if file.is_file()} - files.keys()
    assert [file.suffix for file in aside] == [".partial"]
    assert all(file.read_bytes() == content for file, content in files.items())
    array = open_array(path, "r+")
    assert np.array_equal(array.to_ndarray(), old)
    new = old[::-1] + np.uint8(1)
    array[array.roi] = new
    assert np.array_equal(open_array(path).to_ndarray(), new)


@LAYOUTS
def test_a_write_that_fails_leaves_the_old_voxels_and_nothing_else(written, monkeypatch):
    """Where the rename itself fails, the old voxels stay, the error is heard and no file is left aside."""
    path, old = written
    files = set(Path(path).rglob("*"))
    array = open_array(path, "r+")

    def no_space(self, target):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", no_space)
        with pytest.raises(OSError, match="No space left"):
            array[array.roi] = old[::-1]
    assert set(Path(path).rglob("*")) == files
    assert np.array_equal(open_array(path).to_ndarray(), old)
