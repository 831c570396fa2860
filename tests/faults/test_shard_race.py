"""Many writers, and shards of several chunks: what must not be shared is refused, and what may be loses nothing."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import zarr
from funlib.geometry import Roi

import blockflow
from blockflow.errors import TaskError
from blockflow.storage import open_array

CHUNKS, SHARDS = (25, 25, 25), (50, 50, 50)


@pytest.fixture
def noise():
    """100^3 random doubles, in chunks of 25, and where they are."""
    data = np.random.default_rng(5).random((100, 100, 100))
    array = zarr.create_array("noise.zarr", shape=data.shape, dtype=data.dtype, chunks=CHUNKS)
    array[:] = data
    return os.path.abspath("noise.zarr"), data


def copy(input, size, workers, **options):
    block = Roi((0, 0, 0), size if isinstance(size, tuple) else (size,) * 3)
    return blockflow.run_blockwise(
        "copy",
        None,
        block,
        block,
        workers,
        input=input,
        output=os.path.abspath("out.zarr"),
        chunks=CHUNKS,
        shards=SHARDS,
        run_dir="run",
        **options,
    )


@pytest.mark.parametrize(
    ("size", "safe"),
    [
        (25, "(50, 50, 50)"),
        (75, "(100, 100, 100)"),
        (60, "(50, 50, 50)"),
        ((50, 25, 100), "(50, 50, 100)"),
    ],
)
def test_blocks_that_share_shards_are_refused_with_the_nearest_safe_shape(noise, size, safe):
    """Blocks of whole chunks but not of whole shards are refused before anything is written, with the cure."""
    with pytest.raises(TaskError, match=r"would share shards of output 'output'") as caught:
        copy(noise[0], size, 6)
    assert f"The nearest safe write ROI has shape {safe}" in str(caught.value)
    assert not Path("out.zarr").exists()
    assert not Path("run").exists()


def test_many_writers_of_whole_shards_lose_nothing(noise):
    """With blocks of the safe shape, eight workers at once leave no wrong voxel."""
    path, data = noise
    assert copy(path, 50, 8)
    assert zarr.open("out.zarr").shards == SHARDS
    assert np.array_equal(zarr.open("out.zarr")[:], data)


_WRITER = """
import sys
import numpy as np
from funlib.geometry import Roi
from blockflow.storage import open_array

first, step = int(sys.argv[1]), int(sys.argv[2])
array = open_array("contested.zarr", "r+")
print("up", flush=True)
version = first
while True:
    array[Roi((0, 0, 0), array.shape)] = np.full(array.shape, version, array.dtype)
    version += step
"""


@contextmanager
def writers(*numbers):
    """For each first version and step a process that writes one version after another, until it is killed."""
    started = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(first), str(step)], stdout=subprocess.PIPE)
        for first, step in numbers
    ]
    try:
        for writer in started:
            assert writer.stdout.readline() == b"up\n"
        yield
    finally:
        for writer in started:
            writer.kill()
            writer.communicate()


@pytest.mark.parametrize(
    ("shards", "compressor"), [(None, "auto"), (None, None), (SHARDS, "auto"), (SHARDS, None)]
)
def test_two_workers_at_one_block_never_show_a_torn_write_unit(shards, compressor):
    """While two processes write one ROI again and again, each write unit that is read is of one version."""
    zarr.create_array(
        "contested.zarr", shape=SHARDS, dtype="f8", chunks=CHUNKS, shards=shards, compressors=compressor
    )[:] = 0.0
    array = open_array("contested.zarr")
    unit = array.write_unit
    with writers((1, 2), (2, 2)):
        seen: set[float] = set()
        for look in range(5000):
            corner = (look % (SHARDS[0] // unit[0])) * unit[0]
            versions = np.unique(array[Roi((corner, 0, 0), unit)])
            assert len(versions) == 1, f"look {look} found {versions} in one write unit"
            seen.add(versions[0])
            if look >= 50 and len(seen) >= 12 and {version % 2 for version in seen} == {0.0, 1.0}:
                return
        raise AssertionError(f"the writers hardly wrote: {seen}")


def test_the_same_block_written_again_does_not_disturb_readers_of_a_part():
    """A part of a shard is read right while two processes write the same voxels into the shard again."""
    zarr.create_array("contested.zarr", shape=SHARDS, dtype="f8", chunks=CHUNKS, shards=SHARDS)[:] = 7.0
    array = open_array("contested.zarr")
    with writers((7, 0), (7, 0)):
        for look in range(150):
            part = array[Roi((0, 0, look % 50), (50, 25, 1))]
            assert np.array_equal(part, np.full(part.shape, 7.0)), f"look {look}"


def test_a_writer_that_is_killed_leaves_whole_write_units():
    """Whenever a writer is killed, each shard is of one version, and the next writer writes it again."""
    zarr.create_array("contested.zarr", shape=SHARDS, dtype="f8", chunks=CHUNKS, shards=SHARDS)[:] = 0.0
    for kill in range(4):
        with writers((1 + kill, 1)):
            for _ in range(kill * 7):
                open_array("contested.zarr")[Roi((0, 0, 0), SHARDS)]
        assert len(np.unique(open_array("contested.zarr")[Roi((0, 0, 0), SHARDS)])) == 1
    array = open_array("contested.zarr", "r+")
    array[Roi((0, 0, 0), SHARDS)] = np.full(SHARDS, -1.0)
    assert np.array_equal(open_array("contested.zarr")[Roi((0, 0, 0), SHARDS)], np.full(SHARDS, -1.0))
