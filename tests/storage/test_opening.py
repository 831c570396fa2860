"""Opening arrays, the names that worker files use for it, and the stamps that tell arrays apart."""

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import zarr
from funlib.geometry import Coordinate

from blockflow.errors import StorageError
from blockflow.storage import (
    ArraySpec,
    Lattice,
    LocalArrayIdentifier,
    VolumeMetadata,
    array_stamp,
    claim,
    open_array,
    open_from_identifier,
    planned_arrays,
    use_lattice,
)

METADATA = VolumeMetadata((4, 2), (8, -6), ("nm", "nm"), ("y", "x"), ("space", "space"))
FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])


def _spec(path, **more):
    return ArraySpec(str(path), (10, 8), "uint16", METADATA, (5, 4), **more)


def test_a_missing_array_is_answered_with_what_is_there(tmp_path):
    """A wrong path names the nearest folder that exists and what it holds."""
    (tmp_path / "volume.zarr" / "raw").mkdir(parents=True)
    with pytest.raises(
        StorageError, match=r"row/s0: there is no such array\. .*volume\.zarr exists and holds: raw"
    ):
        open_array(tmp_path / "volume.zarr" / "row" / "s0")


def test_a_group_is_answered_with_its_arrays(tmp_path):
    """A group is no array; the error lists the arrays in it."""
    group = zarr.create_group(str(tmp_path / "volume.zarr"))
    for name in ("raw", "labels"):
        group.create_array(name, shape=(4,), dtype="uint8")
    with pytest.raises(StorageError, match=r"volume\.zarr: this is a group.*Arrays in it: labels, raw"):
        open_array(tmp_path / "volume.zarr")


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_plain_file_is_no_array(tmp_path, mode):
    """A file is refused as one, whatever the mode."""
    (tmp_path / "raw.tif").write_bytes(b"II*")
    with pytest.raises(StorageError, match=r"raw\.tif: this is a file; a zarr array is a folder"):
        open_array(tmp_path / "raw.tif", mode)


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_plain_folder_is_no_array_and_stays_as_it_is(tmp_path, mode):
    """A folder that is no zarr array is refused, and nothing is made in it."""
    with pytest.raises(StorageError, match="cannot be opened as a zarr array"):
        open_array(tmp_path, mode)
    assert list(tmp_path.iterdir()) == []


def test_broken_metadata_is_an_error_with_the_place(tmp_path):
    """An array whose metadata file is cut short is refused by its path."""
    (tmp_path / "zarr.json").write_text("{")
    with pytest.raises(StorageError, match=f"{tmp_path}: cannot be opened as a zarr array"):
        open_array(tmp_path)


def test_urls_are_refused():
    """Only a file system renames whole chunks into place, so a URL is refused."""
    with pytest.raises(StorageError, match=r"s3://bucket/raw: only arrays on a file system.*not a URL"):
        open_array("s3://bucket/raw")


def test_no_mode_can_delete_an_array(tmp_path):
    """Modes that create or replace are refused with the valid ones, and the array stays."""
    _spec(tmp_path / "a").create()
    for mode in ("w", "a", "w-"):
        with pytest.raises(StorageError, match=f"mode is '{mode}'; valid are 'r' .* and 'r\\+'"):
            open_array(tmp_path / "a", mode)
    assert open_array(tmp_path / "a").shape == (10, 8)


def test_reading_mode_does_not_write(tmp_path):
    """An array opened to be read cannot be written."""
    _spec(tmp_path / "a").create()
    array = open_array(tmp_path / "a")
    with pytest.raises(ValueError, match="read-only"):
        array[array.roi] = 1


def test_an_array_inside_of_a_group_opens_by_its_path(tmp_path):
    """The folder of a group followed by a name opens the array of that name."""
    group = zarr.create_group(str(tmp_path / "volume.zarr"))
    group.create_array("raw", shape=(4,), dtype="uint8", attributes={"voxel_size": [3]})
    assert open_array(tmp_path / "volume.zarr" / "raw").voxel_size == Coordinate(3)


@FORMATS
def test_an_identifier_opens_writable(tmp_path, zarr_format):
    """DaCapo's identifier names container and dataset, and opens an array that can be written."""
    _spec(tmp_path / "volume.zarr" / "raw", zarr_format=zarr_format).create()
    identifier = LocalArrayIdentifier(tmp_path / "volume.zarr", "raw")
    assert Path(identifier) == tmp_path / "volume.zarr" / "raw"
    array = open_from_identifier(identifier)
    array[array.roi] = 4
    assert (open_from_identifier(identifier, "r").to_ndarray() == 4).all()


def test_planned_arrays_answer_without_files(tmp_path, monkeypatch):
    """Inside the context a described array opens for reading by any spelling of its path; after it, not."""
    monkeypatch.chdir(tmp_path)
    spec = _spec(tmp_path / "out.zarr" / "labels", fill_value=3)
    with planned_arrays([spec]):
        for path in (
            spec.path,
            Path("out.zarr/labels"),
            "out.zarr/./labels",
            LocalArrayIdentifier("out.zarr", "labels"),
        ):
            array = open_array(path)
            assert (array.shape, array.roi) == ((10, 8), spec.planned().roi)
            assert (array.to_ndarray() == 3).all()
        with pytest.raises(StorageError, match="there is no such array"):
            open_array(spec.path, "r+")
    with pytest.raises(StorageError, match="there is no such array"):
        open_array(spec.path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("planned", [False, True])
def test_arrays_open_on_the_lattice_of_the_run(tmp_path, planned):
    """Inside of `use_lattice` all arrays, also planned ones, speak of the same steps."""
    spec = _spec(tmp_path / "a")
    if not planned:
        spec.create()
    half = Lattice((Fraction(1, 2), Fraction(1)))
    with use_lattice(half), planned_arrays([spec] if planned else []):
        assert open_array(spec.path).voxel_size == Coordinate(8, 2)
        assert open_array(spec.path).offset == Coordinate(16, -6)
    with planned_arrays([spec] if planned else []):
        assert open_array(spec.path).voxel_size == Coordinate(4, 2)


@FORMATS
def test_a_stamp_holds_while_only_voxels_change(tmp_path, zarr_format):
    """Writing voxels leaves the stamp of an array as it is."""
    _spec(tmp_path / "a", zarr_format=zarr_format).create()
    before = array_stamp(tmp_path / "a")
    array = open_array(tmp_path / "a", "r+")
    array[array.roi] = 1
    assert array_stamp(tmp_path / "a") == before


@FORMATS
def test_a_stamp_changes_when_the_metadata_file_is_rewritten(tmp_path, zarr_format):
    """Rewritten metadata changes the stamp, by its size or by its time."""
    _spec(tmp_path / "a", zarr_format=zarr_format).create()
    stamps = [array_stamp(tmp_path / "a")]
    open_array(tmp_path / "a", "r+").data.attrs["note"] = "edited"
    stamps.append(array_stamp(tmp_path / "a"))
    file = tmp_path / "a" / ("zarr.json" if zarr_format == 3 else ".zattrs")
    os.utime(file, ns=(1, 1))
    stamps.append(array_stamp(tmp_path / "a"))
    assert stamps[0] != stamps[1] != stamps[2] != stamps[0]


@FORMATS
def test_a_generation_is_of_one_array_only(tmp_path, zarr_format):
    """An array keeps its generation while it is written; one made anew in its place has another."""
    spec = _spec(tmp_path / "a", zarr_format=zarr_format)
    spec.create()
    array = open_array(spec.path, "r+")
    first = claim(array, "me")
    array[array.roi] = 1
    assert claim(open_array(spec.path, "r+"), "me") == first
    (tmp_path / "a").rename(tmp_path / "old")
    spec.create()
    assert claim(open_array(spec.path, "r+"), "me") != first
    assert claim(open_array(tmp_path / "old", "r+"), "me") == first


@FORMATS
def test_an_array_of_others_gets_a_generation_once(tmp_path, zarr_format):
    """An array that others made is stamped at first sight, and keeps its attributes and the stamp."""
    zarr.create_array(
        str(tmp_path / "a"),
        shape=(4,),
        dtype="uint8",
        attributes={"voxel_size": [3]},
        zarr_format=zarr_format,
    )
    first = claim(open_array(tmp_path / "a", "r+"), "me")
    reopened = open_array(tmp_path / "a", "r+")
    assert claim(reopened, "me") == first
    assert reopened.voxel_size == Coordinate(3)
    assert np.array_equal(reopened.to_ndarray(), np.zeros(4))
