"""A driver that is killed while the engine makes its tracking files leaves them torn: the next run heals that."""

import os
from pathlib import Path

import numpy as np
import pytest
import zarr

import blockflow


@pytest.mark.parametrize(
    ("file", "size"),
    [("done/zarr.json", 0), ("done/zarr.json", 20), ("done/c/0/0/0", 0), ("done/c/0/0/0", 5)],
)
def test_torn_tracking_files_are_made_anew(volume, voxels, file, size):
    """Where the engine's marks were cut off as they were made, the next run goes on without them, to the right end."""
    path, data = volume

    def run():
        block = voxels((16, 16, 16))
        arguments = dict(input=path, output="out.zarr", run_dir="run", compute_context="serial")
        return blockflow.run_blockwise("copy", None, block, block, 1, 0, **arguments)

    assert run()
    (marks,) = Path("run").glob("tasks/copy/tracking/*/daisy")
    assert (marks / file).stat().st_size > size
    os.truncate(marks / file, size)
    assert run()
    assert np.array_equal(zarr.open("out.zarr")[:], data)
    assert (marks / file).stat().st_size > size
