"""Graphs whose outputs have voxel sizes that no decimal writes."""

import numpy as np
import pytest
import zarr
from planned_runs import planned_here, run_here

from blockflow.graph import Graph
from blockflow.operators import OpUpsample
from blockflow.storage import open_array


@pytest.mark.parametrize("factor", [3, 6, 7, 11])
def test_upsampling_by_any_factor(factor, tmp_path):
    """What is stored is what the slot answers, and its voxels are that part of those it is made from."""
    zarr.create_array(str(tmp_path / "raw.zarr"), data=np.arange(24, dtype=np.uint8), chunks=(8,))
    op = OpUpsample(graph=Graph())
    op.Input.setValue(open_array(tmp_path / "raw.zarr"))
    op.factor.setValue(factor)
    run_here(planned_here({op.Output: tmp_path / "out.zarr"}, tmp_path / "work"))
    assert np.array_equal(zarr.open_array(str(tmp_path / "out.zarr"))[:], op.Output[:].wait())
    assert open_array(tmp_path / "out.zarr").metadata.voxel_size == (1 / factor,)
