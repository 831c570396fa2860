"""The door of a supervisor: where elements come in over the network, and get through to the engine.

It is the only port of a run that other machines can reach. Whoever comes must know the run's token, is told the same
of the door, and then either is a worker's element, with a line of JSON for each thing that is said, or a connection
that is led on to the engine. All connections are served in one thread, however many there are.
"""

import asyncio
import contextlib
import errno
import json
import socket
import threading
from typing import Any, Protocol

from blockflow.compute.slurm import handshake

__all__ = ["Door", "Guest", "Host"]

#: errors of a connection whose other end does not answer
_SILENCE = {errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN}

#: seconds that a stranger has to prove who it is
_PATIENCE = 10.0


class Guest:
    """The connection of an element, as the supervisor's side sees it. Its methods may be called in any thread."""

    def __init__(self, door: "Door", writer: asyncio.StreamWriter) -> None:
        self._door = door
        self._writer = writer
        self.led_on: set[asyncio.StreamWriter] = set()

    def say(self, line: str) -> None:
        self._door.soon(self._writer.write, line.encode() + b"\n")

    def cut(self) -> None:
        """End this connection, and all that were led on to the engine for the same worker."""
        self._door.soon(self._cut)

    def _cut(self) -> None:
        for writer in (*self.led_on, self._writer):
            writer.transport.abort()


class Host(Protocol):
    """Whoever receives the guests; called in the door's thread."""

    def arrive(self, guest: Guest, about: dict[str, Any]) -> dict[str, Any]:
        """What an element that has come is told."""

    def hear(self, guest: Guest, message: dict[str, Any]) -> None:
        """Something that an element says."""

    def depart(self, guest: Guest, *, silent: bool) -> None:
        """An element's connection has ended; `silent`: nobody has answered for long."""

    def guest_of(self, worker: int) -> Guest | None:
        """The element of a worker, if it is here."""


class Door:
    """A door that is open until it is closed.

    Parameters
    ----------
    address : str
        Where to listen; if this machine has no such address, on all that it has.
    token : bytes
    engine : pair of str and int, optional
        Where workers are led on to.
    host : Host
    """

    def __init__(self, address: str, token: bytes, engine: tuple[str, int] | None, host: Host) -> None:
        self._token = token
        self._engine = engine
        self._host = host
        try:
            listening = socket.create_server((address, 0), backlog=1024)
        except OSError:
            listening = socket.create_server(("", 0), backlog=1024)
        self.port: int = listening.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(listening,), name="door", daemon=True)
        self._thread.start()

    def soon(self, function: Any, *arguments: Any) -> None:
        """Call a function in the door's thread; once the door is closed, nothing."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    def close(self) -> None:
        """Send everybody away."""
        self.soon(self._loop.stop)
        self._thread.join()

    def _run(self, listening: socket.socket) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._receive, sock=listening, limit=handshake.LONGEST_LINE)
        )
        try:
            self._loop.run_forever()
        finally:
            server.close()
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.run_until_complete(self._all_gone())
            self._loop.close()

    async def _all_gone(self) -> None:
        others = asyncio.all_tasks(self._loop) - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.CancelledError):  # the door closes
            try:
                purpose = await asyncio.wait_for(self._prove(reader, writer), _PATIENCE)
                if purpose is None:
                    return
                handshake.keep_alive(writer.get_extra_info("socket"))
                if purpose.get("purpose") == "engine":
                    await self._lead_on(purpose, reader, writer)
                else:
                    await self._attend(purpose, reader, writer)
            except (OSError, ValueError, TypeError, KeyError, asyncio.IncompleteReadError, TimeoutError):
                pass  # a stranger, or the network: the connection ends, and whoever attends to it knows
            finally:
                writer.close()

    async def _prove(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Any:
        """Let both sides prove that they know the token; gives what the other has come for."""
        challenge = handshake.new_challenge()
        writer.write(f"{handshake.GREETING} {challenge}\n".encode())
        own, _, given = (await reader.readline()).decode().strip().partition(" ")
        if not handshake.is_answer(handshake.answer(self._token, challenge, own), given):
            return None
        writer.write(f"{handshake.reply(self._token, challenge, own)}\n".encode())
        purpose = json.loads(await reader.readline())
        return purpose if isinstance(purpose, dict) else None

    async def _attend(
        self, about: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        guest = Guest(self, writer)
        told = self._host.arrive(guest, about)
        writer.write(json.dumps(told).encode() + b"\n")
        if "leave" in told:
            await writer.drain()
            return
        silent = False
        try:
            while line := await reader.readline():
                self._host.hear(guest, json.loads(line))
        except OSError as error:
            silent = error.errno in _SILENCE
        finally:
            for led_on in guest.led_on:
                led_on.transport.abort()
            self._host.depart(guest, silent=silent)

    async def _lead_on(
        self, purpose: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        guest = self._host.guest_of(purpose["worker"])
        if guest is None or self._engine is None:
            return
        engine_reader, engine_writer = await asyncio.open_connection(*self._engine)
        writer.write(handshake.GO_AHEAD)
        for end in (writer, engine_writer):
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        mine = {writer, engine_writer}
        guest.led_on |= mine
        try:
            await asyncio.gather(_pump(reader, engine_writer), _pump(engine_reader, writer))
        finally:
            guest.led_on -= mine
            engine_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes until it ends; then end the other side."""
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
