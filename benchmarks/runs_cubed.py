"""Gaussian and threshold by cubed with local processes: INPUT OUTPUT EDGE (of cubed's chunks, in voxels)

cubed leaves it to the function to cut the overlap off.
"""

import sys
import tempfile

import cubed
import numpy as np
import zarr
from cubed.array.overlap import map_overlap
from cubed.runtime.executors.local import ProcessesExecutor
from runs_common import CONTEXT, WORKERS, make_output, mask_of


def inner_mask(data, block_id=None, last=None):
    """`mask_of` the data, without the overlap, which ends at the borders of the volume."""
    inner = tuple(
        slice(CONTEXT if here else 0, None if here == end else -CONTEXT)
        for here, end in zip(block_id, last, strict=True)
    )
    return mask_of(data)[inner]


if __name__ == "__main__":
    source = zarr.open_array(sys.argv[1], mode="r")
    target, edge = make_output(sys.argv[2], source), int(sys.argv[3])
    with tempfile.TemporaryDirectory() as folder:
        spec = cubed.Spec(work_dir=folder, allowed_mem="8GB")
        image = cubed.from_zarr(sys.argv[1], spec=spec)
        if edge != source.chunks[0]:
            image = image.rechunk((edge,) * 3)
        last = tuple(count - 1 for count in image.numblocks)
        mask = map_overlap(
            inner_mask, image, dtype=np.uint8, chunks=image.chunks, depth=CONTEXT, boundary=None, last=last
        )
        cubed.store([mask], [target], executor=ProcessesExecutor(max_workers=WORKERS))
