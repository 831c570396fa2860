"""Writes and reads 256^3 voxels in 64 blocks, each an HDF5 file in a folder of its own: by h5py, or as a fileset.

python benchmarks/fileset_io.py h5py|blockflow
"""

import itertools
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

from blockflow.utility.io_util import BlockwiseFileset
from blockflow.utility.io_util.datasets import axistags_json

SHAPE, BLOCK, ROUNDS = (256,) * 3, 64, 9
WHOLE = ((0, 0, 0), SHAPE)
DESCRIPTION = {
    "_schema_name": "blockwise-fileset-description",
    "_schema_version": 1.1,
    "name": "benchmark",
    "format": "hdf5",
    "axes": "zyx",
    "shape": SHAPE,
    "dtype": "numpy.uint8",
    "block_shape": [BLOCK] * 3,
    "dataset_root_dir": "blocks",
    "block_file_name_format": "block-{roiString}.h5/volume/data",
}


def blocks(folder):
    """The path of each block's file, and its slicing."""
    for start in itertools.product(range(0, SHAPE[0], BLOCK), repeat=3):
        stop = [begin + BLOCK for begin in start]
        place = "/".join(f"{axis}_{begin:08d}" for axis, begin in zip("zyx", start, strict=True))
        yield (
            Path(f"{folder}/blocks/{place}/block-({list(start)}, {stop}).h5"),
            tuple(map(slice, start, stop)),
        )


def write_by_h5py(folder, data):
    """The same tree: files with their attributes, copies of the description, and a status each."""
    for file, region in blocks(folder):
        file.parent.mkdir(parents=True)
        with h5py.File(file, "w") as opened:
            dataset = opened.create_dataset("volume/data", data=data[region])
            dataset.attrs["axistags"] = axistags_json("zyx")
        shutil.copyfile(f"{folder}/description.json", file.with_name("description.json"))
        file.with_name("STATUS.txt").touch()


def read_by_h5py(folder):
    data = np.empty(SHAPE, np.uint8)
    for file, region in blocks(folder):
        if file.with_name("STATUS.txt").exists():
            with h5py.File(file, "r") as opened:
                data[region] = opened["volume/data"][()]
    return data


def write_as_fileset(folder, data):
    with BlockwiseFileset(f"{folder}/description.json", "a") as fileset:
        fileset.writeData(WHOLE, data)
        fileset.setBlockStatusesForRoi(WHOLE, fileset.BLOCK_AVAILABLE)


def read_as_fileset(folder):
    return BlockwiseFileset(f"{folder}/description.json").readData(WHOLE)


def main(which):
    write, read = {
        "h5py": (write_by_h5py, read_by_h5py),
        "blockflow": (write_as_fileset, read_as_fileset),
    }[which]
    data = np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8)
    writing, reading = [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "description.json").write_text(json.dumps(DESCRIPTION))
            begin = time.perf_counter()
            write(folder, data)
            middle = time.perf_counter()
            found = read(folder)
            end = time.perf_counter()
            assert (found == data).all()
        writing.append(middle - begin)
        reading.append(end - middle)
    figures = {
        "write ms": 1000 * statistics.median(writing[1:]),
        "read ms": 1000 * statistics.median(reading[1:]),
    }
    if "BENCHMARK_FIGURES" in os.environ:
        Path(os.environ["BENCHMARK_FIGURES"]).write_text(json.dumps(figures))
    print(figures)


if __name__ == "__main__":
    main(sys.argv[1])
