"""Runs that are killed, interrupted or started twice: nothing lost, nothing left behind."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import zarr
from traces import events, processes_of, records

_SCRIPT = """
import time
from funlib.geometry import Roi
import blockflow

def work(block):
    n = block.write_roi.offset[0]
    open(f"began-{n}", "a").write("x")
    time.sleep(float(open("seconds").read()))
    open(f"ended-{n}", "a").write("x")

if __name__ == "__main__":
    done = blockflow.run_blockwise(
        None, Roi((0,), (BLOCKS,)), Roi((0,), (1,)), Roi((0,), (1,)), 2,
        process_function=work, read_write_conflict=False, run_dir="run", name="work"MORE,
    )
    print("done" if done else "not done", flush=True)
"""


@pytest.fixture
def start():
    """Start a driver over so many blocks of so many seconds; what is left of it is killed after the test."""
    drivers = []

    def driver(seconds, blocks, more=""):
        Path("seconds").write_text(str(seconds))
        Path("script.py").write_text(_SCRIPT.replace("BLOCKS", str(blocks)).replace("MORE", more))
        drivers.append(
            subprocess.Popen(
                [sys.executable, "script.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
        return drivers[-1]

    yield driver
    for process in drivers:
        process.kill()
        process.communicate()


def wait_until(condition, what, seconds=30.0):
    """Look again and again, waiting for a state of other processes that nothing announces."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError(f"waited {seconds} s in vain for: {what}")


def ended():
    return sorted(int(path.name.removeprefix("ended-")) for path in Path().glob("ended-*"))


def test_a_killed_driver_leaves_no_process_and_a_rerun_goes_on(start):
    """SIGKILL of the driver ends all its processes within seconds, and nothing that was done is done again."""
    driver = start(0.1, 40)
    wait_until(lambda: len(ended()) >= 6, "six blocks")
    driver.kill()
    driver.wait()
    folder = Path("run").absolute()
    wait_until(lambda: not processes_of(folder), "the end of all processes of the run", 10)
    before = set(ended())
    again = start(0.0, 40)
    out, err = again.communicate(timeout=60)
    assert out.strip() == "done", err
    assert ended() == list(range(40))
    twice = [n for n in before if Path(f"ended-{n}").read_text() != "x"]
    assert len(twice) <= 2  # at most what each of two workers had ended but not reported
    assert [event["event"] for event in events("run", "driver")] == ["run started", "run ended"]


def test_an_interrupt_drains(start):
    """SIGINT lets the blocks at hand finish, takes no more, and the run can go on."""
    driver = start(0.3, 40)
    wait_until(lambda: len(ended()) >= 2, "two blocks")
    driver.send_signal(signal.SIGINT)
    out, err = driver.communicate(timeout=30)
    assert out.strip() == "not done"
    assert "stopping" in err
    began = sorted(int(path.name.removeprefix("began-")) for path in Path().glob("began-*"))
    assert ended() == began
    assert len(began) < 40
    assert records("run") == []
    assert '"outcome": "interrupted"' in Path("run/run.json").read_text()


def test_a_second_interrupt_stops_at_once(start):
    """A second SIGINT ends workers in the middle of their blocks."""
    driver = start(600, 4)
    wait_until(lambda: len(list(Path().glob("began-*"))) == 2, "two blocks begun")
    driver.send_signal(signal.SIGINT)
    wait_until(lambda: Path("run/stop").exists(), "the stop file")
    driver.send_signal(signal.SIGINT)
    driver.communicate(timeout=30)
    assert ended() == []
    wait_until(lambda: not processes_of(Path("run").absolute()), "the end of all processes of the run", 10)


def test_sigterm_leaves_no_process(start):
    """SIGTERM of the driver stops all workers at once."""
    driver = start(600, 4)
    wait_until(lambda: len(list(Path().glob("began-*"))) == 2, "two blocks begun")
    driver.terminate()
    driver.communicate(timeout=30)
    wait_until(lambda: not processes_of(Path("run").absolute()), "the end of all processes of the run", 10)


def test_a_second_driver_is_refused(start):
    """Two drivers never share a run directory: the second one is told who has it."""
    driver = start(600, 4)
    wait_until(lambda: len(list(Path().glob("began-*"))) == 2, "two blocks begun")
    second = start(600, 4)
    _, err = second.communicate(timeout=30)
    assert second.returncode != 0
    assert f"is in use by process {driver.pid} on" in err
    driver.terminate()
    driver.communicate(timeout=30)


def test_workers_killed_at_random_leave_every_voxel_right(volume, voxels):
    """Whatever workers are killed, the output equals the whole-volume result once the run ends."""
    path, data = volume
    Path("victim.py").write_text(
        "import os, random, sys\n"
        "import blockflow\n"
        "from blockflow.storage import open_array, spec_like\n"
        "read_write_conflict = False\n"
        "fit = 'shrink'\n"
        "def arrays(input, output):\n"
        "    return {'inputs': {'input': input}, 'outputs': {'output': spec_like(open_array(input), output)}}\n"
        "def spawn_worker(input, output):\n"
        "    def loop():\n"
        "        source, target = open_array(input), open_array(output, 'r+')\n"
        "        for block in blockflow.blocks():\n"
        "            if random.random() < 0.15: os.kill(os.getpid(), 9)\n"
        "            target[block.write_roi] = source[block.write_roi] + 1\n"
        "            if random.random() < 0.15: os.kill(os.getpid(), 9)\n"
        "    return loop\n"
    )
    import blockflow

    block = voxels((16, 16, 16))
    for _ in range(4):
        done = blockflow.run_blockwise(
            "victim.py", None, block, block, 2, 6, input=path, output="out.zarr", run_dir="run"
        )
        if done:
            break
    assert done
    np.testing.assert_array_equal(zarr.open("out.zarr")[:], data + 1)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a file system of its own")
def test_a_full_disk_fails_its_blocks_and_a_rerun_heals(volume, voxels, tmp_path):
    """Where the output's disk is full, blocks fail with the cause said; with room, a rerun does the rest."""
    import blockflow

    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(disk)], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("needs to mount a small file system")
    try:
        path, data = volume
        block = voxels((16, 16, 16))
        arguments = dict(
            input=path, output=str(disk / "out.zarr"), run_dir="run", compressor="none", dtype="uint64"
        )
        assert blockflow.run_blockwise("copy", None, block, block, 2, 0, **arguments) is False
        found = records("run")
        assert found
        assert all("No space left" in record.message for record in found)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert blockflow.run_blockwise("copy", None, block, block, 2, 0, **arguments) is True
        np.testing.assert_array_equal(zarr.open(str(disk / "out.zarr"))[:], data)
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def test_an_interrupt_of_a_serial_run_drains_too(start):
    """In the serial context the block at hand is finished as well, and the run can go on."""
    driver = start(0.2, 30, ', compute_context="serial"')
    wait_until(lambda: len(ended()) >= 2, "two blocks")
    driver.send_signal(signal.SIGINT)
    out, _ = driver.communicate(timeout=30)
    assert out.strip() == "not done"
    assert ended() == list(range(len(ended())))
    assert records("run") == []
    again = start(0.0, 30)
    assert again.communicate(timeout=60)[0].strip() == "done"
    assert [Path(f"ended-{n}").read_text() for n in range(30)] == ["x"] * 30
