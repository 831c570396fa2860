"""Connected components by `dask_image.ndmeasure.label`, with threads and chunks of 128^3.

python benchmarks/components_dask.py FOLDER
"""

import sys
from pathlib import Path

import dask.array
from dask_image import ndmeasure

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    raw = dask.array.from_zarr(str(folder / "raw.zarr"))
    labels, _ = ndmeasure.label(raw > 128)
    labels.astype("uint32").to_zarr(str(folder / "dask.zarr"), overwrite=True)
