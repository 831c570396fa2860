"""Gaussian and threshold by dask.array: INPUT OUTPUT threads|distributed EDGE (of dask's chunks, in voxels)

The function is mapped with an overlap of the context, and without one at the borders of the volume, where scipy's own
`reflect` does the right thing: that is less work than to let dask make the border.
"""

import sys

import dask
import dask.array as da
import zarr
from runs_common import CONTEXT, WORKERS, make_output, mask_of


def compute(source, target, edge):
    image = da.from_zarr(source, chunks=(edge,) * 3)
    mask = da.map_overlap(mask_of, image, depth=CONTEXT, boundary="none", dtype="uint8", meta=image._meta)
    da.store(mask, target, lock=False)


if __name__ == "__main__":
    source = zarr.open_array(sys.argv[1], mode="r")
    target, edge = make_output(sys.argv[2], source), int(sys.argv[4])
    if sys.argv[3] == "threads":
        with dask.config.set(scheduler="threads", num_workers=WORKERS):
            compute(source, target, edge)
    else:
        from distributed import Client, LocalCluster

        with (
            LocalCluster(
                n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=None
            ) as cluster,
            Client(cluster),
        ):
            compute(source, target, edge)
