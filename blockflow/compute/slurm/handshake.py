"""How an element and a door convince each other that they belong to the same run: both know its token.

Each proves it by an HMAC over two fresh random numbers, one from either side, so that nothing that was overheard
is of use again, and the token itself never travels. The element must be sure of the door as well: it runs what it
is told there.
"""

import hmac
import secrets
import socket
from pathlib import Path

__all__ = [
    "GO_AHEAD",
    "GREETING",
    "LONGEST_LINE",
    "answer",
    "is_answer",
    "keep_alive",
    "new_challenge",
    "new_token",
    "read_token",
    "reply",
]

#: what a door says first; the challenge follows
GREETING = "blockflow-door 1"

#: what a door says before it leads on to the engine; anything else means that the engine has ended
GO_AHEAD = b"+"

#: bytes of a line beyond which a stranger is not listened to
LONGEST_LINE = 1 << 20

_BYTES = 32


def new_token(path: Path) -> bytes:
    """Make a token, and put it into a file that only this user can read."""
    token = secrets.token_hex(_BYTES).encode()
    path.unlink(missing_ok=True)
    path.touch(mode=0o600, exist_ok=False)
    path.chmod(0o600)
    path.write_bytes(token)
    return token


def read_token(path: Path) -> bytes:
    return path.read_bytes()


def new_challenge() -> str:
    return secrets.token_hex(_BYTES)


def answer(token: bytes, challenge: str, own: str) -> str:
    """The element's proof, for the door's `challenge` and its `own`."""
    return hmac.new(token, f"element {challenge} {own}".encode(), "sha256").hexdigest()


def reply(token: bytes, challenge: str, own: str) -> str:
    """The door's proof, for the same two."""
    return hmac.new(token, f"door {challenge} {own}".encode(), "sha256").hexdigest()


def is_answer(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode(), given.encode(errors="replace"))


def keep_alive(connection: socket.socket) -> None:
    """Let the kernel find out, within half a minute, when the other machine is gone without a word."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000)
