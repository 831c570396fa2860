"""A server that gives regions of a volume as HDF5 files, and misbehaves when it is told to."""

import io
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import numpy as np

from blockflow.utility.io_util import RESTfulBlockwiseFileset, RESTfulVolume
from blockflow.utility.io_util.downloads import Downloads

#: in remote coordinates; the volume begins at OFFSET
REMOTE = (np.arange(40 * 30 * 20) % 251).reshape(40, 30, 20).astype("u1")
OFFSET = (10, 5, 0)
VOLUME = REMOTE[10:, 5:]
IMPATIENT = Downloads(timeout=5, retries=2, backoff=0)


class Server(ThreadingHTTPServer):
    """Gives regions of REMOTE as HDF5 files; before that, it does what is in `script`, one item for each request."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = []
        self.paths = []
        self.headers = []
        self.lock = threading.Lock()
        self.gate = threading.Event()
        self.active = self.most = 0

    def handle_error(self, request, client_address):
        pass

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def description(self, **fields):
        return {
            "_schema_name": "RESTful-volume-description",
            "_schema_version": 1.0,
            "name": "remote",
            "format": "hdf5",
            "axes": "zyx",
            "dtype": "numpy.uint8",
            "bounds": [40, 30, 20],
            "origin_offset": list(OFFSET),
            "url_format": self.url + "/{x_start},{x_stop}/{y_start},{y_stop}/{z_start},{z_stop}",
            "hdf5_dataset": "cube",
        } | fields

    def volume(self, folder, downloads=IMPATIENT, **fields):
        path = Path(folder) / "remote.json"
        path.write_text(json.dumps(self.description(**fields)))
        return RESTfulVolume(path, downloads=downloads)

    def fileset(self, folder, local=None, remote=None, **arguments):
        path = Path(folder) / "description.json"
        if not path.exists():
            description = {
                "_schema_name": "RESTful-blockwise-fileset-description",
                "_schema_version": 1.0,
                "remote_description": self.description(**(remote or {})),
                "local_description": {
                    "_schema_name": "blockwise-fileset-description",
                    "_schema_version": 1.0,
                    "name": "local",
                    "format": "hdf5",
                    "axes": "zyx",
                    "dtype": "numpy.uint8",
                    "shape": [30, 25, 20],
                    "block_shape": [10, 10, 10],
                    "dataset_root_dir": "blocks",
                    "block_file_name_format": "block-{roiString}.h5/cube",
                }
                | (local or {}),
            }
            path.write_text(json.dumps(description))
        return RESTfulBlockwiseFileset(path, **{"downloads": IMPATIENT} | arguments)


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        with server.lock:
            server.paths.append(self.path)
            server.headers.append(dict(self.headers))
            server.active += 1
            server.most = max(server.most, server.active)
            action = server.script.pop(0) if server.script else "good"
        try:
            self.act(action)
        finally:
            with server.lock:
                server.active -= 1

    def act(self, action):
        if isinstance(action, int):
            self.send_response(action)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if action == "redirect":
            self.send_response(302)
            self.send_header("Location", self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if action == "silent":
            self.server.gate.wait(60)
            return
        body = self.body(action)
        self.send_response(200)
        self.send_header("Content-Length", str(10**15 if action == "announced" else len(body)))
        self.end_headers()
        if action == "truncated":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        if action == "trickle":
            self.wfile.write(body[:10])
            self.wfile.flush()
            self.server.gate.wait(0.2)
        self.wfile.write(body)

    def body(self, action):
        if action == "garbage":
            return b"<html>busy</html>"
        if action == "huge":
            return b"x" * 3_000_000
        x, y, z = (tuple(map(int, part.split(","))) for part in self.path.split("/")[-3:])
        region = REMOTE[z[0] : z[1], y[0] : y[1], x[0] : x[1]]
        if action == "shape":
            region = region[:-1]
        if action == "dtype":
            region = region.astype("u2")
        image = io.BytesIO()
        with h5py.File(image, "w") as file:
            file["other" if action == "name" else "cube"] = region
        return image.getvalue()


@contextmanager
def serving():
    """A server, as long as the context lasts."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()
