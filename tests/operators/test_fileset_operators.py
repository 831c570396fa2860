"""Filesets and remote volumes in graphs: read as they are, written block by block, missing blocks as asked."""

import json

import numpy as np
import pytest
from volume_server import REMOTE, serving

from blockflow.errors import StorageError
from blockflow.graph import InputSlot, Operator, OutputSlot
from blockflow.operators import (
    OpAdd,
    OpBlockwiseFilesetReader,
    OpBlockwiseFilesetWriter,
    OpRESTfulBlockwiseFilesetReader,
    OpRESTfulVolumeReader,
)
from blockflow.utility.io_util import BlockwiseFileset
from blockflow.utility.io_util.block_file import BlockNotReadyError
from blockflow.utility.roiRequestBatch import RoiRequestBatchException

WHOLE = ((0, 0, 0), (30, 10, 10))


def voxels():
    return (np.arange(3000) % 251).reshape(30, 10, 10).astype("u1")


def description(**fields):
    return {
        "_schema_name": "blockwise-fileset-description",
        "_schema_version": 1.0,
        "name": "x",
        "format": "hdf5",
        "axes": "xyz",
        "shape": [30, 10, 10],
        "dtype": "numpy.uint8",
        "drange": [0, 250],
        "block_shape": [10, 5, 5],
        "dataset_root_dir": "blocks",
        "block_file_name_format": "b-{roiString}.h5/data",
    } | fields


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "description.json"
    path.write_text(json.dumps(description()))
    return path


@pytest.fixture
def full(path):
    with BlockwiseFileset(path, "a") as fileset:
        fileset.writeData(WHOLE, voxels())
        fileset.setBlockStatusesForRoi(WHOLE, 1)
    return path


def test_a_fileset_is_read(full):
    """The output has the fileset's voxels, axes and blocks, and is computed with."""
    reader, add = OpBlockwiseFilesetReader(), OpAdd()
    reader.DescriptionFilePath.setValue(str(full))
    assert (reader.Output.meta.shape, reader.Output.meta.dtype) == ((30, 10, 10), np.uint8)
    assert reader.Output.meta.getAxisKeys() == ["x", "y", "z"]
    assert reader.Output.meta.ideal_blockshape == (10, 5, 5)
    np.testing.assert_array_equal(reader.Output[3:17, :, 4].wait(), voxels()[3:17, :, 4:5])
    add.A.connect(reader.Output)
    add.B.setValue(1)
    np.testing.assert_array_equal(add.Output[:].wait(), voxels() + np.uint8(1))


def test_a_missing_block_is_an_error_or_a_value(full):
    """A block that is not available is an error by default, and a fill value if asked; others are read."""
    with BlockwiseFileset(full, "a") as fileset:
        fileset.setBlockStatus((10, 5, 0), 0)
    reader = OpBlockwiseFilesetReader()
    reader.DescriptionFilePath.setValue(str(full))
    np.testing.assert_array_equal(reader.Output[:10].wait(), voxels()[:10])
    with pytest.raises(BlockNotReadyError):
        reader.Output[:].wait()
    dirty = []
    reader.Output.notifyDirty(lambda slot, roi: dirty.append(roi))
    reader.FillValue.setValue(9)
    assert dirty
    expected = voxels()
    expected[10:20, 5:, :5] = 9
    np.testing.assert_array_equal(reader.Output[:].wait(), expected)
    np.testing.assert_array_equal(reader.Output[15:25, 3:7, 2:9].wait(), expected[15:25, 3:7, 2:9])


def test_a_wrong_path_is_said(tmp_path, full):
    """A path that leads to no description, or to one of another kind, is an error that names it."""
    reader = OpBlockwiseFilesetReader()
    with pytest.raises(FileNotFoundError, match="nothing"):
        reader.DescriptionFilePath.setValue(str(tmp_path / "nothing.json"))
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(StorageError, match="neither a fileset nor a remote volume"):
        OpRESTfulVolumeReader().DescriptionFilePath.setValue(str(tmp_path / "other.json"))
    remote = OpRESTfulVolumeReader()
    remote.DescriptionFilePath.setValue(str(full))
    assert not remote.Output.ready()
    assert "BlockwiseFilesetReader" in remote.Output.meta.NOTREADY


class OpFailing(Operator):
    """Fails in one block."""

    Input = InputSlot()
    Output = OutputSlot()

    def setupOutputs(self):
        self.Output.meta.assignFrom(self.Input.meta)

    def execute(self, slot, subindex, roi, result):
        if tuple(roi.start) == (20, 0, 0):
            raise ZeroDivisionError
        return self.Input.get(roi).wait()

    def propagateDirty(self, slot, subindex, roi):
        self.Output.setDirty(roi)


def test_a_graph_is_written(path):
    """Asked for its output, a writer writes and publishes all blocks, with progress."""
    writer = OpBlockwiseFilesetWriter()
    writer.DescriptionFilePath.setValue(str(path))
    writer.Input.setValue(voxels())
    percents = []
    writer.progressSignal.subscribe(percents.append)
    assert writer.Output.value is True
    assert (percents[0], percents[-1]) == (0, 100)
    np.testing.assert_array_equal(BlockwiseFileset(path).readData(WHOLE), voxels())


def test_a_failing_block_leaves_the_others(full):
    """If a block cannot be computed, blocks that were published keep what they have or got, and no lock is left."""
    failing, writer = OpFailing(), OpBlockwiseFilesetWriter()
    failing.Input.setValue(np.full((30, 10, 10), 7, np.uint8))
    writer.Input.connect(failing.Output)
    writer.DescriptionFilePath.setValue(str(full))
    with pytest.raises(RoiRequestBatchException, match="ZeroDivisionError"):
        writer.Output.value  # noqa: B018
    fileset = BlockwiseFileset(full)
    read = fileset.readData(WHOLE)
    assert ((read == 7) | (read == voxels())).all()
    assert (read[20:, :5, :5] == voxels()[20:, :5, :5]).all()
    assert not any(fileset.isBlockLocked(start) for start, _ in fileset.getAllBlockRois())


@pytest.mark.parametrize("array", [np.zeros((30, 10, 9), np.uint8), np.zeros((30, 10, 10), np.uint16)])
def test_an_input_that_does_not_fit_is_not_written(path, array):
    """An input of another shape or dtype than the fileset's is refused with both."""
    writer = OpBlockwiseFilesetWriter()
    writer.DescriptionFilePath.setValue(str(path))
    writer.Input.setValue(array)
    assert not writer.Output.ready()
    assert f"has {array.shape} of {array.dtype}" in writer.Output.meta.NOTREADY


@pytest.fixture
def server():
    with serving() as server:
        yield server


def test_a_remote_volume_is_read(server, tmp_path):
    """A remote volume is read directly, or through a local fileset; each operator says which one reads the other."""
    remote = server.description(origin_offset=None)
    (tmp_path / "remote.json").write_text(json.dumps(remote))
    reader = OpRESTfulVolumeReader()
    reader.DescriptionFilePath.setValue(str(tmp_path / "remote.json"))
    assert reader.Output.meta.shape == (40, 30, 20)
    np.testing.assert_array_equal(reader.Output[3:9, 5, :].wait(), REMOTE[3:9, 5:6])
    composite = {
        "_schema_name": "RESTful-blockwise-fileset-description",
        "_schema_version": 1.0,
        "remote_description": remote,
        "local_description": description(
            axes="zyx", shape=[40, 30, 20], block_file_name_format="b-{roiString}.h5/cube"
        ),
    }
    (tmp_path / "both.json").write_text(json.dumps(composite))
    reader = OpRESTfulBlockwiseFilesetReader()
    reader.DescriptionFilePath.setValue(str(tmp_path / "both.json"))
    np.testing.assert_array_equal(reader.Output[3:9, 5, :].wait(), REMOTE[3:9, 5:6])
    wrong = OpBlockwiseFilesetReader()
    wrong.DescriptionFilePath.setValue(str(tmp_path / "remote.json"))
    assert "RESTfulVolumeReader" in wrong.Output.meta.NOTREADY
