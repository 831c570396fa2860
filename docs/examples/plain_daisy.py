"""The same task under plain Daisy: `blockflow sample sample`, then `python plain_daisy.py`."""

import daisy
from funlib.geometry import Roi

from blockflow import DaCapoBlockwiseTask
from blockflow.storage import open_array, spec_like

if __name__ == "__main__":
    raw = open_array("sample/raw")
    spec_like(raw, "plain.zarr", dtype="uint8").create()  # plain Daisy makes no arrays
    block = Roi((0, 0, 0), (1280, 1024, 1024))
    task = DaCapoBlockwiseTask(
        "threshold",
        raw.roi,
        block,
        block,
        num_workers=2,
        input="sample/raw",
        output="plain.zarr",
        threshold=128,
    )
    print("complete:", daisy.run_blockwise([task]))
