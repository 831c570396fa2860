"""Block results: whole, found by their block whatever the grid, and without a trace of pickles."""

import json

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from hypothesis import given
from hypothesis import strategies as st

from blockflow.errors import StorageError
from blockflow.storage import (
    ResultsSpec,
    array_stamp,
    claim,
    note_session,
    on_commit,
    open_array,
    open_results,
    open_stored,
    planned_arrays,
)


def _spec(path, shape=(2, 3), origin=(-8, 0), step=(8, 4), **more):
    return ResultsSpec(str(path), origin, step, shape, **more)


@pytest.fixture
def results(tmp_path):
    _spec(tmp_path / "r").create()
    return open_results(tmp_path / "r")


@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    data=st.data(),
    compress=st.booleans(),
)
def test_what_was_written_is_read(tmp_path_factory, shape, data, compress):
    """Every block gets back its own arrays, of whatever type and shape, mapped or not; the others have none."""
    path = tmp_path_factory.mktemp("results") / "r"
    origin = data.draw(st.tuples(*(st.integers(-99, 99) for _ in shape)))
    step = data.draw(st.tuples(*(st.integers(1, 50) for _ in shape)))
    spec = _spec(path, tuple(shape), origin, step, compress=compress)
    spec.create()
    results = open_results(path)
    assert (results.spec, len(results)) == (spec, np.prod(shape))
    written = data.draw(st.sets(st.integers(0, len(results) - 1)))
    for index in written:
        results.write(
            index,
            file=np.arange(index, dtype=np.uint64) + 2**63,
            number=np.float32(index),
            plane=np.full((2, 0, 3), 1, ">i2"),
            order=np.asfortranarray(np.arange(6).reshape(2, 3)),
        )
    assert [index for index, _ in results] == sorted(written)
    for index in range(len(results)):
        assert (index in results) == (index in written)
        assert results.index_of(results.begin_of(index)) == index
    for index in written:
        for read in (results.read(index), results.read(index, mapped=True)):
            np.testing.assert_array_equal(read["file"], np.arange(index, dtype=np.uint64) + 2**63)
            assert (read["file"].dtype, read["number"].dtype, float(read["number"])) == ("u8", "f4", index)
            assert read["plane"].shape == (2, 0, 3)
            np.testing.assert_array_equal(read["order"], np.arange(6).reshape(2, 3))
        assert results.read(index, "number").keys() == {"number"}


def test_a_result_stays_that_of_its_block_when_the_volume_grows(results, tmp_path):
    """On a grown grid the blocks at the old places have the old results, and blocks cut otherwise have none."""
    for index in range(6):
        results.write(index, at=results.begin_of(index))
    first = claim(results, "me")
    _spec(tmp_path / "r", (4, 5), (-16, -4)).adopt()
    grown = open_results(tmp_path / "r")
    assert claim(grown, "me") == first
    found = {index: tuple(arrays["at"]) for index, arrays in grown}
    assert found == {grown.index_of(begin): begin for begin in [(z, y) for z in (-8, 0) for y in (0, 4, 8)]}
    _spec(tmp_path / "r", (2, 2), (-7, 1), (7, 7)).adopt()
    assert list(open_results(tmp_path / "r")) == []


def test_a_write_is_a_commit_of_its_block(results):
    """Listeners hear of the block's ROI once its result is in place."""
    heard = []
    stop = on_commit(lambda path, extent, roi: heard.append((path, extent, roi, 4 in results)))
    results.write(4, count=1)
    stop()
    assert heard == [(results.path, Roi((-8, 0), (16, 12)), Roi((0, 4), (8, 4)), True)]


def test_a_write_replaces_the_whole_result(results):
    """A block done again leaves what it wrote last, and nothing of before or half-written beside it."""
    results.write(0, old=np.zeros(1000))
    results.write(0, new=1)
    assert results.read(0).keys() == {"new"}
    (file,) = results._file(0).parent.iterdir()
    assert file.name == "0.npz"
    assert int(np.load(file)["new"]) == 1  # as numpy itself reads it


def test_objects_are_refused(results):
    """Nothing is pickled: neither written nor read."""
    with pytest.raises(StorageError, match="'list' of block 1 holds Python objects; give numbers"):
        results.write(1, list=[{}, None])
    assert 1 not in results
    results.write(1, good=1)
    np.savez(results._file(1), bad=np.array([{}], dtype=object))
    with pytest.raises(StorageError, match=r"the result of block 1 is damaged.*Remove the file"):
        results.read(1)


def test_what_is_missing_or_damaged_is_said(results, tmp_path):
    """A block without a result, a name that is not there and a cut file each name block, file and cure."""
    with pytest.raises(
        StorageError, match=r"block 2 has left no result .*8.npz is not there.*blockflow reset"
    ):
        results.read(2)
    results.write(2, count=np.arange(100))
    with pytest.raises(StorageError, match="the result has no edges; it has count"):
        results.read(2, "edges")
    whole = results._file(2).read_bytes()
    results._file(2).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StorageError, match="the result of block 2 is damaged"):
        results.read(2)
    with pytest.raises(StorageError, match="there is no block 6; there are 6, from 0 on"):
        results.write(6, count=1)
    for begin in ((-8, 1), (8, 0), (-16, 0)):
        with pytest.raises(StorageError, match="no block's write ROI begins at"):
            results.index_of(begin)
    with pytest.raises(StorageError, match="there are no block results"):
        open_results(tmp_path)
    (tmp_path / "r" / "results.json").write_text("{}")
    with pytest.raises(StorageError, match=r"results.json: cannot be read.*done again then"):
        open_results(tmp_path / "r")
    about = {"format": 2}
    (tmp_path / "r" / "results.json").write_text(json.dumps(about))
    with pytest.raises(StorageError, match="have format 2, this blockflow reads format 1"):
        open_results(tmp_path / "r")


def test_something_else_in_its_place_stays(tmp_path):
    """A folder with other things or a file is never taken for block results; one begun and left empty is."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thing").write_text("")
    (tmp_path / "file").write_text("")
    for name in ("other", "file"):
        with pytest.raises(StorageError, match="there is something already that is no block results"):
            _spec(tmp_path / name).create()
    (tmp_path / "empty").mkdir()
    _spec(tmp_path / "empty").create()
    assert open_results(tmp_path / "empty").begin_of(0) == Coordinate(-8, 0)


def test_results_are_claimed_and_stamped_as_arrays_are(results, tmp_path):
    """They keep their generation under one writer, get a new one under another, and a session shows in the stamp."""
    first = claim(results, "me")
    assert claim(open_stored(tmp_path / "r", "r+"), "me") == first
    before = array_stamp(tmp_path / "r")
    note_session(open_stored(tmp_path / "r", "r+"), "s 1")
    assert array_stamp(tmp_path / "r") != before
    assert claim(open_stored(tmp_path / "r"), "you") != first


def test_results_are_no_array(results, tmp_path):
    """What opens arrays says that these are block results, created or planned."""
    with pytest.raises(StorageError, match="these are block results, not an array"):
        open_array(tmp_path / "r")
    planned = _spec(tmp_path / "p")
    with planned_arrays([planned]):
        assert open_stored(tmp_path / "p").spec == planned
        with pytest.raises(StorageError, match="these are block results, not an array"):
            open_array(tmp_path / "p")
