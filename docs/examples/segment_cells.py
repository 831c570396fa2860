"""Cells of the sample volume, by a function that sees a block at a time, made whole where contexts overlap."""

from pathlib import Path

from funlib.geometry import Coordinate, Roi

import blockflow
from blockflow.storage import open_array

FUNCTION = """
import numpy as np
from scipy import ndimage

default_parameters = {"threshold": 128, "depth": 3.0}

def segment_function(input_array, block, threshold, depth):
    inside = input_array.to_ndarray(block.read_roi, fill_value=0) > threshold
    seeds, _ = ndimage.label(ndimage.distance_transform_edt(inside) > depth)
    nearest = ndimage.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
    return np.where(inside, seeds[tuple(nearest)], 0).astype(np.uint64)
"""

if __name__ == "__main__":
    Path("deep_cells.py").write_text(FUNCTION)
    raw = open_array("sample/raw")
    block = Roi((0, 0, 0), raw.voxel_size * 64)
    done = blockflow.segment_blockwise(
        "deep_cells.py",
        context=Coordinate(raw.voxel_size * 12),
        total_roi=raw.roi,
        read_roi=block,
        write_roi=block,
        num_workers=2,
        input="sample/raw",
        output="cells.zarr",
        stitch="overlap",
    )
    print("done" if done else "not done", int(open_array("cells.zarr")[...].max()), "cells")
