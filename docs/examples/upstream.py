"""Two tasks, one after the other block by block: `blockflow sample sample`, then `python upstream.py`."""

from funlib.geometry import Roi

from blockflow import DaCapoBlockwiseTask, run_blockwise

TOTAL = Roi((0, 0, 0), (3840, 4096, 4096))
BLOCK = Roi((0, 0, 0), (1280, 1024, 1024))

if __name__ == "__main__":
    smaller = DaCapoBlockwiseTask(
        "copy",
        TOTAL,
        BLOCK,
        BLOCK,
        num_workers=2,
        input="sample/labels",
        output="labels16.zarr",
        dtype="uint16",
    )
    complete = run_blockwise(
        "threshold",
        TOTAL,
        BLOCK,
        BLOCK,
        num_workers=2,
        upstream_tasks=[smaller],
        run_dir="runs/upstream",
        input="labels16.zarr",
        output="foreground.zarr",
        threshold=0,
    )
    print("complete:", complete)
