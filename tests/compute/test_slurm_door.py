"""The door of a supervisor: who comes in, who does not, and what elements do when they cannot."""

import json
import os
import queue
import socket
import stat
import subprocess
import sys
import threading

import pytest

from blockflow.compute.slurm import element, handshake
from blockflow.compute.slurm.door import Door


class Hosting:
    """A host that notes who comes, and has one worker that prints what it can see."""

    def __init__(self, told):
        self.told = told
        self.events = queue.Queue()
        self.guest = None

    def arrive(self, guest, about):
        self.guest = guest
        self.events.put(("arrive", about))
        return self.told

    def hear(self, guest, message):
        self.events.put(("hear", message))

    def depart(self, guest, *, silent):
        self.events.put(("depart", silent))

    def guest_of(self, worker):
        return self.guest if worker == 0 else None

    def next(self, kind):
        while True:
            event, what = self.events.get(timeout=30)
            if event == kind:
                return what


@pytest.fixture
def engine():
    """An engine that says everything back."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=echo, args=(connection,), daemon=True).start()

    def echo(connection):
        while data := connection.recv(100):
            connection.sendall(data)
        connection.close()

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()
    server.close()


@pytest.fixture
def open_door(tmp_path, engine):
    doors = []

    def make(told):
        host = Hosting(told)
        token = handshake.new_token(tmp_path / "token")
        door = Door("127.0.0.1", token, engine, host)
        doors.append(door)
        (tmp_path / "address.json").write_text(json.dumps({"host": "127.0.0.1", "port": door.port}))
        return host, door

    yield make
    for door in doors:
        door.close()


_ECHO = """
import os, socket, sys
host, _, port = os.environ["BLOCKFLOW_DOOR"].rpartition(":")
with socket.create_connection((host, int(port))) as connection:
    connection.sendall(b"through the door")
    seen = [os.environ[f"BLOCKFLOW_{name}"] for name in ("MEMORY", "JOB", "ENDS_AT")]
    print(connection.recv(100).decode(), *seen, flush=True)
sys.stdin.read()
"""


def order(tmp_path, program=_ECHO):
    return {
        "worker": 0,
        "command": [sys.executable, "-c", program],
        "environment": {},
        "log": str(tmp_path / "log"),
        "memory": 5,
        "engine": True,
        "ends_at": 7.0,
    }


def start_element(tmp_path, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "blockflow.compute.slurm.element", str(tmp_path)],
        env={**os.environ, "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_an_element_is_told_its_worker_and_leads_it_to_the_engine(tmp_path, open_door):
    """The worker's connection arrives at the engine, and the end of the worker at the host; then both are gone."""
    host, _ = open_door(order(tmp_path))
    with start_element(tmp_path) as started:
        about = host.next("arrive")
        assert (about["job"], about["restarts"]) == ("7_3", 0)
        while not (tmp_path / "log").exists() or "\n" not in (tmp_path / "log").read_text():
            assert started.poll() is None, started.communicate()
        assert (tmp_path / "log").read_text() == "through the door 5 7_3 7\n"
        host.guest.say("kill")
        while "exit" not in (message := host.next("hear")):
            pass
        assert message["exit"] == -9
        assert message["usage"]["peak_memory"] > 0
        assert host.next("depart") is False
        assert started.wait(30) == 137


def test_an_element_that_is_not_needed_leaves(tmp_path, open_door):
    """It says why in its job's output, and its job is a success."""
    open_door({"leave": "nobody waits for it"})
    with start_element(tmp_path) as started:
        said, _ = started.communicate(timeout=30)
        assert "7_3 is not needed: nobody waits for it" in said
        assert started.returncode == 0


def test_when_the_door_closes_the_worker_ends(tmp_path, open_door):
    """A worker sees on its standard input that its supervisor is gone, wherever it runs."""
    host, door = open_door(
        order(tmp_path, "print('up', flush=True); import sys; sys.stdin.read(); print('alone', flush=True)")
    )
    with start_element(tmp_path) as started:
        host.next("arrive")
        while not (tmp_path / "log").exists() or "up\n" not in (tmp_path / "log").read_text():
            assert started.poll() is None, started.communicate()
        door.close()
        assert started.wait(30) == 0
        assert (tmp_path / "log").read_text() == "up\nalone\n"


@pytest.mark.parametrize(
    "line",
    [b"\n", b"GET / HTTP/1.1\r\n\r\n", b"00 " + b"0" * 64 + b"\n", b"\xff\xfe\n", b"x" * 5_000_000],
    ids=["nothing", "http", "a guess", "no text", "much"],
)
def test_a_stranger_is_not_let_in(open_door, line):
    """Who does not know the token learns nothing, and reaches neither host nor engine."""
    host, door = open_door({"leave": "x"})
    with socket.create_connection(("127.0.0.1", door.port)) as stranger:
        stranger.settimeout(30)
        assert stranger.recv(100).startswith(handshake.GREETING.encode())
        try:
            stranger.sendall(line)
            rest = stranger.recv(100)
        except OSError:  # thrown out while it was talking
            rest = b""
        assert rest == b""
    assert host.events.empty()


def test_what_was_overheard_is_of_no_use(tmp_path, open_door):
    """The answer to one challenge is none to the next."""
    _, door = open_door({"leave": "x"})
    token = handshake.read_token(tmp_path / "token")

    def come(words):
        with socket.create_connection(("127.0.0.1", door.port)) as guest:
            stream = guest.makefile("rwb", buffering=0)
            challenge = stream.readline().decode().split()[-1]
            words = words or f"own {handshake.answer(token, challenge, 'own')}\n"
            stream.write(words.encode())
            return words, stream.readline()

    overheard, proof = come(None)
    assert proof
    assert come(overheard)[1] == b""


def test_an_element_does_not_obey_a_false_door(tmp_path):
    """Whoever took over the address cannot make an element run anything."""
    handshake.new_token(tmp_path / "token")
    with socket.create_server(("127.0.0.1", 0)) as false:
        (tmp_path / "address.json").write_text(
            json.dumps({"host": "127.0.0.1", "port": false.getsockname()[1]})
        )
        with start_element(tmp_path) as started:
            connection, _ = false.accept()
            with connection:
                connection.sendall(f"{handshake.GREETING} {handshake.new_challenge()}\n".encode())
                connection.recv(1000)
                connection.sendall(b"0" * 64 + b"\n")
                connection.sendall(json.dumps(order(tmp_path)).encode() + b"\n")
                said, _ = started.communicate(timeout=30)
    assert "does not know the token of this run" in said
    assert not (tmp_path / "log").exists()


def test_the_token_is_for_this_user_alone(tmp_path):
    """Nobody else can read it, whatever the folder allows, and each time it is another."""
    first = handshake.new_token(tmp_path / "token")
    assert handshake.new_token(tmp_path / "token") != first
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600


def test_an_element_that_reaches_nobody_says_so_in_one_line(tmp_path, monkeypatch, capfd):
    """The line names the address and the cure, and a note tells whoever looks after the task."""
    monkeypatch.setattr(element, "_PATIENCE", 0.0)
    monkeypatch.setattr(sys, "argv", ["element", str(tmp_path)])
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setattr(element.signal, "signal", lambda *_: None)
    handshake.new_token(tmp_path / "token")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    (tmp_path / "address.json").write_text(json.dumps({"host": "127.0.0.1", "port": port}))
    assert element.main() != 0
    (line,) = capfd.readouterr().err.splitlines()
    assert f"12 on {socket.gethostname()} cannot reach the driver at 127.0.0.1:{port}" in line
    assert "Set compute.host" in line
    assert json.loads((tmp_path / "unreachable-12.json").read_text())["message"] in line
