"""A server that breaks down in the middle of a run: one message, nothing left behind, and a rerun goes on."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import zarr
from traces import processes_of

CONFIG = """
name: cells
run_dir: run
compute: {num_workers: 2}
arrays:
  raw: {path: volume.zarr}
tasks:
  double:
    worker_file: double.py
    inputs: {input: raw}
    outputs: {output: out.zarr}
    write_roi: {offset: [0, 0, 0], shape: [32, 24, 24]}
"""

#: blocks wait for the file `go` once two of them are done; a worker whose server is gone ends as any other
WORKER = """
import threading
from pathlib import Path
import blockflow
from blockflow.storage import open_array, spec_like

fit = "shrink"
read_write_conflict = False

def arrays(input, output):
    return {"inputs": {"input": input}, "outputs": {"output": spec_like(open_array(input), output)}}

def spawn_worker(input, output):
    def loop():
        source, target = open_array(input), open_array(output, "r+")
        for block in blockflow.blocks():
            Path(f"begun-{block.block_id[1]}").touch()
            while not Path("go").exists() and len(list(Path().glob("begun-*"))) > 4:
                threading.Event().wait(0.02)
            target[block.write_roi] = source[block.write_roi] * 2
    return loop
"""

#: connects as any worker may, takes a block, and gives it back as if it were still being processed
ROGUE = """
import json
from pathlib import Path
from daisy import _daisy

address = json.loads(Path("run/address.json").read_text())
client = _daisy.SyncClient(address["host"], address["port"], "double", None)
client.release_block(client.acquire_block())
"""


def wait_until(condition, what, seconds=60.0):
    pause = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError(f"waited in vain for: {what}")


def test_a_panic_of_the_server_ends_the_run_with_one_message_and_a_rerun_completes(volume):
    """A client that makes Daisy's server panic costs the run, but no voxel: what is done stays done."""
    Path("config.yaml").write_text(CONFIG)
    Path("double.py").write_text(WORKER)
    command = [sys.executable, "-m", "blockflow", "run", "config.yaml"]
    quiet = {**os.environ, "RUST_BACKTRACE": "0"}
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=quiet)
    try:
        wait_until(lambda: len(list(Path().glob("begun-*"))) > 4, "blocks that wait")
        subprocess.run([sys.executable, "-c", ROGUE], capture_output=True, timeout=60)
        out, err = driver.communicate(timeout=60)
    finally:
        driver.kill()
        driver.communicate()
    assert driver.returncode == 1, out + err
    assert err.count("Daisy's server broke down") == 1
    assert "run again to go on" in err
    assert "Traceback" not in err
    assert "blockflow/execution" not in err
    wait_until(lambda: not processes_of(Path("run").absolute()), "the end of all processes of the run")
    assert json.loads(Path("run/run.json").read_text())["outcome"] == "failed"

    Path("go").touch()
    again = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert again.returncode == 0, again.stdout + again.stderr
    np.testing.assert_array_equal(zarr.open("out.zarr")[:], volume[1] * 2)
    assert ", 0 skipped" not in again.stdout
