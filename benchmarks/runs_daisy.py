"""Gaussian and threshold by plain Daisy, tuned by hand: blocks of EDGE^3 voxels. INPUT OUTPUT EDGE"""

import sys
import tempfile

import daisy.logging
import daisy.v2
import zarr
from funlib.geometry import Roi
from runs_common import CONTEXT, WORKERS, make_output, mask_of

_arrays = {}


def opened(path, mode):
    """An array, opened once in a worker."""
    if path not in _arrays:
        _arrays[path] = zarr.open_array(path, mode=mode)
    return _arrays[path]


def work_on(source_path, target_path):
    def do_block(block):
        source, target = opened(source_path, "r"), opened(target_path, "r+")
        whole = Roi((0, 0, 0), source.shape)
        read, write = block.read_roi.intersect(whole), block.write_roi.intersect(whole)
        inner = tuple(slice(b - a, e - a) for a, b, e in zip(read.begin, write.begin, write.end, strict=True))
        target[write.to_slices()] = mask_of(source[read.to_slices()])[inner]

    return do_block


if __name__ == "__main__":
    shape = make_output(sys.argv[2], zarr.open_array(sys.argv[1], mode="r")).shape
    write = Roi((0, 0, 0), (int(sys.argv[3]),) * 3)
    with tempfile.TemporaryDirectory() as folder:
        daisy.logging.set_log_basedir(f"{folder}/logs")
        task = daisy.v2.Task(
            "mask",
            Roi((0, 0, 0), shape).grow((CONTEXT,) * 3, (CONTEXT,) * 3),
            write.grow((CONTEXT,) * 3, (CONTEXT,) * 3),
            write,
            process_function=work_on(*sys.argv[1:3]),
            read_write_conflict=False,
            fit="shrink",
            max_workers=WORKERS,
            tracking_path=f"{folder}/tracking",
        )
        assert daisy.v2.run_blockwise(task, progress=False, summary=False)
