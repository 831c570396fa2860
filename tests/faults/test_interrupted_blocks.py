"""A serial run that is interrupted in the middle of a block gives the block back, however the worker loops."""

import subprocess
import sys
from pathlib import Path

import pytest
from traces import events

_SCRIPT = """
import gc, os, signal
from funlib.geometry import Roi
import blockflow, daisy

def process(block):
    if block.write_roi.begin[0] == 2:
        os.kill(os.getpid(), signal.SIGINT)  # drains
        os.kill(os.getpid(), signal.SIGINT)  # stops at once

def over_blocks():
    for block in blockflow.blocks():
        process(block)

def over_client():
    client = daisy.Client()
    while True:
        with client.acquire_block() as block:
            if block is None:
                return
            process(block)

def run():
    roi = Roi((0,), (1,))
    return blockflow.run_blockwise(
        None, Roi((0,), (6,)), roi, roi, 1, 0, process_function=LOOP, compute_context="serial",
        run_dir="run", name="work", read_write_conflict=False,
    )

print(run(), flush=True)
gc.collect()
"""


@pytest.mark.parametrize(
    "loop",
    [
        "over_blocks",
        "over_client",
    ],
)
def test_an_interrupted_block_is_given_back(loop):
    """The last event of the worker's last block says that it was interrupted, and the engine has no complaint."""
    Path("script.py").write_text(_SCRIPT.replace("LOOP", loop))
    end = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, timeout=60)
    assert end.stdout.strip() == "False"
    words = [event["event"] for event in events("run", "work-") if "block" in event]
    assert words == ["start", "done", "start", "done", "start", "interrupted"]
    assert "Exception ignored" not in end.stderr
    assert "panicked" not in end.stderr
