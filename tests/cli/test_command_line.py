"""The command line as a user meets it: what it prints, its exit statuses, and how soon it answers."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

CONFIG = """
name: cells
run_dir: run
compute: {context: CONTEXT, num_workers: 2}
arrays:
  raw: {path: volume.zarr}
tasks:
  mask:
    worker_file: threshold
    inputs: {input: raw}
    outputs: {output: mask.zarr}
    write_roi: {offset: [0, 0, 0], shape: [64, 48, 48]}
    args: {threshold: 4}
"""


def blockflow(*arguments, status=0):
    """Run the command; check its exit status; give what it printed on both streams."""
    end = subprocess.run(
        [sys.executable, "-m", "blockflow", *map(str, arguments)], capture_output=True, text=True, timeout=100
    )
    assert end.returncode == status, end.stdout + end.stderr
    return end


@pytest.fixture
def config(volume):
    Path("config.yaml").write_text(CONFIG.replace("CONTEXT", "serial"))
    return volume[1]


@pytest.mark.parametrize("context", ["serial", "local"])
def test_run_makes_the_voxels_and_says_what_it_did(volume, context):
    """`blockflow run` writes the right voxels, prints the counts and where the run directory is, and exits 0."""
    Path("config.yaml").write_text(CONFIG.replace("CONTEXT", context))
    end = blockflow("run", "config.yaml")
    np.testing.assert_array_equal(zarr.open("mask.zarr")[:], volume[1] > 4)
    assert "cells: done" in end.stdout
    assert "27 blocks: 27 done, 0 skipped" in end.stdout
    assert "27/27 done" in end.stderr
    again = blockflow("run", "config.yaml")
    assert "27 blocks: 0 done, 27 skipped" in again.stdout
    assert Path("run/config.yaml").read_text() == Path("config.yaml").read_text()


def test_set_overrides_a_value_and_the_run_says_what_changed(config):
    """`--set` reaches any key, and a changed parameter does the blocks again."""
    blockflow("run", "config.yaml")
    end = blockflow("run", "config.yaml", "--set", "tasks.mask.args.threshold=6")
    assert "arguments.threshold: 4 -> 6" in end.stderr
    np.testing.assert_array_equal(zarr.open("mask.zarr")[:], config > 6)


def test_failed_blocks_give_status_1_and_are_explained(config):
    """A run with failed blocks exits 1; `status` and `failures` say which blocks and why, also as JSON."""
    Path("bad.py").write_text(
        "import blockflow\n"
        "def spawn_worker(input, output):\n"
        "    def loop():\n"
        "        for block in blockflow.blocks():\n"
        "            if block.write_roi.offset[0] > 70: raise ValueError('too deep')\n"
        "    return loop\n"
    )
    end = blockflow(
        "run", "config.yaml", "--set", "tasks.mask.worker_file=bad.py", "--set", "tasks.mask.args={}",
        "--set", "tasks.mask.outputs={output: volume.zarr/../out.zarr}", "--set", "tasks.mask.max_retries=0",
        "--quiet", status=2,
    )  # fmt: skip
    assert "there is no such array" in end.stderr
    zarr.create_array("out.zarr", shape=(40, 36, 44), chunks=(16, 16, 16), dtype="u1",
                      attributes={"voxel_size": [4, 3, 3], "offset": [8, 0, 3]})  # fmt: skip
    arguments = ["--set", "tasks.mask.worker_file=bad.py", "--set", "tasks.mask.args={}", "--set",
                 "tasks.mask.outputs={output: out.zarr}", "--set", "tasks.mask.max_retries=0"]  # fmt: skip
    end = blockflow("run", "config.yaml", *arguments, status=1)
    assert "blockflow failures" in end.stdout
    status = blockflow("status", "run").stdout
    assert "cells: failed" in status
    assert " failed" in status
    text = blockflow("failures", "run").stdout
    assert "mask: exception: ValueError: too deep" in text
    assert "raise ValueError('too deep')" in text
    lines = [json.loads(line) for line in blockflow("failures", "run", "--json").stdout.splitlines()]
    assert lines
    assert all(line["write_roi"][0][0] > 70 for line in lines)
    known = json.loads(blockflow("status", "run", "--json").stdout)
    assert known["tasks"]["mask"]["failed"] == len(lines)
    assert known["tasks"]["mask"]["done"] == known["tasks"]["mask"]["blocks"] - len(lines)
    assert blockflow("failures", "run", "--cause", "timeout").stdout.strip() == "no failures"
    assert "valid are" in blockflow("failures", "run", "--cause", "tiemout", status=2).stderr
    assert "its tasks are mask" in blockflow("failures", "run", "--task", "x", status=2).stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("worker_file: thershold", "bundled one"),
        ("unknown: 1", "unknown key"),
        ("total_roi: {offset: [0, 0, 0], shape: [8, 8]}", "one per axis"),
        ("fit: tight", "fit"),
        ("read_roi: {offset: [8, 0, 0], shape: [64, 48, 48]}", "read"),
        ("write_roi: {offset: [0, 0, 0], shape: [65, 48, 48]}", "off the voxels"),
        ("write_roi: {offset: [0, 0, 0], shape: [40, 48, 48]}", "nearest safe write ROI"),
        ("total_roi: {offset: [8, 0, 3], shape: [640, 480, 480]}", "covers only"),
        ("total_roi: {offset: [8, 0, 3], shape: [32, 24, 24]}\n    fit: valid", "zero blocks"),
        ("inputs: {input: nothere}", "nothere"),
    ],
)
def test_bad_configs_are_refused_before_anything_runs(config, change, message):
    """Each mistake gives status 2 and a line that says what to change; nothing is written, no traceback."""
    key = change.partition(":")[0]
    lines = [
        line
        for line in CONFIG.replace("CONTEXT", "serial").splitlines()
        if not line.strip().startswith(f"{key}:")
    ]
    Path("config.yaml").write_text("\n".join(lines) + f"\n    {change}\n")
    end = blockflow("run", "config.yaml", status=2)
    assert message in end.stderr
    assert "Traceback" not in end.stderr
    assert not Path("run").exists()
    assert not Path("mask.zarr").exists()


def test_fit_valid_says_how_many_voxels_it_leaves(config):
    """A warning counts what `valid` leaves unprocessed."""
    end = blockflow("run", "config.yaml", "--set", "tasks.mask.fit=valid")
    assert "unprocessed" in end.stderr
    assert str(40 * 36 * 44 * 36 - 32 * 32 * 32 * 36) in end.stderr


def test_another_runs_directory_is_refused_and_an_older_format_too(config):
    """A run directory of another name, another format or with something else in it is left alone."""
    blockflow("run", "config.yaml")
    assert "not of 'other'" in blockflow("run", "config.yaml", "--set", "name=other", status=2).stderr
    about = json.loads(Path("run/run.json").read_text())
    Path("run/run.json").write_text(json.dumps({**about, "format": 99}))
    assert "format 99" in blockflow("run", "config.yaml", status=2).stderr
    Path("full").mkdir()
    Path("full/thesis.txt").write_text("mine")
    assert "not empty" in blockflow("run", "config.yaml", "--set", "run_dir=full", status=2).stderr
    assert [path.name for path in Path("full").iterdir()] == ["thesis.txt"]
    assert "no run directory here" in blockflow("status", "full", status=2).stderr


def test_a_worker_file_that_cannot_be_loaded_shows_its_own_traceback(config):
    """The traceback is the file's, without ours."""
    Path("bad.py").write_text("import nosuchmodule\n")
    end = blockflow("run", "config.yaml", "--set", "tasks.mask.worker_file=bad.py", status=2)
    assert "No module named 'nosuchmodule'" in end.stderr
    assert 'bad.py", line 1' in end.stderr
    assert "blockflow/tasks" not in end.stderr
    Path("empty.py").write_text("")
    end = blockflow("run", "config.yaml", "--set", "tasks.mask.worker_file=empty.py", status=2)
    assert "defines no spawn_worker" in end.stderr


def test_help_and_import_stay_light():
    """`blockflow --help` imports none of the heavy libraries, and lists every command that there is."""
    code = (
        "import sys; sys.argv = ['blockflow', '--help']\n"
        "from blockflow.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'zarr', 'daisy', 'pydantic', 'rich', 'yaml', 'PIL', 'cloudpickle'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    end = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert end.returncode == 0, end.stderr
    for name in ("run", "status", "failures", "array", "sample", "schema"):
        assert f"\n  {name} " in end.stdout
        assert blockflow(name, "--help").stdout.startswith("Usage:")


def test_schema_is_a_json_schema():
    """`blockflow schema` prints JSON that names the keys of a config."""
    schema = json.loads(blockflow("schema").stdout)
    assert {"name", "run_dir", "compute", "arrays", "tasks"} <= set(schema["properties"])


def test_usage_errors_exit_2():
    """A command that is not there, or a missing argument, is a usage error."""
    assert "No such command" in blockflow("rnu", status=2).stderr
    assert "Missing argument" in blockflow("run", status=2).stderr
    assert "nothere.yaml" in blockflow("run", "nothere.yaml", status=2).stderr
