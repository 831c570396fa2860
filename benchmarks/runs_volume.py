"""The input of the graph benchmarks: a volume of uint8 like electron microscopy, 512^3 voxels in chunks of 64^3.

python benchmarks/runs_volume.py FOLDER

Made from the real segmentation `connectomics_labels.npz` where that is there (beside the project, in
`../shared/data`, or in the folder named in `BENCHMARK_DATA`), else from Voronoi cells of the sample volume: 170, minus
90 where a voxel's label differs from that of a 6-neighbour, plus normal noise of standard deviation 12.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import zarr

from blockflow.report.sample import make_sample

EDGE, CHUNK = 512, 64
SHARED = Path(__file__).parents[2] / "shared" / "data"


def labels():
    """Real cells, or generated ones; and what they are."""
    file = Path(os.environ.get("BENCHMARK_DATA", SHARED)) / "connectomics_labels.npz"
    if file.exists():
        with np.load(file) as content:
            return content["labels"], "a real segmentation of mouse brain"
    with tempfile.TemporaryDirectory() as folder:
        paths = make_sample(Path(folder) / "sample", (EDGE,) * 3)
        return zarr.open_array(str(paths["labels"]), mode="r")[...], "generated cells"


def grey(cells):
    membrane = np.zeros(cells.shape, bool)
    for axis in range(3):
        one = (slice(None),) * axis + (slice(1, None),)
        other = (slice(None),) * axis + (slice(-1),)
        differs = cells[one] != cells[other]
        membrane[one] |= differs
        membrane[other] |= differs
    noise = np.random.default_rng(0).normal(0, 12, cells.shape)
    return np.clip(np.where(membrane, 80, 170) + noise, 0, 255).astype(np.uint8)


def make(folder):
    """Write the volume, if it is not there yet; returns its path and what it was made from."""
    place = Path(folder) / "input.zarr"
    cells, what = labels()
    if not place.exists():
        aside = place.with_suffix(".partial")
        shutil.rmtree(aside, ignore_errors=True)
        array = zarr.create_array(store=str(aside), shape=cells.shape, dtype="uint8", chunks=(CHUNK,) * 3)
        array[...] = grey(cells)
        aside.rename(place)
    return place, what


if __name__ == "__main__":
    print(*make(sys.argv[1]))
