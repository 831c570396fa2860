"""Runs dacapo_worker.py: `blockflow sample sample`, then `python dacapo_run.py`."""

from pathlib import Path

from funlib.geometry import Roi

from blockflow.blockwise import run_blockwise
from blockflow.storage import LocalArrayIdentifier, open_from_identifier, spec_like

if __name__ == "__main__":
    raw = LocalArrayIdentifier(Path("sample"), "raw")
    mask = LocalArrayIdentifier(Path("results.zarr"), "mask")
    source = open_from_identifier(raw)
    if not Path(mask).exists():
        spec_like(source, Path(mask), dtype="uint8").create()
    block = Roi((0, 0, 0), (1280, 1024, 1024))
    complete = run_blockwise(
        Path(__file__).with_name("dacapo_worker.py"),
        source.roi,
        block,
        block,
        num_workers=2,
        max_retries=2,
        input_array_identifier=raw,
        output_array_identifier=mask,
        threshold=128.0,
    )
    print("complete:", complete)
