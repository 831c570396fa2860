"""Segmentations in a config: names become paths and dependencies, and what is wrong is said with its line."""

import pytest
import zarr

from blockflow.config import build_run, load_config

CONFIG = """
    arrays: {raw: {path: raw.zarr}}
    operators: {mask: {type: Threshold, inputs: {Input: raw}, params: {threshold: 5}}}
    outputs: {stored: {slot: mask, path: mask.zarr}}
    segmentations:
      cells: {function_file: function.py, input: stored, output: cells.zarr, block_shape: [8, 8], context: [2, 2]}
      again: {function_file: connected_components, input: cells, output: again.zarr, block_shape: [8, 8]}
    tasks:
      small: {worker_file: threshold, inputs: {input: again}, outputs: {output: small.zarr}, write_roi: ROI}
""".replace("ROI", "{offset: [0, 0], shape: [32, 24]}")


@pytest.fixture
def folder(folder):
    zarr.create_array(
        str(folder / "raw.zarr"),
        shape=(20, 16),
        dtype="uint8",
        chunks=(8, 8),
        attributes={"voxel_size": [4, 3], "offset": [8, -3]},
    )
    (folder / "function.py").write_text("def segment_function(input_array, block):\n    return 0\n")
    return folder


def everything(tasks):
    found = {}
    for task in tasks:
        found |= everything(task.upstream)
        found[task.name] = task
    return found


def test_a_segmentation_takes_from_the_graph_and_gives_to_tasks(load, folder):
    """A chain of an output, two segmentations and a task: each waits for what it reads, in voxels of its input."""
    tasks = everything(build_run(load(CONFIG)).tasks)
    names = [f"{name}-{step}" for name in ("cells", "again") for step in ("segment", "merge", "number")]
    assert list(tasks) == ["stored", *names, "small"]
    upstream = {name: {one.name for one in task.upstream} for name, task in tasks.items()}
    assert upstream["cells-segment"] == {"stored"}
    assert upstream["cells-number"] == {"cells-segment", "cells-merge"}
    assert upstream["again-segment"] == {"cells-number"}
    assert upstream["again-number"] == {"again-segment", "again-merge", "cells-number"}
    assert upstream["small"] == {"again-number"}
    segment = tasks["cells-segment"]
    assert (segment.write_roi.shape, segment.read_roi.shape) == ((32, 24), (48, 36))
    assert segment.total_roi == tasks["cells-merge"].total_roi.grow((8, 6), (8, 6))
    assert tasks["again-segment"].inputs == {"input": str(folder / "cells.zarr")}
    assert sorted(tasks["again-segment"].outputs) == ["blocks"]  # computed again in the last task
    assert sorted(segment.outputs) == ["blocks", "labels"]


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (
            ("input: stored", "input: rwa"),
            ["5: segmentations.cells.input: there is no array, output or task output 'rwa'; valid are again, "],
        ),
        (
            ("input: stored", "input: mask"),
            ["5: segmentations.cells.input: 'mask' is an operator, and nothing of it is stored; add it to outputs"],
        ),
        (
            ("function.py", "functoin.py"),
            ["5: segmentations.cells.function_file: worker file 'functoin.py': there is no file"],
        ),
        (
            ("function.py,", "function.py, stitch: {rule: touching, connectivity: 5},"),
            ["5: segmentations.cells.stitch: connectivity is 5; it is one of 4, 6, 8, 18, 26"],
        ),
        (
            ("function.py,", "function.py, stitch: glue,"),
            ["5: segmentations.cells.stitch: rule is 'glue'; it is one of touching, overlap, none"],
        ),
        (
            ("block_shape: [8, 8], context: [2, 2]", "block_shape: [8, 8, 8]"),
            ["5: segmentations.cells: block_shape [8, 8, 8] has 3 numbers; FOLDER/mask.zarr needs 2"],
        ),
        (("output: cells.zarr", "output: again.zarr"), ["FOLDER/again.zarr is written as"]),
        (("input: stored", "input: small"), ["tasks wait for each other: small -> cells -> again -> small"]),
        (("      again:", "      raw:"), ["6: segmentations.raw: the name 'raw' is taken by an array (FILE:1)"]),
        (("context: [2, 2]", "context: [-1, 0]"), ["5: segmentations.cells.context.0: must be at least 0, not -1"]),
        (("function_file: function.py, ", ""), ["5: segmentations.cells.function_file: "]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(complaints, folder, change, lines):
    """Each mistake gives a line with its place, what is wrong and what would be right."""
    text = CONFIG.replace(*change)
    assert text != CONFIG
    if change[0].startswith("      again"):
        text = text.replace("input: again", "input: cells")
    found = complaints(text, use=lambda path, overrides: build_run(load_config(path, overrides)).tasks)
    for line in lines:
        wanted = line.replace("FOLDER", str(folder))
        assert any(wanted in one for one in found), found
