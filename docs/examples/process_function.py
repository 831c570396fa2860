"""Blocks done by a function, without a worker file: `blockflow sample sample`, then `python process_function.py`."""

import numpy as np
from funlib.geometry import Roi

from blockflow import run_blockwise
from blockflow.storage import open_array, spec_like


def invert(block):
    """Write 255 minus the grey value."""
    source, target = open_array("sample/raw"), open_array("inverted.zarr", "r+")
    target[block.write_roi] = 255 - source[block.read_roi]


if __name__ == "__main__":
    raw = open_array("sample/raw")
    spec = spec_like(raw, "inverted.zarr", dtype=np.uint8)
    try:
        open_array(spec.path)
    except ValueError:
        spec.create()  # a function does not say what it writes, so the array is made here
    block = Roi(raw.offset, (1280, 1024, 1024))
    complete = run_blockwise(
        None,
        raw.roi,
        block,
        block,
        num_workers=2,
        process_function=invert,
        name="invert",
        read_write_conflict=False,
    )
    print("complete:", complete)
