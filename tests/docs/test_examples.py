"""The files in docs/examples do what the documentation says, run as a reader would run them."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from blockflow.operators import OpGaussianSmoothing
from blockflow.storage import open_array

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
#: those that another test runs, or another example uses
WORKER_FILES = {"smooth.py", "flaky.py", "dacapo_worker.py"}
TIMEOUT = 90


@pytest.fixture
def reader(beside_sample, environment):
    """Runs a command in a folder with the sample volume and copies of all examples."""
    for path in EXAMPLES.iterdir():
        if path.is_file():
            shutil.copy(path, beside_sample)

    def run(*command, status=0):
        done = subprocess.run(
            command,
            cwd=beside_sample,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    run.folder = beside_sample
    return run


def voxels(folder, name):
    return open_array(folder / name).data[:]


def test_every_example_is_run():
    """No example is left out: each is run by a test here, or is the worker file of one that is."""
    tested = Path(__file__).read_text()
    files = {path.name for path in EXAMPLES.iterdir() if path.is_file()}
    assert {name for name in files if f'"{name}"' not in tested} == set()
    configs = [path.read_text() for path in EXAMPLES.glob("*.yaml")]
    scripts = [path.read_text() for path in EXAMPLES.glob("*.py")]
    assert {name for name in WORKER_FILES if not any(name in text for text in configs + scripts)} == set()


def test_first_run_of_the_readme(reader):
    """The first run does all blocks, the second none, a changed parameter is named and all blocks are done again."""
    assert "48 blocks: 48 done, 0 skipped" in reader("blockflow", "run", "first.yaml")
    again = reader("blockflow", "run", "first.yaml")
    assert "every block is done already" in again
    assert "48 blocks: 0 done, 48 skipped" in again
    changed = reader("blockflow", "run", "first.yaml", "--set", "tasks.mask.args.threshold=150")
    assert "mask: arguments.threshold: 128 -> 150: all its blocks are done again" in changed
    assert "48 blocks: 48 done, 0 skipped" in changed
    np.testing.assert_array_equal(
        voxels(reader.folder, "mask.zarr"), voxels(reader.folder, "sample/raw") > 150
    )
    assert "48/48 done (100.0 %)" in reader("blockflow", "status", "blockflow_runs/first")
    assert reader("blockflow", "failures", "blockflow_runs/first") == "no failures\n"
    reader("blockflow", "array", "show", "mask.zarr", "--output", "mask.png")
    assert (reader.folder / "mask.png").stat().st_size > 0


def test_a_volume_grows(reader):
    """After a part of the volume, a run over all of it does only the rest."""
    part = "tasks.mask.total_roi={offset: [0, 0, 0], shape: [1280, 4096, 4096]}"
    assert "16 blocks: 16 done, 0 skipped" in reader("blockflow", "run", "first.yaml", "--set", part)
    assert "48 blocks: 32 done, 16 skipped" in reader("blockflow", "run", "first.yaml")


def test_first_run_from_python(reader):
    """`run_blockwise` gives the voxels that the config gives."""
    assert "complete: True" in reader("python", "first.py")
    expected = voxels(reader.folder, "sample/raw") > 128
    np.testing.assert_array_equal(voxels(reader.folder, "mask_from_python.zarr"), expected)


def test_a_worker_file_of_ones_own(reader):
    """The example worker file gives the mean of each voxel's neighbourhood, across the borders of blocks."""
    reader("blockflow", "run", "smooth.yaml")
    padded = np.pad(voxels(reader.folder, "sample/raw").astype(np.float32), 1)
    inner = padded.shape[0] - 2, padded.shape[1] - 2, padded.shape[2] - 2
    total = np.zeros(inner, np.float32)
    for z, y, x in np.ndindex(3, 3, 3):
        total += padded[z : z + inner[0], y : y + inner[1], x : x + inner[2]]
    np.testing.assert_array_equal(voxels(reader.folder, "smooth.zarr"), total / 27)
    assert "--radius" in reader("python", "smooth.py", "start-worker", "--help")


def test_two_tasks(reader):
    """A task reads what another one writes, and both are complete."""
    said = reader("blockflow", "run", "two_tasks.yaml")
    assert said.count("48 blocks: 48 done, 0 skipped") == 2
    expected = voxels(reader.folder, "smooth.zarr") > 128
    np.testing.assert_array_equal(voxels(reader.folder, "smooth_mask.zarr"), expected)


def test_failures(reader):
    """Failing blocks end with status 1 and records; once the cause is repaired, only they are done again."""
    assert "12 blocks: 8 done, 0 skipped, 4 failed" in reader("blockflow", "run", "flaky.yaml", status=1)
    said = reader("blockflow", "failures", "blockflow_runs/flaky")
    assert "flaky: exception: RuntimeError: the upper blocks fail until there is a file cure" in said
    assert "4 blocks (0, 1, 2, 3), 8 attempts, 4 blocks failed for good" in said
    (reader.folder / "cure").touch()
    assert "12 blocks: 4 done, 8 skipped" in reader("blockflow", "run", "flaky.yaml")


def test_process_function(reader):
    """A function in a script does blocks, and can be run again."""
    assert "complete: True" in reader("python", "process_function.py")
    expected = 255 - voxels(reader.folder, "sample/raw")
    np.testing.assert_array_equal(voxels(reader.folder, "inverted.zarr"), expected)
    assert "every block is done already" in reader("python", "process_function.py")


def test_upstream(reader):
    """A task and the one that it depends on run from one call."""
    assert "complete: True" in reader("python", "upstream.py")
    expected = voxels(reader.folder, "sample/labels") > 0
    np.testing.assert_array_equal(voxels(reader.folder, "foreground.zarr"), expected)


def test_sum_operator(reader):
    """An operator is asked in all ways, block by block too, and hears of changes."""
    said = reader("python", "sum_operator.py").splitlines()
    assert "  inputA  float64 (10, 20)  <- SumOperator.output" in said
    assert said[-5:] == [
        "a slicing: 1200.0",
        "start and stop: 240.0",
        "block by block: 1200.0",
        "dirty: (0, 0) to (10, 20)",
        "after the change: 1400.0",
    ]


def test_segment_cells(reader):
    """Cells are whole: each block border is crossed by cells, and all of the foreground has a number."""
    assert "done" in (said := reader("python", "segment_cells.py"))
    cells, raw = voxels(reader.folder, "cells.zarr"), voxels(reader.folder, "sample/raw")
    assert f"{cells.max()} cells" in said
    assert not cells[raw <= 128].any()
    assert ((cells[63] == cells[64]) & (cells[63] > 0)).sum() > 1000


def test_stream(reader):
    """A slot is streamed into a file, with progress, and is what the slot gives at once."""
    said = reader("python", "stream.py").splitlines()
    assert (said[0], said[-2:]) == ("0 %", ["100 %", "written: smooth.h5/volume/data"])
    smooth = OpGaussianSmoothing()
    smooth.Input.setValue(voxels(reader.folder, "sample/raw"))
    smooth.sigma.setValue(1.5)
    np.testing.assert_array_equal(voxels(reader.folder, "smooth.h5/volume/data"), smooth.Output[:].wait())


def test_fileset(reader):
    """A graph writes a fileset, another reads it, and a part of it becomes one file."""
    raw = voxels(reader.folder, "sample/raw")
    said = reader("python", "fileset.py").splitlines()
    assert said == [
        "written: True",
        f"foreground: {(raw[10:20] > 128).sum()}",
        "exported: part/block-([10, 0, 0], [20, 64, 64]).h5/volume/data",
    ]
    np.testing.assert_array_equal(voxels(reader.folder, "mask.json"), raw > 128)


def test_plain_daisy(reader):
    """A task runs under Daisy itself, too."""
    assert "complete: True" in reader("python", "plain_daisy.py")
    expected = voxels(reader.folder, "sample/raw") > 128
    np.testing.assert_array_equal(voxels(reader.folder, "plain.zarr"), expected)


def test_dacapo_worker_file(reader):
    """A worker file in DaCapo's shape runs with replaced imports."""
    assert "complete: True" in reader("python", "dacapo_run.py")
    expected = voxels(reader.folder, "sample/raw") > 128
    np.testing.assert_array_equal(voxels(reader.folder, "results.zarr/mask"), expected)


def test_create_array(reader):
    """An array with decimal voxel sizes has one lattice step per voxel, and is written by ROI."""
    said = reader("python", "create_array.py")
    assert "lattice steps of (0.5, 0.108, 0.108) um; voxel size in them: (1, 1, 1)" in said
    assert "write unit: (32, 64, 64) voxels; voxels set: 131072" in said


def code_of(page, kind):
    return re.findall(rf"^```{kind}\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "page", ["docs/running.md", "docs/geometry.md", "docs/storage.md", "docs/segmentation.md"]
)
def test_configs_of_pages_run(reader, page):
    """Every config on a page runs to its end."""
    shutil.copy(ROOT / "configs" / "edge_model.py", reader.folder)
    reader("python", "create_array.py")
    configs = [
        text
        for text in code_of(page, "yaml")
        if re.search(r"^(tasks|segmentations|outputs):", text, re.MULTILINE)
    ]
    assert configs
    for number, text in enumerate(configs):
        (reader.folder / f"page{number}.yaml").write_text(text)
        assert f"page{number}: done" in reader("blockflow", "run", f"page{number}.yaml")


def test_shortest_worker_file(reader):
    """The shortest worker file of docs/worker-files.md copies a volume."""
    (reader.folder / "shortest.py").write_text(code_of("docs/worker-files.md", "python")[0])
    config = (EXAMPLES / "smooth.yaml").read_text()
    config = config.replace("smooth", "shortest").replace("args: {radius: 1}", "fit: shrink")
    config = re.sub(r" *read_roi.*\n", "", config)
    (reader.folder / "shortest.yaml").write_text(config)
    reader("blockflow", "run", "shortest.yaml")
    np.testing.assert_array_equal(voxels(reader.folder, "shortest.zarr"), voxels(reader.folder, "sample/raw"))


def test_dacapo_worker_file_with_arrays(reader):
    """With the `arrays` that docs/worker-files.md adds to it, a worker file from DaCapo has known outputs."""
    (added,) = [
        text for text in code_of("docs/worker-files.md", "python") if "input_array_identifier" in text
    ]
    worker_file = reader.folder / "dacapo_worker.py"
    program, main = worker_file.read_text().split("if __name__")
    worker_file.write_text(f"{program}{added}\n\nif __name__{main}")
    said = reader("python", "dacapo_run.py")
    assert "complete: True" in said
    assert "no outputs are known" not in said
