"""Filesets: lazyflow's format to the letter, and every published block right at all times."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from itertools import product
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockflow.errors import BlockflowError, RoiError, StorageError
from blockflow.request import Request
from blockflow.utility.io_util import BlockwiseFileset, BlockwiseFilesetFactory
from blockflow.utility.jsonConfig import ParsingError
from blockflow.utility.lease import LockedError

#: as the documentation of lazyflow has it
SEED = """{
    "_schema_name" : "blockwise-fileset-description",
    "_schema_version" : 1.0,
    "name" : "example_data",
    "format" : "hdf5",
    "axes" : "xyz",
    "shape" : [300,100,100],
    "dtype" : "numpy.uint8",
    "block_shape" : [100, 50, 50],
    "dataset_root_dir" : "./my_dataset_blocks",
    "block_file_name_format" : "blockFile-{roiString}.h5/volume/data"
}
"""
SMALL = json.loads(SEED) | {"shape": [30, 10, 10], "block_shape": [10, 5, 5]}
WHOLE = ((0, 0, 0), (30, 10, 10))


def described(folder, **fields):
    """The path of a description of a small fileset, with other fields."""
    path = Path(folder) / "description.json"
    path.write_text(json.dumps({key: value for key, value in (SMALL | fields).items() if value is not ...}))
    return path


def voxels(shape=(30, 10, 10), dtype="u1"):
    return (np.arange(np.prod(shape)) % 251).reshape(shape).astype(dtype)


@pytest.fixture
def path(tmp_path):
    return described(tmp_path)


@pytest.fixture
def full(path):
    """A fileset of which all blocks are published."""
    with BlockwiseFileset(path, "a") as fileset:
        fileset.writeData(WHOLE, voxels())
        fileset.setBlockStatusesForRoi(WHOLE, BlockwiseFileset.BLOCK_AVAILABLE)
    return path


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


def test_the_example_of_the_documentation(tmp_path):
    """The documented description gives the documented tree, and each file is opened by h5py alone."""
    (tmp_path / "data_description_params.json").write_text(SEED)
    data = voxels((300, 100, 100))
    with BlockwiseFileset(tmp_path / "data_description_params.json", "a") as fileset:
        fileset.writeData(((0, 0, 0), (300, 100, 100)), data)
        fileset.setBlockStatusesForRoi(((0, 0, 0), (300, 100, 100)), 1)
    expected = [
        f"my_dataset_blocks/x_{x:08d}/y_{y:08d}/z_{z:08d}/"
        f"blockFile-([{x}, {y}, {z}], [{x + 100}, {y + 50}, {z + 50}]).h5"
        for x, y, z in product((0, 100, 200), (0, 50), (0, 50))
    ]
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.h5")) == sorted(expected)
    for x, y, z in product((0, 100, 200), (0, 50), (0, 50)):
        folder = tmp_path / f"my_dataset_blocks/x_{x:08d}/y_{y:08d}/z_{z:08d}"
        assert sorted(os.listdir(folder)) == sorted(
            [
                "STATUS.txt",
                "data_description_params.json",
                f"blockFile-([{x}, {y}, {z}], [{x + 100}, {y + 50}, {z + 50}]).h5",
            ]
        )
        with h5py.File(next(folder.glob("*.h5"))) as file:
            dataset = file["volume/data"]
            assert dataset.dtype == np.uint8
            assert (dataset[...] == data[x : x + 100, y : y + 50, z : z + 50]).all()
            keys = [axis["key"] for axis in json.loads(dataset.attrs["axistags"])["axes"]]
            assert keys == ["x", "y", "z"]
        copy = BlockwiseFileset.readDescription(folder / "data_description_params.json")
        assert copy == BlockwiseFileset.readDescription(tmp_path / "data_description_params.json")


@st.composite
def filesets(draw):
    """A description with all its fields, and a region of its view."""
    axes = draw(st.integers(1, 3))
    block = [draw(st.integers(1, 6)) for _ in range(axes)]
    shape = [draw(st.integers(1, 14)) for _ in range(axes)]
    origin = [draw(st.integers(0, (size - 1) // one)) * one for size, one in zip(shape, block)]
    view = [draw(st.integers(1, size - begin)) for size, begin in zip(shape, origin)]
    compression = draw(st.sampled_from([None, "gzip", "lzf"]))
    start = [draw(st.integers(0, size - 1)) for size in view]
    stop = [draw(st.integers(low + 1, size)) for low, size in zip(start, view)]
    dtype = draw(st.sampled_from(["uint8", "int16", "uint64", "float32", "bool_"]))
    fields = {
        "_schema_version": 1.1,
        "axes": "zyx"[:axes],
        "shape": shape,
        "dtype": f"numpy.{dtype}",
        "block_shape": block,
        "view_origin": draw(st.just(origin)),
        "view_shape": draw(st.sampled_from([view, str(view)])),
        "sub_block_shape": draw(st.sampled_from([None, [1] * axes, block])),
        "chunks": draw(st.sampled_from([None, [2] * axes, [100] * axes])),
        "compression": compression,
        "compression_opts": draw(st.sampled_from([None, 4])) if compression == "gzip" else None,
        "drange": draw(st.sampled_from([None, [0, 1], "(0.0, 2**3)"])),
        "hash_id": draw(st.sampled_from([None, "abc"])),
    }
    return fields, (tuple(start), tuple(stop)), np.dtype(dtype)


@settings(max_examples=60, deadline=None)
@given(filesets(), st.data())
def test_what_is_written_is_read(tmp_path_factory, described_fileset, data):
    """Any region of any fileset is read as it was written, whatever its storage, and what else there is stays."""
    fields, (start, stop), dtype = described_fileset
    path = described(tmp_path_factory.mktemp("fileset"), **fields)
    whole = ((0,) * len(start), tuple(map(int, BlockwiseFileset(path).description.view_shape)))
    before = voxels(whole[1]).astype(dtype)
    with BlockwiseFileset(path, "a") as fileset:
        fileset.writeData(whole, before)
        fileset.setBlockStatusesForRoi(whole, 1)
    fileset = BlockwiseFileset(path)
    assert (fileset.readData(whole) == before).all()
    after = before.copy()
    region = tuple(map(slice, start, stop))
    after[region] = (7 + before[region].astype(int)).astype(dtype)
    with BlockwiseFileset(path, "a") as writer:
        writer.writeData((start, stop), after[region])
        assert (fileset.readData(whole) == before).all()
        writer.setBlockStatusesForRoi((start, stop), 1)
    assert (fileset.readData(whole) == after).all()
    out = np.zeros([b - a for a, b in zip(start, stop)], dtype)
    assert fileset.readData((start, stop), out) is out
    assert (out == after[region]).all()
    again = BlockwiseFileset.readDescription(path)
    BlockwiseFileset.writeDescription(path, again)
    assert BlockwiseFileset.readDescription(path) == again
    for file in path.parent.rglob("*.h5"):
        with h5py.File(file) as opened:
            dataset = opened["volume/data"]
            assert dataset.dtype == dtype
            assert dataset.compression == fields["compression"]
            if fields["chunks"] is not None:
                assert dataset.chunks == tuple(min(a, b) for a, b in zip(fields["chunks"], dataset.shape))
            assert ("drange" in dataset.attrs) == (fields["drange"] is not None)
            stored = json.loads(file.name[len("blockFile-(") : -len(").h5")].join("[]"))
            disk = BlockwiseFileset(path).description.shape
            assert [b - a for a, b in zip(*stored)] == list(dataset.shape)
            assert all(b <= size for b, size in zip(stored[1], disk))


def test_files_of_hdf5_itself_are_read(path):
    """Blocks that another program wrote, with other storage than ours, are read as well."""
    fileset = BlockwiseFileset(path)
    for start, stop in fileset.getAllBlockRois():
        place = fileset.getDatasetPathComponents(start)
        os.makedirs(place.externalDirectory)
        with h5py.File(place.externalPath, "w", libver="latest") as file:
            block = voxels()[tuple(map(slice, start, stop))]
            file.create_dataset(place.internalPath, data=block, chunks=(5, 5, 5), compression="gzip")
        Path(place.externalDirectory, "STATUS.txt").touch()
    assert (fileset.readData(WHOLE) == voxels()).all()
    assert (fileset.readData(((3, 2, 1), (25, 9, 6))) == voxels()[3:25, 2:9, 1:6]).all()


def test_views(full):
    """A view moves coordinates and cuts the volume; files are named as on disk."""
    view = described(full.parent, view_origin=[10, 5, 0], view_shape=[15, 5, 7])
    fileset = BlockwiseFileset(view)
    assert (fileset.readData(((0, 0, 0), (15, 5, 7))) == voxels()[10:25, 5:10, 0:7]).all()
    assert fileset.getDatasetDirectory((10, 0, 5)).endswith("x_00000020/y_00000005/z_00000005")
    assert fileset.getDatasetPathComponents((0, 0, 0)).filename == "blockFile-([10, 5, 0], [20, 10, 5]).h5"
    rois = [[list(side) for side in roi] for roi in fileset.getAllBlockRois()]
    assert rois == [
        [[0, 0, 0], [10, 5, 5]],
        [[0, 0, 5], [10, 5, 7]],
        [[10, 0, 0], [15, 5, 5]],
        [[10, 0, 5], [15, 5, 7]],
    ]
    assert [list(side) for side in fileset.getEntireBlockRoi((10, 0, 5))] == rois[3]
    with pytest.raises(RoiError):
        fileset.readData(((0, 0, 0), (16, 5, 7)))


def test_objects_are_stored(tmp_path):
    """Voxels that are objects come back, and no pickle that runs something is loaded."""
    path = described(tmp_path, dtype="object", shape=[4], block_shape=[2], axes="x")
    data = np.empty(4, object)
    data[:] = [{"a": (1, 2.5)}, None, np.arange(3), "text"]
    with BlockwiseFileset(path, "a") as fileset:
        fileset.writeData(((0,), (4,)), data)
        fileset.setBlockStatusesForRoi(((0,), (4,)), 1)
    read = BlockwiseFileset(path).readData(((0,), (4,)))
    assert read[0] == data[0]
    assert read[1] is None
    assert (read[2] == data[2]).all()
    assert read[3] == "text"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    place = BlockwiseFileset(path).getDatasetPathComponents((0,))
    with h5py.File(place.externalPath, "r+") as file:
        file[place.internalPath][0] = np.frombuffer(pickle.dumps(Evil()), np.uint8)
    with pytest.raises(StorageError, match=r"object of posix\.mkdir; only plain data"):
        BlockwiseFileset(path).readData(((0,), (1,)))
    assert not (tmp_path / "owned").exists()


# status and locks


def test_a_block_is_available_when_it_is_published(path):
    """What is written is not read, by anybody, until its block is published; then by all."""
    writer, reader = BlockwiseFileset(path, "a"), BlockwiseFileset(path)
    block = ((0, 0, 0), (10, 5, 5))
    writer.writeData(block, voxels()[:10, :5, :5])
    for fileset in (writer, reader):
        assert fileset.getBlockStatus((0, 0, 0)) == BlockwiseFileset.BLOCK_NOT_AVAILABLE
        with pytest.raises(
            BlockwiseFileset.BlockNotReadyError, match=r"starts at \[0, 0, 0\] is not avail"
        ) as caught:
            fileset.readData(((3, 3, 3), (4, 4, 4)))
        assert caught.value.block_start == (0, 0, 0)
    assert reader.isBlockLocked((0, 0, 0))
    writer.setBlockStatus((0, 0, 0), BlockwiseFileset.BLOCK_AVAILABLE)
    assert not reader.isBlockLocked((0, 0, 0))
    for fileset in (writer, reader):
        assert (fileset.readData(block) == voxels()[:10, :5, :5]).all()
    with pytest.raises(BlockwiseFileset.BlockNotReadyError) as caught:
        reader.readData(((3, 3, 3), (4, 4, 8)))
    assert caught.value.block_start == (0, 0, 5)
    assert pickle.loads(pickle.dumps(caught.value)).block_start == (0, 0, 5)
    writer.close()


def test_a_second_writer_leaves_a_good_block_as_it_is(full):
    """Of two writers the second is refused, and neither the first's work nor what is published suffers."""
    first, second = BlockwiseFileset(full, "a"), BlockwiseFileset(full, "a")
    block = ((0, 0, 0), (10, 5, 5))
    first.writeData(block, np.full((10, 5, 5), 9))
    with pytest.raises(LockedError, match="is in use by process"):
        second.writeData(WHOLE, np.zeros((30, 10, 10)))
    with pytest.raises(LockedError):
        second.setBlockStatus((0, 0, 0), BlockwiseFileset.BLOCK_NOT_AVAILABLE)
    assert (BlockwiseFileset(full).readData(WHOLE) == voxels()).all()
    assert [BlockwiseFileset(full).isBlockLocked(start) for start, _ in first.getAllBlockRois()] == [True] + [
        False
    ] * 11
    first.setBlockStatus((0, 0, 0), 1)
    assert (BlockwiseFileset(full).readData(block) == 9).all()
    second.writeData(block, np.zeros((10, 5, 5)))
    second.close()
    first.close()
    assert BlockwiseFileset(full).getBlockStatus((0, 0, 0)) == 0


def test_a_body_that_raises_publishes_nothing(full, path):
    """Blocks that were written when a `with` body raises stay as they were; those that it published stay published."""
    start, stop = (0, 0, 0), (10, 5, 5)
    with pytest.raises(ZeroDivisionError), BlockwiseFileset(full, "a") as fileset:
        fileset.writeData((start, stop), np.full((10, 5, 5), 9))
        fileset.setBlockStatus(start, 1)
        fileset.writeData(WHOLE, np.full((30, 10, 10), 8))
        raise ZeroDivisionError
    expected = voxels()
    expected[:10, :5, :5] = 9
    assert (BlockwiseFileset(full).readData(WHOLE) == expected).all()
    assert not [name for name in files(full.parent) if "partial" in name or name.endswith(".lock")]


def test_writing_goes_on_in_a_later_session(path):
    """A block may be written in parts, by several sessions, before it is published."""
    with BlockwiseFileset(path, "a") as fileset:
        fileset.writeData(((0, 0, 0), (4, 5, 5)), np.full((4, 5, 5), 1))
    assert BlockwiseFileset(path).getBlockStatus((0, 0, 0)) == 0
    fileset.reopen("a")
    fileset.writeData(((4, 0, 0), (10, 5, 5)), np.full((6, 5, 5), 2))
    fileset.setBlockStatus((0, 0, 0), 1)
    fileset.close()
    read = BlockwiseFileset(path).readData(((0, 0, 0), (10, 5, 5)))
    assert (read[:4] == 1).all()
    assert (read[4:] == 2).all()


def test_a_block_can_be_withdrawn(full):
    """A block that is made not available is not read, and can be published again as it is."""
    with BlockwiseFileset(full, "a") as fileset:
        fileset.setBlockStatus((0, 0, 0), 0)
        with pytest.raises(BlockwiseFileset.BlockNotReadyError):
            fileset.readData(WHOLE)
        fileset.setBlockStatus((0, 0, 0), 1)
        assert (fileset.readData(WHOLE) == voxels()).all()


def test_a_block_that_nobody_wrote_is_not_published(path):
    """Publishing what is not there is an error, not an empty block; so is publishing a write that failed."""
    with BlockwiseFileset(path, "a") as fileset:
        with pytest.raises(StorageError, match="nothing was written to this block"):
            fileset.setBlockStatus((0, 0, 0), 1)
        fileset.writeData(((0, 0, 0), (4, 5, 5)), np.zeros((4, 5, 5)))
        fileset._copies[0, 0, 0]._place += "/gone"
        with pytest.raises(OSError, match=r"gone"):
            fileset.writeData(((4, 0, 0), (10, 5, 5)), np.zeros((6, 5, 5)))
        fileset._copies[0, 0, 0]._place = fileset._copies[0, 0, 0]._place.removesuffix("/gone")
        with pytest.raises(StorageError, match="a write to this block failed"):
            fileset.setBlockStatus((0, 0, 0), 1)
    assert BlockwiseFileset(path).getBlockStatus((0, 0, 0)) == 0


def test_the_open_file_of_a_block(full):
    """A reader gets the published file, a writer the working copy, which nobody else sees until it is published."""
    reader, writer = BlockwiseFileset(full), BlockwiseFileset(full, "a")
    writer.getOpenHdf5FileForBlock((0, 0, 0))["volume/data"][0] = 77
    writer.writeData(((1, 0, 0), (2, 5, 5)), np.full((1, 5, 5), 78))
    with reader.getOpenHdf5FileForBlock((0, 0, 0)) as file:
        assert (file["volume/data"][...] == voxels()[:10, :5, :5]).all()
    writer.setBlockStatus((0, 0, 0), 1)
    assert (reader.readData(((0, 0, 0), (3, 5, 5)))[:, 0, 0] == [77, 78, voxels()[2, 0, 0]]).all()
    writer.close()
    with pytest.raises(BlockwiseFileset.BlockNotReadyError):
        BlockwiseFileset(described(full.parent, dataset_root_dir="other")).getOpenHdf5FileForBlock((0, 0, 0))


def test_locks_can_be_purged(full):
    """Purging removes the locks of all blocks, says whether there were any, and harms no block."""
    writer = BlockwiseFileset(full, "a")
    writer.writeData(((0, 0, 0), (10, 5, 5)), np.zeros((10, 5, 5)))
    other = BlockwiseFileset(full, "a")
    assert other.purgeAllLocks()
    assert not other.purgeAllLocks()
    assert (other.readData(WHOLE) == voxels()).all()


def test_threads_write_parts_of_one_block(path):
    """Threads of one session write parts of one block side by side."""
    with BlockwiseFileset(path, "a") as fileset:
        threads = [
            threading.Thread(
                target=fileset.writeData, args=(((x, 0, 0), (x + 1, 5, 5)), np.full((1, 5, 5), x))
            )
            for x in range(10)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        fileset.setBlockStatus((0, 0, 0), 1)
    read = BlockwiseFileset(path).readData(((0, 0, 0), (10, 5, 5)))
    assert (read == np.arange(10)[:, None, None]).all()


def test_reading_within_a_request(full):
    """A fileset is read from within requests, as operators do."""
    fileset = BlockwiseFileset(full)
    requests = [Request(lambda: fileset.readData(WHOLE)).submit() for _ in range(4)]
    assert all((request.wait() == voxels()).all() for request in requests)


WORKER = """
import sys, numpy as np
from blockflow.utility.io_util import BlockwiseFileset
from blockflow.utility.lease import LockedError
path, role, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
fileset = BlockwiseFileset(path, "a" if role == "write" else "r")
rois = fileset.getAllBlockRois()
rng, done = np.random.default_rng(), 0
print("ready", flush=True)
while done < rounds:
    start, stop = rois[rng.integers(len(rois))]
    shape = [b - a for a, b in zip(start, stop)]
    if role == "write":
        try:
            number = rng.integers(1, 250)
            fileset.writeData(([start[0], *start[1:]], stop), np.full(shape, number))
            fileset.setBlockStatus(start, 1)
        except LockedError:
            continue
    else:
        block = fileset.readData((start, stop))
        assert (block == block.flat[0]).all() and block.flat[0], block
        middle = [b - 1 for b in stop]
        assert fileset.readData((middle, stop)).all()
    done += 1
print("done", flush=True)
"""


def test_two_writers_and_three_readers(tmp_path):
    """While two processes rewrite blocks, and one is killed at it, three read: each block is one write's, whole."""
    path = described(tmp_path, shape=[20, 40, 40], block_shape=[10, 20, 40])
    with BlockwiseFileset(path, "a") as fileset:
        whole = ((0, 0, 0), (20, 40, 40))
        fileset.writeData(whole, np.ones((20, 40, 40)))
        fileset.setBlockStatusesForRoi(whole, 1)

    def start(role, rounds):
        command = [sys.executable, "-c", WORKER, str(path), role, str(rounds)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    victim = start("write", 10**9)
    workers = [start(role, rounds) for role, rounds in [("write", 150)] * 2 + [("read", 400)] * 3]
    assert all(worker.stdout.readline() == "ready\n" for worker in [victim, *workers])
    assert workers[2].stdout.readline() == "done\n"
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors
    with BlockwiseFileset(path, "a") as fileset:
        fileset.writeData(whole, np.full((20, 40, 40), 3))
        fileset.setBlockStatusesForRoi(whole, 1)
        assert (fileset.readData(whole) == 3).all()
    assert not [name for name in files(tmp_path) if ".copy." in name or name.endswith(".lock")]


@pytest.mark.parametrize("step", ["rename", "lock", "status"])
def test_a_crash_at_any_step_of_publishing(full, step, monkeypatch):
    """A writer that dies while it publishes leaves the block published, with its old voxels or the new."""
    code = """
import os, sys, numpy as np
from pathlib import Path
from blockflow.utility.io_util import BlockwiseFileset
fileset = BlockwiseFileset(sys.argv[1], "a")
fileset.writeData(((0, 0, 0), (10, 5, 5)), np.full((10, 5, 5), 9))
die = lambda *args, **kwargs: os._exit(7)
if sys.argv[2] == "rename": os.replace = die
if sys.argv[2] == "lock": Path.replace = die
if sys.argv[2] == "status": os.flock = die; import fcntl; fcntl.flock = die
fileset.setBlockStatus((0, 0, 0), 1)
"""
    done = subprocess.run([sys.executable, "-c", code, str(full), step], check=False)
    assert done.returncode == 7
    expected = voxels()
    if step != "rename":
        expected[:10, :5, :5] = 9
    assert (BlockwiseFileset(full).readData(WHOLE) == expected).all()
    with BlockwiseFileset(full, "a") as fileset:
        fileset.writeData(((0, 0, 0), (10, 5, 5)), np.full((10, 5, 5), 5))
        fileset.setBlockStatus((0, 0, 0), 1)
    expected[:10, :5, :5] = 5
    assert (BlockwiseFileset(full).readData(WHOLE) == expected).all()
    assert not [name for name in files(full.parent) if "partial" in name or name.endswith(".lock")]


# what is refused


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shape": "__import__('os').mkdir('owned')"}, "neither a literal nor arithmetic"),
        ({"dtype": "__import__('os')"}, "neither a literal nor arithmetic"),
        ({"dataset_root_dir": "../elsewhere"}, "not within the folder of the description"),
        ({"dataset_root_dir": "/etc"}, "not within the folder of the description"),
        ({"dataset_root_dir": "a/../../b"}, "not within the folder of the description"),
        ({"dataset_root_dir": "..\\b"}, "not within the folder of the description"),
        ({"block_file_name_format": "../{roiString}.h5/data"}, "without a folder"),
        ({"block_file_name_format": "{roiString}.h5"}, "does not say where in a file"),
        ({"block_file_name_format": "{roiString}.h5/a/../b"}, "must not hold '..'"),
        ({"block_file_name_format": "b.h5/{roiString}/data"}, "without a folder"),
        ({"block_file_name_format": "{roiString.__class__}.h5/data"}, "has a field"),
        ({"block_file_name_format": "b.h5/data"}, "must hold {roiString}"),
        ({"shape": [10**12, 10, 10]}, "each must be from 1 to"),
        ({"shape": [10**6, 10**6, 10**6], "block_shape": [1, 1, 1]}, "make block_shape larger"),
        ({"shape": [10**6] * 3, "block_shape": [10**6] * 3}, "make block_shape smaller"),
        ({"shape": [30, 10]}, "must be 3 whole numbers"),
        ({"shape": [30, 10, 0]}, "each must be from 1 to"),
        ({"shape": [30, 10.5, 10]}, "must be 3 whole numbers"),
        ({"shape": 5}, "must be 3 whole numbers"),
        ({"shape": ...}, "shape is missing"),
        ({"axes": "xxz"}, "none of them twice"),
        ({"axes": "../"}, "must be a letter"),
        ({"format": "zarr"}, "only 'hdf5'"),
        ({"dtype": "str"}, "no literal|neither a literal"),
        ({"dtype": None}, "dtype is missing"),
        ({"compression": "zip"}, "valid are gzip, lzf, szip"),
        ({"compression_opts": 4}, "there is no compression"),
        ({"drange": [2, 1]}, "the lowest and the highest"),
        ({"view_origin": [5, 0, 0]}, "must be a multiple of block_shape"),
        ({"view_shape": [31, 10, 10]}, "is not within"),
        ({"view_origin": [30, 0, 0]}, "is not within"),
        ({"sub_block_shape": [3, 5, 5]}, "must divide block_shape"),
        ({"_schema_name": "other"}, "not 'blockwise-fileset-description'"),
        ({"_schema_version": 2.0}, "can be read"),
    ],
)
def test_a_hostile_description_is_refused(tmp_path, fields, message):
    """A description that cannot be, or would harm, is refused with the file, the field and the cure."""
    path = described(tmp_path, **fields)
    with pytest.raises((StorageError, ParsingError), match=message) as caught:
        BlockwiseFileset(path, "a")
    assert str(caught.value).startswith(str(path))
    assert files(tmp_path) == ["description.json"]


#: what stands in no description that is one
ODD = [
    *[
        None,
        True,
        0,
        -1,
        3.5,
        1e308,
        10**30,
        "",
        "..",
        "/",
        "[1,2",
        "(1,)",
        "{'a':1}",
        "numpy.str_",
        "1/0",
        "\0",
    ],
    *[[], [1], [1, 2, 3], [0, 0, 0], [1e400, 1, 1], ["a", "b", "c"], [[1, 2, 3]], {}, "[[1,2],[3]]", "b'x'"],
    *[
        "__import__('os')",
        "[10**9]*3",
        "1e999",
        "-" * 9000 + "1",
        "{roiString}",
        "{}{roiString}.h5/a",
        "object",
    ],
    *[
        "{roiString}.h5//a//",
        "a/{roiString}.h5/b",
        "C:{roiString}.h5/b",
        "complex64",
        "S5",
        "{'names':['a']}",
    ],
]


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*SMALL, "view_shape", "chunks", "drange"]), st.sampled_from(ODD), max_size=3
    )
)
def test_any_description_is_taken_or_refused(tmp_path_factory, fields):
    """Whatever stands in a description, it is refused with its path, or its blocks lie within its folder."""
    folder = tmp_path_factory.getbasetemp()
    path = described(folder, **fields)
    refused, fileset = None, None
    try:
        fileset = BlockwiseFileset(path)
    except BlockflowError as error:
        refused = str(error)
    if fileset is None:
        assert str(path) in refused
        return
    file = fileset.layout.file((0,) * len(fileset.layout.shape))
    assert file.startswith(f"{folder}/")
    assert ".." not in file.split("/")


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda fileset: fileset.readData(((0, 0, 0), (31, 10, 10))), "not within the view"),
        (lambda fileset: fileset.readData(((-1, 0, 0), (3, 3, 3))), "not within the view"),
        (lambda fileset: fileset.readData(((3, 3, 3), (3, 4, 4))), "has no voxels"),
        (lambda fileset: fileset.readData(((3, 3), (4, 4))), "no region of 3 axes"),
        (
            lambda fileset: fileset.readData(((0, 0, 0), (2, 2, 2)), np.zeros((2, 2, 3))),
            "out_array has shape",
        ),
        (lambda fileset: fileset.writeData(((0, 0, 0), (2, 2, 2)), np.zeros((1, 1, 1))), "cannot fill"),
        (lambda fileset: fileset.writeData(((0, 0, 0), (2, 2, 2)), 5), "cannot fill"),
        (lambda fileset: fileset.getBlockStatus((1, 0, 0)), "no block of"),
        (lambda fileset: fileset.getBlockStatus((30, 0, 0)), "not within the view"),
        (lambda fileset: fileset.setBlockStatus((0, 0, 0), 2), "status is 2"),
        (lambda fileset: fileset.reopen("a"), "close it before"),
        (lambda fileset: (fileset.close(), fileset.reopen("w")), "valid are 'r'"),
        (lambda fileset: (fileset.close(), fileset.writeData(WHOLE, voxels())), "is closed"),
    ],
)
def test_a_wrong_use_is_refused(path, use, message):
    """Regions out of the view, data of another shape, blocks that are none: all are refused, and nothing is written."""
    fileset = BlockwiseFileset(path, "a")
    with pytest.raises(BlockflowError, match=message):
        use(fileset)
    assert files(path.parent) == ["description.json"]


def test_a_reader_does_not_write(full):
    """A fileset that was opened to read writes nothing."""
    fileset = BlockwiseFileset(full)
    before = files(full.parent)
    for use in (lambda: fileset.writeData(WHOLE, voxels()), lambda: fileset.setBlockStatus((0, 0, 0), 0)):
        with pytest.raises(StorageError, match="open it with mode 'a'"):
            use()
    assert files(full.parent) == before


def test_a_damaged_block_is_an_error(full):
    """A published block that is no HDF5 file, lacks its dataset, has another shape, or is gone, is named."""
    place = BlockwiseFileset(full).getDatasetPathComponents((0, 0, 0))
    block = Path(place.externalPath)
    read = BlockwiseFileset(full).readData
    block.write_bytes(block.read_bytes()[:1000])
    with pytest.raises(StorageError, match="this is no HDF5 file"):
        read(WHOLE)
    with h5py.File(block, "w") as file:
        file["other"] = 1
    with pytest.raises(StorageError, match="there is no dataset /volume/data; it holds other"):
        read(WHOLE)
    with h5py.File(block, "w") as file:
        file["volume/data"] = np.zeros((3, 3, 3), "u1")
    with pytest.raises(StorageError, match=r"has \(3, 3, 3\) voxels, the description says \(10, 5, 5\)"):
        read(WHOLE)
    block.unlink()
    with pytest.raises(StorageError, match="marked as available, but there is no such file"):
        read(WHOLE)


# exports


def test_a_region_is_exported_to_one_file(full, tmp_path):
    """An exported region is one file, named after its place on disk, with the voxels of the region."""
    view = described(full.parent, view_origin=[10, 0, 0])
    fileset = BlockwiseFileset(view)
    for roi, use_view in [(((2, 3, 0), (12, 9, 10)), True), (((12, 3, 0), (22, 9, 10)), False)]:
        place = fileset.exportRoiToHdf5(roi, tmp_path / "export", use_view)
        assert place == f"{tmp_path}/export/blockFile-([12, 3, 0], [22, 9, 10]).h5/volume/data"
        with h5py.File(tmp_path / "export" / "blockFile-([12, 3, 0], [22, 9, 10]).h5") as file:
            assert (file["volume/data"][...] == voxels()[12:22, 3:9]).all()
    with pytest.raises(RoiError):
        fileset.exportRoiToHdf5(((0, 0, 0), (10, 5, 5)), tmp_path, use_view_coordinates=False)


def test_a_subset_is_exported_and_added_to(full, tmp_path):
    """A subset is a fileset of the same coordinates; a second export adds to it; missing blocks are left out."""
    with BlockwiseFileset(full, "a") as fileset:
        fileset.setBlockStatus((0, 0, 0), 0)
        with pytest.raises(StorageError, match="mode 'r'"):
            fileset.exportSubset(WHOLE, tmp_path / "export")
    fileset = BlockwiseFileset(full)
    with pytest.raises(StorageError, match=r"borders of blocks of .* along x, z"):
        fileset.exportSubset(((0, 0, 0), (9, 10, 3)), tmp_path / "export")
    path = fileset.exportSubset(((0, 0, 0), (20, 5, 10)), tmp_path / "export")
    subset = BlockwiseFileset(path)
    assert subset.description.view_shape.tolist() == [20, 5, 10]
    assert (subset.readData(((10, 0, 0), (20, 5, 10))) == voxels()[10:20, :5]).all()
    assert subset.getBlockStatus((0, 0, 0)) == 0
    fileset.exportSubset(((10, 0, 0), (30, 10, 10)), tmp_path / "export")
    grown = BlockwiseFileset(path)
    assert grown.description.view_shape.tolist() == [30, 10, 10]
    assert (grown.readData(((10, 0, 0), (30, 10, 10))) == voxels()[10:]).all()
    described(tmp_path / "export", block_shape=[10, 10, 10])
    with pytest.raises(StorageError, match="another fileset is there: its block_shape"):
        fileset.exportSubset(WHOLE, tmp_path / "export")


def test_the_factory_takes_the_class_of_the_schema(full, tmp_path):
    """A description is opened as what it describes, and one of nothing known is refused."""
    assert type(BlockwiseFilesetFactory.create(full)) is BlockwiseFileset
    other = described(tmp_path, _schema_name="other")
    with pytest.raises(ParsingError, match="other"):
        BlockwiseFilesetFactory.create(other)
