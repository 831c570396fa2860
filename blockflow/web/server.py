"""The HTTP server: who may ask, how many at one time, and what they are told when something goes wrong.

Without a token it answers programs on this machine only, and pages that this machine served: another page in the same
browser, or a name that somebody has pointed at this machine, is refused.
"""

import hmac
import logging
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from blockflow.errors import RoiError
from blockflow.web.site import Answer, Refusal, Site

__all__ = ["SiteServer", "is_loopback"]

logger = logging.getLogger(__name__)

#: connections at one time; another one is told to come again
MOST_CONNECTIONS = 64

#: seconds that a visitor may be silent
_SILENCE = 60

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ALL_ADDRESSES = ("0.0.0.0", "::")  # noqa: S104 (compared with, not listened at)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, as seen by itself."""
    return host in _LOOPBACK


class SiteServer(ThreadingHTTPServer):
    """Serves a site.

    Parameters
    ----------
    site : Site
    host : str
        The address to listen at.
    port : int
        0: any that is free.
    token : str, optional
        Who asks must know it, and gives it as `Authorization: Bearer TOKEN`, or as the first part of the path:
        `/TOKEN/...`. Without it, `host` must be this machine.
    origins : tuple of str
        Pages that may read: `https://example.org`. Those of this machine may always.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = MOST_CONNECTIONS

    def __init__(
        self,
        site: Site,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        origins: tuple[str, ...] = (),
    ) -> None:
        if token is None and not is_loopback(host):
            raise ValueError(f"{host} can be reached by others: give a token")
        self.site = site
        self.token = token
        self.origins = origins
        self._places = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    @property
    def url(self) -> str:
        """Where it is, token included."""
        host = str(self.server_address[0])
        if host in _ALL_ADDRESSES:
            host = socket.gethostname()
        elif self.address_family == socket.AF_INET6:
            host = f"[{host}]"
        return f"http://{host}:{self.server_port}" + (f"/{self.token}" if self.token else "")

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, if there is a place left."""
        if not self._places.acquire(blocking=False):
            try:
                request.sendall(
                    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
                )
            except OSError:
                logger.debug("a visitor left before it was told to come again")
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """A connection that broke is no error of ours."""
        logger.debug("a connection to %s broke", client_address)


class _Handler(BaseHTTPRequestHandler):
    server: SiteServer
    protocol_version = "HTTP/1.1"
    timeout = _SILENCE

    def version_string(self) -> str:
        return "blockflow"

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)

    def do_GET(self) -> None:
        self._reply(with_body=True)

    def do_HEAD(self) -> None:
        self._reply(with_body=False)

    def do_OPTIONS(self) -> None:
        """What a browser asks before a page may read."""
        self._send(204, b"", "text/plain", with_body=False)

    def _reply(self, *, with_body: bool) -> None:
        try:
            answer = self._answer()
            status, body, content_type = 200, answer.body, answer.content_type
        except Refusal as refusal:
            status, body, content_type = refusal.status, f"{refusal}\n".encode(), "text/plain; charset=utf-8"
        if status == 200 and (part := self._range(len(body))) is not None:
            self._send(
                206, body[part[0] : part[1]], content_type, with_body=with_body, part=(*part, len(body))
            )
            return
        self._send(status, body, content_type, with_body=with_body)

    def _answer(self) -> Answer:
        path = unquote(urlsplit(self.path).path)
        host = self.headers.get("Host", "")
        base = f"http://{host}"
        if self.server.token is not None:
            path, base = self._past_the_door(path, base)
        elif not is_loopback(_host_name(host)):
            raise Refusal(
                403, "without a token only this machine is answered, by the name localhost or 127.0.0.1"
            )
        try:
            return self.server.site.answer(path, base)
        except RoiError as error:
            raise Refusal(400, str(error)) from error
        except Refusal:
            raise
        except Exception as error:
            logger.warning("%s could not be answered", path, exc_info=True)
            raise Refusal(500, f"{type(error).__name__}: {error}") from error

    def _past_the_door(self, path: str, base: str) -> tuple[str, str]:
        """Path and base for who knows the token; Refusal for who does not."""
        token = self.server.token or ""
        first, _, rest = path.lstrip("/").partition("/")
        if _same(first, token):
            return f"/{rest}", f"{base}/{token}"
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(given.strip(), token):
            return path, base
        raise Refusal(
            401, "give the token, as 'Authorization: Bearer TOKEN' or as the first part of the path"
        )

    def _range(self, size: int) -> tuple[int, int] | None:
        """The part of the body that is asked for."""
        unit, _, text = self.headers.get("Range", "").partition("=")
        first, _, last = text.partition("-")
        if unit != "bytes" or "," in text or not (first.isdigit() or last.isdigit()):
            return None
        if not first.isdigit():
            return max(0, size - int(last)), size
        begin, end = int(first), min(size, int(last) + 1) if last.isdigit() else size
        return (begin, end) if begin < end else None

    def _send(
        self,
        status: int,
        body: bytes,
        content_type: str,
        *,
        with_body: bool,
        part: tuple[int, int, int] | None = None,
    ) -> None:
        self.send_response(status)
        origin = self.headers.get("Origin")
        if origin is not None and self._may_read(origin):
            self.send_header("Access-Control-Allow-Origin", origin)
            self.send_header("Access-Control-Allow-Headers", "Authorization, Range")
            self.send_header("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS")
            self.send_header("Access-Control-Expose-Headers", "Content-Range, Content-Length")
        self.send_header("Vary", "Origin")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Accept-Ranges", "bytes")
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        if part is not None:
            self.send_header("Content-Range", f"bytes {part[0]}-{part[1] - 1}/{part[2]}")
        self.send_header("Content-Type", content_type)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _may_read(self, origin: str) -> bool:
        return origin in self.server.origins or is_loopback(urlsplit(origin).hostname or "")


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
