"""The main job on real input: a dense segmentation of 512^3 voxels, copied and thresholded blockwise."""

from pathlib import Path

import numpy as np
import pytest
import zarr

DATA = Path(__file__).parents[2] / "shared" / "data" / "connectomics_labels.npz"

CONFIG = """
name: real
run_dir: run
compute: {context: local, num_workers: 2}
arrays:
  labels: {path: labels.zarr}
tasks:
  copied:
    worker_file: copy
    inputs: {input: labels}
    outputs: {output: copied.zarr}
    write_roi: {offset: [0, 0, 0], shape: [4096, 4096, 5120]}
    args: {chunks: [64, 64, 128], shards: [128, 128, 128]}
  large:
    worker_file: threshold
    inputs: {input: copied}
    outputs: {output: large.zarr}
    write_roi: {offset: [0, 0, 0], shape: [4096, 4096, 5120]}
    args: {threshold: 1500, chunks: [128, 128, 128]}
"""


@pytest.mark.skipif(not DATA.exists(), reason="SKIPPED: the real volume is not beside this checkout")
def test_copy_and_threshold_of_a_real_segmentation_are_equal_voxel_for_voxel():
    """512^3 real labels through `blockflow run`, two tasks in a row: every voxel as in the whole volume."""
    from click.testing import CliRunner

    from blockflow.cli import cli

    with np.load(DATA) as archive:
        labels = archive["labels"]
    array = zarr.create_array(
        "labels.zarr",
        shape=labels.shape,
        dtype=labels.dtype,
        chunks=(64, 64, 64),
        attributes={"voxel_size": [32, 32, 40], "units": ["nm"] * 3, "axis_names": ["x", "y", "z"]},
    )
    array[:] = labels
    Path("config.yaml").write_text(CONFIG)
    end = CliRunner().invoke(cli, ["run", "config.yaml"], standalone_mode=False)
    assert end.return_value == 0, end.output
    assert np.array_equal(zarr.open("copied.zarr")[:], labels)
    assert np.array_equal(zarr.open("large.zarr")[:], labels > 1500)


@pytest.mark.skipif(not DATA.exists(), reason="SKIPPED: the real volume is not beside this checkout")
def test_components_of_a_real_segmentation_have_the_numbers_of_the_whole():
    """512^3 real labels, multi-label with connectivity 26: 3,619 components, each with cc3d's own number."""
    import cc3d
    from funlib.geometry import Roi

    import blockflow

    with np.load(DATA) as archive:
        labels = np.ascontiguousarray(archive["labels"])
    zarr.create_array("labels.zarr", data=labels, chunks=(128, 128, 128), compressors=None)
    block = Roi((0, 0, 0), (128, 256, 256))
    assert blockflow.segment_blockwise(
        "connected_components",
        (0, 0, 0),
        Roi((0, 0, 0), labels.shape),
        block,
        block,
        2,
        input="labels.zarr",
        output="components.zarr",
        parameters={"multi_label": True, "connectivity": 26},
    )
    found = zarr.open_array("components.zarr", mode="r")[...]
    assert found.max() == 3619
    assert np.array_equal(found, cc3d.connected_components(labels, connectivity=26))
