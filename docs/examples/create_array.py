"""Make an array with a place in the world, write a part of it and read it back."""

import numpy as np
from funlib.geometry import Roi

from blockflow.storage import ArraySpec, VolumeMetadata, open_array

metadata = VolumeMetadata(
    voxel_size=(0.5, 0.108, 0.108),
    offset=(0, 0, 0),
    units=("um", "um", "um"),
    axis_names=("z", "y", "x"),
    types=("space", "space", "space"),
)
ArraySpec(
    path="cells.zarr",
    shape=(64, 128, 128),
    dtype="uint16",
    metadata=metadata,
    chunks=(16, 32, 32),
    shards=(32, 64, 64),
    compressor="zstd:5",
).create()

array = open_array("cells.zarr", "r+")
print("lattice steps of", array.lattice, "um; voxel size in them:", array.voxel_size)
array[Roi((0, 0, 0), (32, 64, 64))] = np.ones((32, 64, 64), np.uint16)
print("write unit:", array.write_unit, "voxels; voxels set:", int(array.data[:].sum()))
