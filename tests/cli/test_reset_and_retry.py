"""`blockflow reset` and `blockflow retry`: exactly the blocks that are meant are done again."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from test_command_line import CONFIG, blockflow
from traces import events, records


@pytest.fixture
def config(volume):
    Path("config.yaml").write_text(CONFIG.replace("CONTEXT", "serial"))
    return volume[1]


def done_in_last_session():
    return sorted(event["block"] for event in events("run", "mask") if event["event"] == "done")


def test_reset_of_all_does_all_again(config):
    """After a reset every block is done again, and the voxels are right."""
    blockflow("run", "config.yaml")
    assert "mask: 27 blocks will be done again" in blockflow("reset", "run").stdout
    assert "27 done, 0 skipped" in blockflow("run", "config.yaml").stdout
    np.testing.assert_array_equal(zarr.open("mask.zarr")[:], config > 4)


def test_reset_of_a_roi_does_exactly_the_blocks_that_write_there(config):
    """Only blocks whose write ROI meets the given ROI are done again."""
    blockflow("run", "config.yaml")
    out = blockflow("reset", "run", "--task", "mask", "--roi", "8:72,0:48,50:52").stdout
    assert "mask: 2 blocks" in out  # z 0 of 64 steps from 8 on, y 0, x: 3..51 and 51..99
    assert "2 done, 25 skipped" in blockflow("run", "config.yaml").stdout
    assert done_in_last_session() == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--roi", "0:1"], "has 1 axes, the blocks have 3"),
        (["--roi", "a:b"], "BEGIN:END"),
        (["--roi", "5:5,0:1,0:1"], "behind its BEGIN"),
        (["--task", "x"], "its tasks are mask"),
    ],
)
def test_a_reset_that_cannot_be_meant_changes_nothing(config, arguments, message):
    """A wrong ROI or task is refused, and everything stays done."""
    blockflow("run", "config.yaml")
    assert message in blockflow("reset", "run", *arguments, status=2).stderr
    assert "0 done, 27 skipped" in blockflow("run", "config.yaml").stdout


def failing(config):
    """Blocks 1 and 2 fail by an exception, block 3 by its check; all others are done."""
    Path("bad.py").write_text(
        "import os, blockflow\n"
        "from blockflow.storage import open_array, spec_like\n"
        "fit = 'shrink'\n"
        "def check(block):\n"
        "    return os.path.exists('mended') or tuple(block.write_roi.offset) != (8, 48, 3)\n"
        "check_function = (lambda block: False, check)\n"
        "def arrays(input, output, threshold): \n"
        "    return {'inputs': {'input': input}, 'outputs': {'output': spec_like(open_array(input), output)}}\n"
        "def spawn_worker(input, output, threshold):\n"
        "    def loop():\n"
        "        source, target = open_array(input), open_array(output, 'r+')\n"
        "        for block in blockflow.blocks():\n"
        "            if not os.path.exists('mended') and tuple(block.write_roi.offset) in ((8, 0, 51), (8, 0, 99)):\n"
        "                raise ValueError('bad')\n"
        "            target[block.write_roi] = source[block.write_roi]\n"
        "    return loop\n"
    )
    Path("config.yaml").write_text(
        Path("config.yaml").read_text().replace("worker_file: threshold", "worker_file: bad.py")
    )
    blockflow("run", "config.yaml", "--set", "tasks.mask.max_retries=0", status=1)
    assert {(r.block, r.cause) for r in records("run")} == {
        (1, "exception"),
        (2, "exception"),
        (3, "check_failed"),
    }
    Path("mended").touch()


def test_retry_of_a_cause_leaves_the_others_failed_with_their_records(config):
    """Only blocks that failed for the cause are tried; the others keep their records; overrides stay in force."""
    failing(config)
    assert (
        "2 done, 24 skipped, 1 failed" in blockflow("retry", "run", "--cause", "exception", status=1).stdout
    )
    assert done_in_last_session() == [1, 2]
    assert [(r.block, r.cause) for r in records("run")] == [(3, "check_failed")]
    assert "1 done, 26 skipped" in blockflow("retry", "run").stdout
    np.testing.assert_array_equal(zarr.open("mask.zarr")[:], config)
    assert json.loads(Path("run/run.json").read_text())["origin"]["overrides"] == ["tasks.mask.max_retries=0"]


def test_retry_refuses_what_it_cannot_do(config):
    """Unknown causes and tasks, changed blocks, and runs from Python are told."""
    failing(config)
    assert "valid are" in blockflow("retry", "run", "--cause", "bug", status=2).stderr
    assert "its tasks are mask" in blockflow("retry", "run", "--task", "x", status=2).stderr
    text = Path("config.yaml").read_text()
    Path("config.yaml").write_text(text.replace("shape: [64, 48, 48]", "shape: [64, 48, 96]"))
    assert "are not those that failed" in blockflow("retry", "run", "--cause", "exception", status=2).stderr
    about = json.loads(Path("run/run.json").read_text())
    Path("run/run.json").write_text(json.dumps({**about, "origin": None}))
    assert "started from Python" in blockflow("retry", "run", status=2).stderr


def test_an_interrupted_command_prints_its_summary_and_exits_130(volume):
    """SIGINT drains, the summary says what is left, the exit status is 130, and the same command goes on."""
    text = (
        CONFIG.replace("CONTEXT", "local")
        .replace("threshold: 4", "")
        .replace("worker_file: threshold", "worker_file: slow.py")
    )
    Path("config.yaml").write_text(text)
    Path("slow.py").write_text(
        "import time, blockflow\n"
        "from blockflow.storage import open_array, spec_like\n"
        "fit = 'shrink'\nread_write_conflict = False\n"
        "def arrays(input, output): \n"
        "    return {'inputs': {'input': input}, 'outputs': {'output': spec_like(open_array(input), output)}}\n"
        "def spawn_worker(input, output):\n"
        "    def loop():\n"
        "        source, target = open_array(input), open_array(output, 'r+')\n"
        "        for block in blockflow.blocks():\n"
        "            time.sleep(0.2)\n"
        "            target[block.write_roi] = source[block.write_roi]\n"
        "    return loop\n"
    )
    command = [sys.executable, "-m", "blockflow", "run", "config.yaml"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        while not (
            Path("run/events").exists()
            and any('"done"' in p.read_text() for p in Path("run/events").iterdir())
        ):
            assert run.poll() is None
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=30)
    assert run.returncode == 130, err
    assert "cells: interrupted" in out
    assert "run the same command again to go on" in out
    done, left = (int(re.search(rf"(\d+) {word}", out)[1]) for word in ("done", "left"))
    assert done + left == 27
    assert done > 0
    assert f"{left} done, {done} skipped" in blockflow("run", "config.yaml").stdout
    np.testing.assert_array_equal(zarr.open("mask.zarr")[:], volume[1])


def test_a_second_writer_of_an_output_is_refused(volume):
    """Another run that would write an array in use is told who has it; nothing of it begins."""
    from blockflow.utility.lease import Lease

    Path("config.yaml").write_text(CONFIG.replace("CONTEXT", "serial"))
    blockflow("run", "config.yaml")
    with Lease(Path("mask.zarr/.blockflow-lock"), "output array"):
        end = blockflow("run", "config.yaml", "--set", "run_dir=other", status=2)
    assert re.search(r"output array .*mask.zarr is in use by process \d+ on ", end.stderr)
