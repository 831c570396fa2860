"""Connected components in one process: read it all, label it, write it all.

python benchmarks/components_whole.py FOLDER
"""

import sys
from pathlib import Path

import cc3d
import numpy as np
import zarr

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    raw = zarr.open_array(folder / "raw.zarr", mode="r")
    labels = cc3d.connected_components((raw[...] > 128).view(np.uint8), connectivity=6, out_dtype=np.uint32)
    zarr.create_array(folder / "whole.zarr", data=labels, chunks=raw.chunks)
