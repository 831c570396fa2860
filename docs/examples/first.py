"""The first run of README.md, from Python: `blockflow sample sample`, then `python first.py`."""

from funlib.geometry import Roi

from blockflow import run_blockwise

if __name__ == "__main__":
    complete = run_blockwise(
        "threshold",
        total_roi=Roi((0, 0, 0), (3840, 4096, 4096)),
        read_roi=Roi((0, 0, 0), (1280, 1024, 1024)),
        write_roi=Roi((0, 0, 0), (1280, 1024, 1024)),
        num_workers=2,
        input="sample/raw",
        output="mask_from_python.zarr",
        threshold=128,
    )
    print("complete:", complete)
