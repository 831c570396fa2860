"""A graph with a stage in the middle and a user's own operators, killed at random: it resumes to the lazy voxels."""

import os
import random
import subprocess
import sys

import numpy as np
import pytest
import zarr

from blockflow.config import load_config
from blockflow.config.graph import ConfigGraph
from blockflow.report.sample import make_sample
from blockflow.storage import open_array
from blockflow.testing.run_processes import MARK, end_all, kill, processes_of, wait_for_end

OPERATORS = """
import time
import blockflow

@blockflow.neighbourhood(context=1)
def edges(image, wait=0.02):
    time.sleep(wait)
    from scipy.ndimage import maximum_filter
    return maximum_filter(image, 3) - image
"""

CONFIG = """
compute: {num_workers: 2}
arrays: {raw: {path: sample/raw}}
operators:
  smooth: {type: GaussianSmoothing, inputs: {Input: raw}, params: {sigma: 1.0}}
  edges: {type: "own.py:edges", inputs: {image: smooth}}
  norm: {type: NormalizeMinMax, inputs: {Input: edges}}
  mask: {type: Threshold, inputs: {Input: norm}, params: {threshold: 0.2}}
outputs:
  smooth: {slot: smooth, path: smooth.zarr, block_shape: [32, 32, 64], max_retries: 20}
  mask: {slot: mask, path: mask.zarr, block_shape: [32, 64, 32], max_retries: 20}
"""


def start(folder):
    return subprocess.Popen(
        [sys.executable, "-m", "blockflow", "run", "g.yaml", "--quiet"],
        cwd=folder,
        env={**os.environ, MARK: str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def ends_within(driver, seconds):
    try:
        driver.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


@pytest.mark.parametrize("seed", [3])
def test_killed_runs_of_a_graph_end_with_the_voxels_of_the_lazy_whole(tmp_path, seed):
    """Workers, supervisors and drivers get SIGKILL at random; the run that ends well is right in every voxel."""
    chance = random.Random(seed)
    make_sample(tmp_path / "sample")
    (tmp_path / "own.py").write_text(OPERATORS)
    (tmp_path / "g.yaml").write_text(CONFIG)
    kills = 0
    try:
        for _ in range(30):
            driver = start(tmp_path)
            while kills < 8 and not ends_within(driver, chance.uniform(0.3, 1.5)):
                victims = processes_of(tmp_path)
                if victims and kill(chance.choice(victims).pid, tmp_path):
                    kills += 1
            assert ends_within(driver, 120)
            if driver.returncode == 0:
                break
        assert driver.returncode == 0
        assert kills >= 4
        assert wait_for_end(tmp_path, 30) == []
    finally:
        end_all(tmp_path)
    loaded = load_config(tmp_path / "g.yaml")
    graph = ConfigGraph(loaded, lambda name: open_array(loaded.absolute(loaded.config.arrays[name].path)))
    for name in ("smooth", "mask"):
        lazily = graph.output(name)[:].wait()
        np.testing.assert_array_equal(zarr.open(str(tmp_path / f"{name}.zarr"))[...], lazily)
