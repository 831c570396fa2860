"""The generated sample volume."""

from pathlib import Path

import numpy as np
import pytest

from blockflow.errors import StorageError
from blockflow.report import sample
from blockflow.report.sample import make_sample
from blockflow.storage import open_array

SHAPE = (40, 50, 60)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return make_sample(tmp_path_factory.mktemp("data") / "sample", SHAPE)


def voxels(path):
    return open_array(path)[...]


def test_three_arrays_with_their_place_in_the_world(paths):
    """All three arrays have the promised type, chunks, axes, units and voxel size, and cover the same ROI."""
    assert list(paths) == ["labels", "raw", "probabilities"]
    arrays = {name: open_array(path) for name, path in paths.items()}
    assert {name: str(array.dtype) for name, array in arrays.items()} == {
        "labels": "uint32",
        "raw": "uint8",
        "probabilities": "float32",
    }
    for name, array in arrays.items():
        channels = 1 if name == "probabilities" else 0
        assert array.shape == (3,) * channels + SHAPE
        assert array.chunks == (3,) * channels + (32, 32, 32)
        assert array.axis_names == ("c^",) * channels + ("z", "y", "x")
        assert array.units == ("nm",) * 3
        assert tuple(array.voxel_size) == (40, 32, 32)
        assert array.roi == arrays["raw"].roi
        assert array.data.metadata.zarr_format == 3


def test_labels_cover_everything_and_are_dense(paths):
    """Every voxel belongs to a cell, and labels are 1 to the number of cells."""
    labels = voxels(paths["labels"])
    assert np.array_equal(np.unique(labels), np.arange(1, labels.max() + 1))
    assert labels.max() > 10


def test_each_voxel_belongs_to_the_nearest_point():
    """Searching near each point only gives what comparing with every point gives."""
    shape = (30, 61, 35)
    labels, distance = sample._cells(shape, np.random.default_rng(5))
    rng = np.random.default_rng(5)
    cubes = [2, 3, 2]
    corners = np.stack(np.meshgrid(*map(np.arange, cubes), indexing="ij"), axis=-1).reshape(-1, 3)
    points = (corners + rng.random(corners.shape)) * 800
    centres = (np.stack(np.indices(shape), axis=-1) + 0.5) * (40, 32, 32)
    all_distances = np.linalg.norm(centres[..., None, :] - points, axis=-1)
    assert np.allclose(distance, all_distances.min(axis=-1), rtol=1e-4)
    nearest = all_distances.argmin(axis=-1)
    pairs = np.unique(np.stack([nearest.ravel(), labels.ravel()]), axis=1).shape[1]
    assert pairs - len(np.unique(nearest)) <= 2  # a tie may fall to either side


def test_grey_values_show_membranes(paths):
    """Grey is around 80 where a 6-neighbour has another label, and around 170 elsewhere."""
    labels, raw = voxels(paths["labels"]), voxels(paths["raw"]).astype(float)
    padded = np.pad(labels, 1, mode="edge")
    membrane = np.zeros(SHAPE, bool)
    for axis in range(3):
        for step in (-1, 1):
            membrane |= np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1] != labels
    for where, mean in ((membrane, 80), (~membrane, 170)):
        assert raw[where].mean() == pytest.approx(mean, abs=0.5)
        assert raw[where].std() == pytest.approx(12, abs=0.5)


def test_probabilities_sum_to_one_and_mean_something(paths):
    """The three classes sum to 1, each is the likeliest somewhere, and the first follows the membranes."""
    probabilities, raw = voxels(paths["probabilities"]), voxels(paths["raw"])
    assert np.allclose(probabilities.sum(axis=0), 1, atol=1e-5)
    assert probabilities.min() >= 0
    assert set(np.unique(probabilities.argmax(axis=0))) == {0, 1, 2}
    assert raw[probabilities[0] > 0.5].max() < raw[probabilities[0] < 0.1].mean()


def test_same_seed_same_voxels(paths, tmp_path):
    """Shape and seed decide every voxel; another seed gives others."""
    again = make_sample(tmp_path / "again", SHAPE, seed=0)
    other = make_sample(tmp_path / "other", SHAPE, seed=1)
    for name, path in paths.items():
        assert np.array_equal(voxels(path), voxels(again[name]))
        assert not np.array_equal(voxels(path), voxels(other[name]))


def test_twice_is_once(tmp_path):
    """Making the same sample again changes no file, even where something else lies beside it."""
    folder = tmp_path / "sample"
    paths = make_sample(folder, (8, 9, 10))
    (folder / "notes.txt").write_text("mine")
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    assert make_sample(folder, (8, 9, 10)) == paths
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before


@pytest.mark.parametrize(
    "kind", ["file in it", "other seed", "other shape", "array missing", "voxel changed"]
)
def test_what_is_there_is_never_overwritten(tmp_path, kind):
    """A folder that holds anything but this very sample is refused, named and left as it is."""
    folder = tmp_path / "sample"
    if kind == "file in it":
        folder.mkdir()
        (folder / "notes.txt").write_text("mine")
    else:
        shape, seed = ((8, 9, 11) if kind == "other shape" else (8, 9, 10)), int(kind == "other seed")
        paths = make_sample(folder, shape, seed)
        if kind == "array missing":
            paths["raw"].rename(tmp_path / "raw")
        if kind == "voxel changed":
            open_array(paths["labels"], "r+")[0, 0, 0] = 99
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    with pytest.raises(StorageError, match=r"sample: holds something else than this sample"):
        make_sample(folder, (8, 9, 10))
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before


def test_nothing_is_half_written(tmp_path, monkeypatch):
    """Where writing fails, neither the folder nor anything beside it is left."""
    monkeypatch.setattr(sample, "open_array", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make_sample(tmp_path / "sample", (8, 9, 10))
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_filled(tmp_path):
    """A folder that exists and is empty is as good as none, and so is one whose parents are missing."""
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "a" / "b"):
        assert all(Path(path).is_dir() for path in make_sample(folder, (8, 9, 10)).values())
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a", "empty"]


def test_wrong_wishes_are_refused(tmp_path):
    """A shape or seed that cannot be, or a file in the place, is an error that says so."""
    for shape, seed in (((8, 9), 0), ((8, 9, 0), 0), ((8, 9, 10), -1)):
        with pytest.raises(StorageError, match="3 positive numbers"):
            make_sample(tmp_path / "sample", shape, seed)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match="this is a file"):
        make_sample(tmp_path / "file", (8, 9, 10))
