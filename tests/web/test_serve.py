"""Serving: what is read over HTTP is what is there, computed when it is asked for, for those who may ask."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest
import zarr
from fsspec.implementations.http import HTTPFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zarr.core.sync import sync
from zarr.storage import FsspecStore

from blockflow.graph import Operator, OutputSlot
from blockflow.storage import ArraySpec, VolumeMetadata, open_array
from blockflow.utility.io_util import RESTfulVolume
from blockflow.utility.io_util.downloads import DownloadError, Downloads
from blockflow.web import server as server_module
from blockflow.web.cache import ByteCache
from blockflow.web.server import SiteServer
from blockflow.web.site import Site
from blockflow.web.volume import chunk_shape, volume_of_array, volume_of_slot

METADATA = VolumeMetadata((40, 32, 32), (80, 0, 0), ("nm",) * 3, ("z", "y", "x"), ("space",) * 3)
SHAPE = (21, 30, 17)


class OpNumbers(Operator):
    """Each voxel its number; notes what is asked, and fails where it is told to."""

    Output = OutputSlot()

    def __init__(self, shape=SHAPE, dtype=np.float32):
        super().__init__()
        self.shape, self.dtype, self.asked, self.failing = shape, dtype, [], None

    def setupOutputs(self):
        self.Output.meta.shape, self.Output.meta.dtype = self.shape, self.dtype
        self.Output.meta.ideal_blockshape = (8,) * len(self.shape)

    def execute(self, slot, subindex, roi, result):
        if self.failing:
            raise self.failing
        self.asked.append((tuple(roi.start), tuple(roi.stop)))
        result[...] = numbers(self.shape, self.dtype)[roi.toSlice()]

    def propagateDirty(self, slot, subindex, roi):
        pass


def numbers(shape=SHAPE, dtype=np.float32):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@contextmanager
def serving(*volumes, largest=10**6, **arguments):
    server = SiteServer(Site(volumes, ByteCache(10**6, 2), largest), **arguments)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def op():
    return OpNumbers()


@pytest.fixture
def server(op):
    with serving(volume_of_slot("numbers", op.Output, METADATA)) as server:
        yield server


def ask(server, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    try:
        connection.request(
            method, path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


@contextmanager
def over_http(url):
    """The zarr array at a URL, as `zarr.open` gives it, with connections that are closed in the end."""
    files = HTTPFileSystem(asynchronous=True, skip_instance_cache=True)
    try:
        yield zarr.open(FsspecStore(files, read_only=True, path=url), mode="r")
    finally:
        sync(files._session.close())


def remote(server, name="numbers"):
    status, body, _ = ask(server, f"/{name}/restful.json")
    assert status == 200
    description = RESTfulVolume.DescriptionSchema(json.loads(body))
    return RESTfulVolume(preparsedDescription=description, downloads=Downloads(retries=0))


def test_zarr_reads_it(server, op):
    """zarr opens the group and its level over HTTP, with its place in the world, and reads only what it asks for."""
    with over_http(f"{server.url}/numbers") as group:
        assert group.attrs["ome"]["multiscales"][0]["datasets"][0]["path"] == "0"
        array = group["0"]
        assert (array.shape, array.dtype, array.chunks) == (SHAPE, np.float32, (8, 8, 8))
        assert array.metadata.dimension_names == ("z", "y", "x")
        assert op.asked == []
        np.testing.assert_array_equal(array[3:5, 4:6, 5:7], numbers()[3:5, 4:6, 5:7])
        assert op.asked == [((0, 0, 0), (8, 8, 8))]
        np.testing.assert_array_equal(array[...], numbers())
        assert len(op.asked) == len(set(op.asked)) == 3 * 4 * 3
        assert VolumeMetadata.parse(array.attrs.asdict(), 3, "") == METADATA


def test_zarr_opens_the_address(server):
    """`zarr.open` takes the address as it is printed."""
    code = "import sys, zarr; print(float(zarr.open(sys.argv[1], mode='r')[20, 29, 16]))"
    command = [sys.executable, "-c", code, f"{server.url}/numbers/0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == str(float(numbers()[20, 29, 16])), done.stderr


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_remote_volume_reads_it(server, data):
    """A `RESTfulVolume` made from the description reads any region as it is."""
    start = tuple(data.draw(st.integers(0, size - 1)) for size in SHAPE)
    stop = tuple(data.draw(st.integers(low + 1, size)) for low, size in zip(start, SHAPE))
    np.testing.assert_array_equal(
        remote(server).read((start, stop)), numbers()[tuple(map(slice, start, stop))]
    )


@pytest.mark.parametrize("dtype", ["u1", "i2", ">u4", "u8", "f8", "?"])
@pytest.mark.parametrize("axes", ["zyx", "xyz", "tczyx"])
def test_stored_arrays_of_all_kinds(tmp_path, dtype, axes):
    """Arrays of any dtype and axes are served as they are, by both faces."""
    shape = (2, 3, 5, 6, 7)[-len(axes) :]
    spatial = [axis for axis in axes if axis != "c"]
    names = tuple(f"{axis}^" if axis == "c" else axis for axis in axes)
    types = tuple({"c": "channel", "t": "time"}.get(axis, "space") for axis in axes)
    metadata = VolumeMetadata((1,) * len(spatial), (0,) * len(spatial), ("",) * len(spatial), names, types)
    ArraySpec(str(tmp_path / "a"), shape, dtype, metadata, (1, 2, 3, 4, 4)[-len(shape) :]).create()
    array = open_array(tmp_path / "a", "r+")
    array.data[...] = numbers(shape, dtype)
    with serving(volume_of_array("a", array)) as server:
        with over_http(f"{server.url}/a/0") as served:
            np.testing.assert_array_equal(served[...], numbers(shape, dtype))
        read = remote(server, "a").read(((0,) * len(shape), shape))
        np.testing.assert_array_equal(read, numbers(shape, dtype))


def test_chunks_are_little_endian_and_whole(server):
    """A chunk at the end of the volume is as large as any, filled up with zeros."""
    status, body, headers = ask(server, "/numbers/0/c/2/3/2")
    assert status == 200
    assert headers["Content-Length"] == str(8**3 * 4)
    chunk = np.frombuffer(body, "<f4").reshape(8, 8, 8)
    np.testing.assert_array_equal(chunk[:5, :6, :1], numbers()[16:, 24:, 16:])
    assert not chunk[5:].any()


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/other", 404, "there are numbers"),
        ("/numbers", 404, ""),
        ("/numbers/1/zarr.json", 404, ""),
        ("/numbers/0/c/3/0/0", 404, "no chunk"),
        ("/numbers/0/c/0/0", 404, "no chunk"),
        ("/numbers/0/c/0/0/0/0", 404, "no chunk"),
        ("/numbers/0/c/-1/0/0", 404, ""),
        ("/numbers/0/c/9999999999999999999/0/0", 404, ""),
        ("/numbers/../../etc/passwd", 404, ""),
        ("/numbers/%2e%2e/%2e%2e/etc/passwd", 404, ""),
        ("/numbers/region/0-1/0-1/0-99/0-1/0-1.h5", 400, "not within"),
        ("/numbers/region/1-1/0-1/0-1/0-1/0-1.h5", 400, "empty"),
        ("/numbers/region/0-1/0-1/0-1.h5", 404, ""),
        ("/numbers/region/{x}/0-1/0-1/0-1/0-1.h5", 404, ""),
    ],
)
def test_what_is_not_there(server, op, path, status, reason):
    """What is not there, or makes no sense, is answered so, and nothing is computed."""
    found, body, _ = ask(server, path)
    assert found == status
    assert reason in body.decode()
    assert op.asked == []


def test_a_region_that_is_too_large_is_refused(op):
    """More bytes than are given at one time are refused before they are computed; the client says what to do."""
    with serving(volume_of_slot("numbers", op.Output, METADATA), largest=1000) as server:
        volume = remote(server)
        assert volume.read(((0, 0, 0), (10, 5, 5))).shape == (10, 5, 5)
        asked = len(op.asked)
        with pytest.raises(DownloadError, match=r"413 .*ask for smaller blocks"):
            volume.read(((0, 0, 0), (10, 5, 6)))
        assert len(op.asked) == asked


@pytest.mark.parametrize("error", [ZeroDivisionError("as told"), FileNotFoundError("as told")])
def test_a_failing_operator_fails_its_request_alone(server, op, error):
    """What an operator raises is told, is not kept, and the server answers on."""
    op.failing = error
    status, body, _ = ask(server, "/numbers/0/c/0/0/0")
    assert (status, body.decode()) == (500, f"{type(error).__name__}: as told\n")
    op.failing = None
    assert ask(server, "/numbers/0/c/0/0/0")[0] == 200


def test_a_page_says_what_there_is(server):
    """The first page lists the volumes with their addresses, whatever their names are."""
    status, body, headers = ask(server, "/")
    assert status == 200
    assert headers["Content-Type"].startswith("text/html")
    assert f"{server.url}/numbers/" in body.decode()
    assert "21 x 30 x 17" in body.decode()


def test_heads_and_ranges(server):
    """HEAD gives the size without the body, and a range of bytes is given as such."""
    whole = ask(server, "/numbers/0/c/0/0/0")[1]
    status, body, headers = ask(server, "/numbers/0/c/0/0/0", "HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", str(len(whole)))
    for text, expected in [
        ("bytes=10-19", whole[10:20]),
        ("bytes=-7", whole[-7:]),
        ("bytes=2000-", whole[2000:]),
    ]:
        status, body, headers = ask(server, "/numbers/0/c/0/0/0", Range=text)
        assert (status, body) == (206, expected)
        assert headers["Content-Range"].endswith(f"/{len(whole)}")
    for text in ("bytes=5-2", "bytes=a-b", "lines=1-2", "bytes=1-2,4-5"):
        assert ask(server, "/numbers/0/c/0/0/0", Range=text)[:2] == (200, whole)
    assert ask(server, "/numbers/0/c/0/0/0", "POST")[0] == 501


def test_pages_of_others_do_not_read(op):
    """A browser lets pages of this machine read, those that were allowed, and no others."""
    volume = volume_of_slot("numbers", op.Output, METADATA)
    with serving(volume, origins=("https://viewer.example.org",)) as server:
        for origin, may in [
            ("http://localhost:9000", True),
            ("http://127.0.0.1:80", True),
            ("https://viewer.example.org", True),
            ("https://evil.example.org", False),
            ("http://localhost.evil.example.org", False),
            ("null", False),
        ]:
            for method in ("GET", "OPTIONS"):
                headers = ask(server, "/numbers/zarr.json", method, Origin=origin)[2]
                assert headers["Access-Control-Allow-Origin"] == (origin if may else None)


def test_other_names_of_this_machine_are_refused(server):
    """Without a token, a request that came by another name than localhost is refused: somebody has it point here."""
    assert ask(server, "/numbers/zarr.json", Host="evil.example.org")[0] == 403
    assert ask(server, "/numbers/zarr.json", Host="127.0.0.1.evil.example.org:80")[0] == 403
    assert ask(server, "/numbers/zarr.json", Host="localhost:1")[0] == 200


def test_a_token_opens_the_door(op):
    """With a token, only who knows it is answered, whichever way it is given, and addresses contain it."""
    volume = volume_of_slot("numbers", op.Output, METADATA)
    with serving(volume, token="secret") as server:
        assert server.url.endswith("/secret")
        for path, headers, expected in [
            ("/numbers/zarr.json", {}, 401),
            ("/wrong/numbers/zarr.json", {}, 401),
            ("/numbers/zarr.json", {"Authorization": "Bearer wrong"}, 401),
            ("/numbers/zarr.json", {"Authorization": "Basic secret"}, 401),
            ("/numbers/zarr.json", {"Authorization": "Bearer secret"}, 200),
            ("/secret/numbers/zarr.json", {"Host": "my.cluster"}, 200),
        ]:
            assert ask(server, path, **headers)[0] == expected
        with over_http(f"{server.url}/numbers/0") as served:
            np.testing.assert_array_equal(served[:3], numbers()[:3])
        body = ask(server, "/secret/numbers/restful.json", Host="my.cluster:7")[1]
        assert json.loads(body)["url_format"].startswith("http://my.cluster:7/secret/numbers/region/")
    with serving(volume, token="secret", host="0.0.0.0") as server:
        assert server.url == f"http://{socket.gethostname()}:{server.server_port}/secret"
    with pytest.raises(ValueError, match="give a token"):
        SiteServer(Site([volume], ByteCache(1, 1), 1), host="0.0.0.0")


def test_too_many_connections_are_told_to_come_again(op, monkeypatch):
    """There is a bound to the connections at one time; one more is told so at once, and gets its turn later."""
    monkeypatch.setattr(server_module, "MOST_CONNECTIONS", 2)
    with serving(volume_of_slot("numbers", op.Output, METADATA)) as server:
        held = [socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(2)]
        for one in held:
            one.sendall(b"GET /numbers/zarr.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert one.recv(12) == b"HTTP/1.1 200"
        status, _, headers = ask(server, "/numbers/zarr.json")
        assert (status, headers["Retry-After"]) == (503, "1")
        for one in held:
            one.close()
        while (found := ask(server, "/numbers/zarr.json")[0]) == 503:
            pass
        assert found == 200


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=4), st.data())
def test_chunks_are_within_bounds(shape, data):
    """A chunk lies within the volume and has no more bytes than it may, but at least a voxel."""
    wanted = tuple(data.draw(st.integers(1, 6000)) for _ in shape)
    chunk = chunk_shape(tuple(shape), wanted, 8)
    assert all(1 <= one <= size for one, size in zip(chunk, shape))
    assert np.prod(chunk, dtype=float) * 8 <= 2**22


CONFIG = """
arrays: {raw: {path: raw}}
operators:
  more: {type: Add, inputs: {A: raw}, params: {B: 5}}
outputs:
  stored: {slot: more, path: more.zarr}
"""


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["raw"], ["raw"]),
        (["c.yaml"], ["stored"]),
        (["c.yaml", "--slot", "more.Output", "--slot", "raw"], ["more.Output", "raw"]),
    ],
)
def test_the_command(tmp_path, arguments, names):
    """The command serves an array, what a config stores, or any slot, says where, and ends by an interrupt."""
    ArraySpec(str(tmp_path / "raw"), SHAPE, "u1", METADATA, (8, 8, 8)).create()
    open_array(tmp_path / "raw", "r+").data[...] = 7
    (tmp_path / "c.yaml").write_text(CONFIG)
    command = [sys.executable, "-m", "blockflow", "array", "serve", *arguments, "--port", "0"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        url = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url)
        for name in names:
            with over_http(f"{url}{name}/0") as array:
                assert (array[...] == (7 if name == "raw" else 12)).all()
        assert not (tmp_path / "more.zarr").exists()
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert out.endswith("ended\n")
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["raw", "--slot", "x"], "--slot names a part of a config"),
        (["c.yaml", "--slot", "mroe"], "mroe"),
        (["raw", "--token", "a/b"], "letters, digits"),
        (["raw", "--cache", "much"], "no amount of memory"),
        (["nothing"], "no such array"),
    ],
)
def test_wrong_usage_is_said(tmp_path, arguments, message):
    """What cannot be served is said before a port is opened."""
    ArraySpec(str(tmp_path / "raw"), SHAPE, "u1", METADATA, (8, 8, 8)).create()
    (tmp_path / "c.yaml").write_text(CONFIG)
    command = [sys.executable, "-m", "blockflow", "array", "serve", *arguments, "--port", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert message in done.stderr
