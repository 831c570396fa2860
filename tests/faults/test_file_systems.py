"""File systems that fail: each block that cannot be done says why, the rest goes on, and a rerun heals."""

import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import zarr
from funlib.geometry import Roi
from traces import processes_of, records

import blockflow

CONFIG = """
name: cells
run_dir: RUN
compute: {num_workers: 2}
arrays:
  raw: {path: volume.zarr}
tasks:
  double:
    worker_file: double.py
    inputs: {input: raw}
    outputs: {output: OUTPUT}
    write_roi: {offset: [0, 0, 0], shape: [64, 48, 48]}
    max_retries: 0
"""

#: doubles its input; before each block it does what HOOK says, with `n` the number of blocks begun so far
WORKER = """
import os, subprocess, time
from pathlib import Path
import blockflow
from blockflow.storage import open_array, spec_like

fit = "shrink"
read_write_conflict = False

def arrays(input, output):
    spec = spec_like(open_array(input), output, chunks=(16, 16, 16))
    return {"inputs": {"input": input}, "outputs": {"output": spec}}

def spawn_worker(input, output):
    def loop():
        source, target = open_array(input), open_array(output, "r+")
        n = 0
        for block in blockflow.blocks():
            n += 1
            HOOK
            target[block.write_roi] = source[block.write_roi] * 2
    return loop
"""


@pytest.fixture
def task(volume):
    """Write the config and a worker file with a hook; gives a function for that, and the voxels to be."""

    def write(hook="pass", output="out.zarr", run="run"):
        Path("config.yaml").write_text(CONFIG.replace("OUTPUT", str(output)).replace("RUN", str(run)))
        Path("double.py").write_text(WORKER.replace("HOOK", hook))

    return write, volume[1] * 2


def run(status, **options):
    """`blockflow run`, its exit status checked; it never shows a traceback of the driver."""
    end = subprocess.run(
        [sys.executable, "-m", "blockflow", "run", "config.yaml"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )
    assert end.returncode in (status if isinstance(status, tuple) else (status,)), end.stdout + end.stderr
    assert "/blockflow/execution/driver.py" not in end.stderr, end.stderr
    return end


@pytest.fixture
def disk(tmp_path):
    """Mount a small file system of its own; gives its folder and a function to remount it."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options):
        return subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=False, capture_output=True
        ).returncode

    if os.geteuid() != 0 or mount("size=4m"):
        pytest.skip("NOT TESTED: what happens on full and read-only disks; mounting needs root")
    yield (
        folder,
        lambda options: subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True),
    )
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_torn_chunk_fails_exactly_the_blocks_that_read_it(task):
    """A chunk file that was cut fails the one block that reads it, by name; put back, a rerun does that block."""
    write, expected = task
    write()
    chunk = Path("volume.zarr/c/0/0/0")
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[: len(whole) // 2])
    assert "27 blocks: 26 done, 0 skipped, 1 failed" in run(1).stdout
    (record,) = records("run")
    assert (record.block, record.cause, record.final) == (0, "exception", True)
    assert record.traceback
    assert record.write_roi == [[8, 0, 3], [64, 48, 48]]
    chunk.write_bytes(whole)
    assert "27 blocks: 1 done, 26 skipped" in run(0).stdout
    np.testing.assert_array_equal(zarr.open("out.zarr")[:], expected)


def test_an_input_that_vanishes_in_the_middle_fails_blocks_or_heals(task):
    """Input that is renamed away while blocks run never becomes silent zeros: back in place, a rerun is right."""
    write, expected = task
    write("if n == 4 and not Path('once').exists(): Path('once').touch(); os.rename(input, input + '.away')")
    run(1)
    found = records("run")
    assert found
    assert all("volume.zarr" in record.message for record in found)
    os.rename("volume.zarr.away", "volume.zarr")
    assert ", 0 skipped" not in run(0).stdout
    np.testing.assert_array_equal(zarr.open("out.zarr")[:], expected)


def test_an_output_that_becomes_read_only_fails_blocks_and_a_rerun_heals(task, disk):
    """With the output's file system read-only in the middle, the records say so; writable again, a rerun heals."""
    write, expected = task
    folder, remount = disk
    write(f"if n == 4: subprocess.run(['mount', '-o', 'remount,ro', '{folder}'])", folder / "out.zarr")
    run((1, 2))
    found = records("run")
    assert found
    assert all("Read-only file system" in record.message for record in found)
    assert not processes_of(Path("run").absolute())
    remount("rw")
    write("pass", folder / "out.zarr")
    run(0)
    np.testing.assert_array_equal(zarr.open(str(folder / "out.zarr"))[:], expected)


@pytest.mark.parametrize("when", ["before", "in the middle"])
def test_a_full_run_directory_ends_the_run_with_a_message(task, disk, when):
    """With no room for records and events the run ends and says so, no process is left; with room it goes on."""
    write, expected = task
    folder, _ = disk
    filler = folder / "filler"
    fill = f"os.system('cat /dev/zero > {filler} 2> /dev/null')"
    write(f"if n == 4: {fill}" if when == "in the middle" else "pass", run=folder / "run")
    if when == "before":
        os.system(f"cat /dev/zero > {filler} 2> /dev/null")
    end = run((1, 2))
    assert "No space left" in end.stdout + end.stderr
    pause = threading.Event()
    for _ in range(500):
        if not processes_of(folder / "run"):
            break
        pause.wait(0.02)
    assert not processes_of(folder / "run")
    filler.unlink()
    write(run=folder / "run")
    run(0)
    np.testing.assert_array_equal(zarr.open("out.zarr")[:], expected)


GRAPH = """
name: norm
run_dir: DISK/run
compute: {num_workers: 2}
arrays: {raw: {path: volume.zarr}}
operators:
  norm: {type: "full.py:OpFull", inputs: {Input: raw}}
outputs:
  norm: {slot: norm, path: norm.zarr, block_shape: [64, 48, 48], max_retries: 0}
"""

#: fills the disk at the stage that the file `fill` names
FULL = """
import os
from pathlib import Path
from blockflow.operators import OpNormalizeMinMax

def fill(stage):
    order = Path("fill")
    if order.exists() and order.read_text() == stage:
        os.system("cat /dev/zero > DISK/filler 2> /dev/null")

class OpFull(OpNormalizeMinMax):
    def measure(self, grid, index):
        fill("pass")
        return super().measure(grid, index)

    def merge(self, grid, results):
        fill("merge")
        return super().merge(grid, results)
"""


@pytest.mark.parametrize("stage", ["pass", "merge"])
def test_a_disk_that_is_full_when_a_stage_leaves_its_result(volume, disk, stage):
    """What cannot be left is no result: nothing behind it is computed, and with room a rerun is right."""
    folder, _ = disk
    Path("config.yaml").write_text(GRAPH.replace("DISK", str(folder)))
    Path("full.py").write_text(FULL.replace("DISK", str(folder)))
    Path("fill").write_text(stage)
    end = run((1, 2))
    assert "No space left" in end.stdout + end.stderr + "".join(map(str, records(folder / "run")))
    assert not zarr.open("norm.zarr")[:].any()
    Path("fill").unlink()
    (folder / "filler").unlink()
    run(0)
    low, high = (float(value) for value in (volume[1].min(), volume[1].max()))
    expected = ((volume[1].astype("f8") - low) / (high - low)).astype("f4")
    np.testing.assert_array_equal(zarr.open("norm.zarr")[:], expected)


def test_a_limit_on_open_files_never_spoils_a_run(task):
    """With 40 open files at most the run works, or says what failed; without the limit a rerun heals."""
    write, expected = task
    write()
    run((0, 1, 2), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)))
    run(0)
    np.testing.assert_array_equal(zarr.open("out.zarr")[:], expected)


def test_a_wall_clock_that_steps_ends_no_healthy_worker(volume, monkeypatch):
    """Workers whose clock jumps by a year and back hit no timeout, and every block is done at its first attempt."""
    monkeypatch.setattr("time.time", time.time)  # the file is loaded here too: its clock ends with the test
    Path("double.py").write_text(
        "import itertools, time\n"
        "_true, _jumps = time.time, itertools.cycle((0, 31536000, 0, -31536000))\n"
        "time.time = lambda: _true() + next(_jumps)\n" + WORKER.replace("HOOK", "time.sleep(0.05)")
    )
    block = Roi((0, 0, 0), (64, 48, 48))
    assert blockflow.run_blockwise(
        "double.py", None, block, block, 2, 0, 30.0, input=volume[0], output="out.zarr", run_dir="run"
    )
    assert records("run") == []
    np.testing.assert_array_equal(zarr.open("out.zarr")[:], volume[1] * 2)
