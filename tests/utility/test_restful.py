"""Remote volumes, read from a real server on this machine that misbehaves on purpose."""

import json
import time

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from volume_server import VOLUME, serving

from blockflow.errors import BlockflowError, RoiError, StorageError
from blockflow.request import Request, RequestPool
from blockflow.utility.io_util import (
    BlockwiseFileset,
    BlockwiseFilesetFactory,
    RESTfulBlockwiseFileset,
)
from blockflow.utility.io_util.downloads import DownloadError, Downloads, retry_delay
from blockflow.utility.jsonConfig import ParsingError


@pytest.fixture
def server():
    with serving() as server:
        yield server


ROI = ((0, 5, 3), (11, 25, 20))
EXPECTED = VOLUME[0:11, 5:25, 3:20]


def test_a_region_is_downloaded(server, tmp_path):
    """A region comes as the server has it, into memory or into a file of the name that was given."""
    volume = server.volume(tmp_path)
    assert volume.description.shape.tolist() == [30, 25, 20]
    assert (volume.read(ROI) == EXPECTED).all()
    assert server.paths == ["/3,20/10,30/10,21"]
    volume.downloadSubVolume(ROI, tmp_path / "x.h5" / "cube")
    volume.downloadSubVolume(ROI, f"{tmp_path}/x.h5/cube")
    assert len(server.paths) == 3
    with h5py.File(tmp_path / "x.h5") as file:
        assert (file["cube"][...] == EXPECTED).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["remote.json", "x.h5"]


def test_headers_are_sent(server, tmp_path):
    """Headers that are given, for authentication, go with each request."""
    volume = server.volume(tmp_path, Downloads(headers={"Authorization": "Bearer secret"}))
    volume.read(ROI)
    assert server.headers[0]["Authorization"] == "Bearer secret"


@pytest.mark.parametrize("action", [500, 503, 429, "truncated"])
def test_what_may_pass_is_tried_again(server, tmp_path, action):
    """A server that fails now and then is asked again, and what came in part is not taken."""
    server.script = [action, action]
    assert (server.volume(tmp_path).read(ROI) == EXPECTED).all()
    assert len(server.paths) == 3


@pytest.mark.parametrize(
    ("actions", "message", "asked"),
    [
        ([404], "answers 404 .*check the URL", 1),
        ([401], "answers 401 .*give 'headers'", 1),
        ([413], "answers 413 .*ask for smaller blocks", 1),
        ([500] * 9, r"answers 500 .*\(tried 3 times\)", 3),
        (["truncated"] * 9, r"peer closed connection .*\(tried 3 times\)", 3),
        (["redirect"] * 99, "without end", None),
        (["garbage"], "what came is no HDF5 file", 1),
        (["name"], "there is no dataset /cube; it holds other", 1),
        (["shape"], r"\(10, 20, 17\) voxels came, not \(11, 20, 17\)", 1),
        (["dtype"], "voxels of uint16 came, not uint8", 1),
        (["huge"], "more than this region can have", 1),
        (["announced"], "more than this region can have", 1),
    ],
)
def test_what_does_not_pass_is_an_error(server, tmp_path, actions, message, asked):
    """An answer that is not what was asked for is an error with the URL and the cure, and leaves no file."""
    server.script = list(actions)
    volume = server.volume(tmp_path)
    with pytest.raises(DownloadError, match=message) as caught:
        volume.downloadSubVolume(ROI, tmp_path / "x.h5" / "cube")
    assert str(caught.value).startswith(f"{server.url}/3,20/10,30/10,21: ")
    assert asked in (None, len(server.paths))
    assert [path.name for path in tmp_path.iterdir()] == ["remote.json"]


def test_a_silent_server_is_given_up(server, tmp_path):
    """A server that says nothing is left after the time-out."""
    server.script = ["silent"] * 9
    volume = server.volume(tmp_path, Downloads(timeout=0.05, retries=1, backoff=0))
    with pytest.raises(DownloadError, match=r"did not answer for 0\.05 s \(tried 2 times\)"):
        volume.read(ROI)


def test_a_trickling_server_is_given_up(server, tmp_path):
    """A server that sends a byte now and then is left when the whole takes too long."""
    server.script = ["trickle"]
    volume = server.volume(tmp_path, Downloads(time_limit=0.01, retries=0))
    with pytest.raises(DownloadError, match=r"bytes came in 0\.01 s; give a longer 'time_limit'"):
        volume.read(ROI)


def test_no_server_is_an_error(server, tmp_path):
    """A server that is not there is an error that says so."""
    volume = server.volume(
        tmp_path, url_format="http://127.0.0.1:9/{x_start}{x_stop}{y_start}{y_stop}{z_start}{z_stop}"
    )
    with pytest.raises(DownloadError, match="ConnectError"):
        volume.read(ROI)


def test_passwords_are_not_shown(server, tmp_path):
    """An error message does not hold the password of a URL."""
    server.script = [404]
    url = server.description()["url_format"].replace("http://", "http://ada:secret@")
    with pytest.raises(DownloadError) as caught:
        server.volume(tmp_path, url_format=url).read(ROI)
    assert "secret" not in str(caught.value)
    assert server.headers[0]["Authorization"].startswith("Basic ")


@given(st.integers(0, 40), st.floats(0, 100), st.none() | st.integers(0, 10**6))
def test_waiting_grows_and_is_bounded(attempt, backoff, wanted):
    """Between tries the wait doubles, is what the server wants if that is more, and is never over a minute."""
    wait = retry_delay(attempt, backoff, wanted)
    assert 0 <= wait <= 60
    assert wait >= min(60, wanted or 0)
    assert wait <= retry_delay(attempt + 1, backoff, wanted)


@pytest.mark.parametrize(
    "roi", [((0, 0, 0), (31, 1, 1)), ((-1, 0, 0), (1, 1, 1)), ((3, 3, 3), (3, 4, 4)), ((0, 0), (1, 1))]
)
def test_a_region_outside_is_refused(server, tmp_path, roi):
    """A region that is empty or not within the volume is refused without asking the server."""
    with pytest.raises(RoiError):
        server.volume(tmp_path).read(roi)
    assert server.paths == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"axes": "zy"}, "must be x, y, z"),
        ({"axes": "zyq"}, "must be x, y, z"),
        ({"format": "png"}, "only 'hdf5'"),
        ({"bounds": None}, "bounds is missing"),
        ({"bounds": [10, 5, 1]}, "is not within bounds"),
        ({"bounds": [10**12, 5, 1]}, "each must be from"),
        ({"shape": [1, 2, 3]}, "remove the shape"),
        ({"dtype": "object"}, "numbers or booleans"),
        ({"dtype": "__import__('os')"}, "neither a literal"),
        ({"url_format": "http://h/{x_start}"}, "must hold {x_stop}"),
        (
            {"url_format": "file:///etc/{x_start}{x_stop}{y_start}{y_stop}{z_start}{z_stop}"},
            "must begin with http",
        ),
        (
            {"url_format": "http://h/{t_start}{x_start}{x_stop}{y_start}{y_stop}{z_start}{z_stop}"},
            "which is not in axes",
        ),
        ({"_schema_version": 2.0}, "can be read"),
    ],
)
def test_a_wrong_description_is_refused(server, tmp_path, fields, message):
    """A description that cannot be is refused with its file and field."""
    with pytest.raises((StorageError, ParsingError), match=message) as caught:
        server.volume(tmp_path, **fields)
    assert str(caught.value).startswith(str(tmp_path / "remote.json"))


def test_all_of_an_axis_that_the_url_does_not_name(server, tmp_path):
    """An axis that the URL does not tell is given whole only."""
    volume = server.volume(tmp_path, axes="czyx", bounds=[2, 40, 30, 20], origin_offset=[0, 0, 0, 0])
    assert volume.url(((0, 0, 0, 0), (2, 1, 1, 1))).endswith("/0,1/0,1/0,1")
    with pytest.raises(RoiError, match="only all of axis c"):
        volume.url(((0, 0, 0, 0), (1, 1, 1, 1)))


# local filesets of remote volumes


def test_blocks_are_downloaded_once(server, tmp_path):
    """Reading downloads the blocks that it needs, whole; reading again asks nobody; the fileset is one as any."""
    fileset = server.fileset(tmp_path)
    assert (fileset.readData(((9, 0, 0), (11, 3, 3))) == VOLUME[9:11, :3, :3]).all()
    assert sorted(server.paths) == ["/0,10/5,15/10,20", "/0,10/5,15/20,30"]
    assert (fileset.readData(((0, 5, 5), (20, 10, 10))) == VOLUME[:20, 5:10, 5:10]).all()
    assert len(server.paths) == 2
    fileset.downloadAllBlocks(max_parallel=2)
    assert len(server.paths) == 18
    assert (server.fileset(tmp_path).readData(((0, 0, 0), (30, 25, 20))) == VOLUME).all()
    assert len(server.paths) == 18
    assert (
        tmp_path / "blocks/z_00000020/y_00000020/x_00000010/block-([20, 20, 10], [30, 25, 20]).h5"
    ).exists()
    local = json.loads((tmp_path / "description.json").read_text())["local_description"]
    (tmp_path / "local.json").write_text(json.dumps(local))
    assert (BlockwiseFileset(tmp_path / "local.json").readData(((0, 0, 0), (30, 25, 20))) == VOLUME).all()


def test_a_view_of_a_remote_volume(server, tmp_path):
    """A local view moves what is asked of the server."""
    fileset = server.fileset(tmp_path, {"view_origin": [10, 0, 10], "view_shape": [15, 25, 10]})
    assert (fileset.readData(((0, 0, 0), (15, 25, 10))) == VOLUME[10:25, :, 10:]).all()


def test_downloads_are_bounded(server, tmp_path):
    """Never more blocks are downloaded at one time than was said."""
    server.fileset(tmp_path, max_parallel=2).downloadAllBlocks()
    assert server.most <= 2


def test_threads_that_need_a_block_download_it_once(server, tmp_path):
    """Several threads, and several filesets of one folder, share each download."""
    filesets = [server.fileset(tmp_path) for _ in range(3)]
    Request.reset_thread_pool(4)
    try:
        pool = RequestPool()
        for fileset in filesets * 2:
            pool.request(lambda fileset=fileset: fileset.readData(((0, 0, 0), (20, 10, 10))))
        pool.wait()
    finally:
        Request.reset_thread_pool()
    assert len(server.paths) == len(set(server.paths)) == 2


def test_a_failed_download_is_the_callers_error(server, tmp_path):
    """What the server answered is raised by the read that needed it, and the next read tries anew."""
    server.script = [404]
    fileset = server.fileset(tmp_path)
    with pytest.raises(DownloadError, match="answers 404"):
        fileset.readData(((0, 0, 0), (10, 10, 10)))
    assert fileset.getBlockStatus((0, 0, 0)) == 0
    assert not fileset.isBlockLocked((0, 0, 0))
    assert not list(tmp_path.rglob("*.partial"))
    assert (fileset.readData(((0, 0, 0), (10, 10, 10))) == VOLUME[:10, :10, :10]).all()


def test_somebody_elses_download_is_waited_for(server, tmp_path, monkeypatch):
    """A block that another one downloads is waited for while patience lasts; then the error says who has it."""
    fileset = server.fileset(tmp_path, patience=0.0)
    other = server.fileset(tmp_path)
    copy = other._copy((0, 0, 0))
    with pytest.raises(
        DownloadError, match=r"waited 0 s for a block that somebody else downloads: .* in use by process"
    ):
        fileset.readData(((0, 0, 0), (10, 10, 10)))
    assert server.paths == []
    patient = server.fileset(tmp_path)
    monkeypatch.setattr(time, "sleep", lambda _: copy.discard())
    assert (patient.readData(((0, 0, 0), (10, 10, 10))) == VOLUME[:10, :10, :10]).all()


@pytest.mark.parametrize(
    ("local", "remote", "message"),
    [
        (
            {"block_file_name_format": "b-{roiString}.h5/other"},
            {},
            "must end in the remote hdf5_dataset, /cube",
        ),
        ({"axes": "xyz"}, {}, "they must be equal"),
        ({"dtype": "numpy.uint16"}, {}, "they must be equal"),
        ({"shape": [31, 25, 20]}, {}, "exceeds the remote one"),
        ({"dataset_root_dir": "../x"}, {}, "not within the folder"),
        ({}, {"bounds": [1, 1, 1]}, "remote_description: origin_offset"),
        ({"_schema_name": "x"}, {}, "local_description: _schema_name"),
    ],
)
def test_parts_that_do_not_fit_are_refused(server, tmp_path, local, remote, message):
    """A local fileset that cannot hold the remote blocks as they come is refused."""
    with pytest.raises((StorageError, ParsingError), match=message):
        server.fileset(tmp_path, local, remote)


def test_a_remote_volume_is_not_written(server, tmp_path):
    """It is opened to read only; the factory opens it by its schema."""
    server.fileset(tmp_path)
    assert type(BlockwiseFilesetFactory.create(tmp_path / "description.json")) is RESTfulBlockwiseFileset
    for use in (
        lambda: RESTfulBlockwiseFileset(tmp_path / "description.json", "a"),
        lambda: BlockwiseFilesetFactory.create(tmp_path / "description.json", "a"),
        lambda: server.fileset(tmp_path, max_parallel=0),
        lambda: server.fileset(tmp_path).writeData(((0, 0, 0), (1, 1, 1)), np.zeros((1, 1, 1))),
        lambda: server.fileset(tmp_path).setBlockStatus((0, 0, 0), 1),
    ):
        with pytest.raises(BlockflowError):
            use()
