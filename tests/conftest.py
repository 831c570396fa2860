"""What the tests share: small volumes, and runs that leave nothing behind."""

import numpy as np
import pytest
import zarr
from funlib.geometry import Roi

#: folders whose tests take long, and wait most of it: begun first, so that no other waits for them at the end
_LONG = ("slurm", "faults", "execution", "segment", "planning", "blockwise")


def pytest_collection_modifyitems(items):
    order = {name: place for place, name in enumerate(_LONG)}
    items.sort(key=lambda item: order.get(item.path.parent.name, len(_LONG)))


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def volume(tmp_path):
    """A labelled volume of 40 x 36 x 44 voxels of 4 x 3 x 3 units, in chunks of 8, and its voxels."""
    data = np.random.default_rng(0).integers(0, 9, (40, 36, 44), dtype=np.uint32)
    array = zarr.create_array(
        str(tmp_path / "volume.zarr"),
        shape=data.shape,
        dtype=data.dtype,
        chunks=(8, 8, 8),
        attributes={"voxel_size": [4, 3, 3], "offset": [8, 0, 3], "axis_names": ["z", "y", "x"]},
    )
    array[:] = data
    return str(tmp_path / "volume.zarr"), data


@pytest.fixture
def voxels():
    """A ROI of so many voxels of `volume`, from its origin on or from another."""

    def roi(shape, offset=(0, 0, 0)):
        return Roi([o * v for o, v in zip(offset, (4, 3, 3))], [s * v for s, v in zip(shape, (4, 3, 3))])

    return roi


@pytest.fixture
def line():
    """`count` blocks of one step each, along one axis, without context."""

    def rois(count):
        return Roi((0,), (count,)), Roi((0,), (1,)), Roi((0,), (1,))

    return rois
