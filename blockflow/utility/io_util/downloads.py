"""Files fetched over HTTP: whole or not at all, in bounded time and size, and tried again where that may help."""

import atexit
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blockflow.errors import StorageError
from blockflow.request import Request

if TYPE_CHECKING:
    import httpx

__all__ = ["DownloadError", "Downloads", "retry_delay"]

#: answers that another try may change
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})

#: what else an answer may mean, for people
_CURES = {
    401: "it wants a name and a password or token: give 'headers'",
    403: "this name or token may not read it: give other 'headers'",
    404: "there is nothing of that name: check the URL in the description",
    413: "the region is too large for the server: ask for smaller blocks",
}


class DownloadError(StorageError):
    """Something could not be fetched from a server."""


@dataclass(frozen=True)
class Downloads:
    """How files are fetched.

    Parameters
    ----------
    headers : mapping of str to str
        Sent with each request, as `{"Authorization": "Bearer ..."}`.
    timeout : float
        Seconds without a byte from the server.
    time_limit : float
        Seconds for one try as a whole, for servers that trickle.
    retries : int
        Tries after the first.
    backoff : float
        Seconds before the second try; doubled before each one after it, up to a minute.
    """

    headers: Mapping[str, str] | None = None
    timeout: float = 30.0
    time_limit: float = 600.0
    retries: int = 4
    backoff: float = 0.5

    def fetch(self, url: str, place: str, limit: int) -> None:
        """Write what a URL gives to the new file `place`, at most `limit` bytes.

        Raises
        ------
        DownloadError
            With the URL, what went wrong in the last of how many tries, and what to do. Then there is no file.
        """
        import httpx

        for attempt in range(self.retries + 1):
            Request.raise_if_cancelled()
            wait: float | None = None
            try:
                self._try(url, place, limit)
            except _Refused as refusal:
                problem, again, wait = str(refusal), refusal.again, refusal.wait
            except httpx.InvalidURL as error:
                problem, again = f"this is no URL: {error}", False
            except httpx.UnsupportedProtocol:
                problem, again = "only http:// and https:// can be fetched", False
            except httpx.TooManyRedirects:
                problem, again = "the server sends us from one address to another without end", False
            except httpx.TimeoutException:
                problem, again = f"the server did not answer for {self.timeout:g} s", True
            except httpx.HTTPError as error:
                problem, again = f"{type(error).__name__}: {error}", True
            else:
                return
            if not again or attempt == self.retries:
                tries = f" (tried {attempt + 1} times)" if attempt else ""
                raise DownloadError(f"{_shown(url)}: {problem}{tries}")
            time.sleep(retry_delay(attempt, self.backoff, wait))

    def _try(self, url: str, place: str, limit: int) -> None:
        end = time.monotonic() + self.time_limit
        written = False
        try:
            with _client().stream(
                "GET", url, headers=dict(self.headers or {}), timeout=self.timeout
            ) as answer:
                _check_answer(answer, limit)
                with open(place, "xb") as file:  # noqa: PTH123
                    for piece in answer.iter_bytes(2**18):
                        file.write(piece)
                        if file.tell() > limit:
                            raise _Refused(
                                f"more than {limit} bytes come, more than this region can have", False
                            )
                        if time.monotonic() > end:
                            raise _Refused(
                                f"only {file.tell()} bytes came in {self.time_limit:g} s; give a longer 'time_limit', "
                                "or ask for smaller blocks",
                                True,
                            )
            written = True
        finally:
            if not written and os.path.exists(place):  # noqa: PTH110
                os.unlink(place)  # noqa: PTH108


class _Refused(Exception):
    """An answer that is not what was asked for."""

    def __init__(self, message: str, again: bool, wait: float | None = None) -> None:
        super().__init__(message)
        self.again = again
        self.wait = wait


def _check_answer(answer: "httpx.Response", limit: int) -> None:
    code = answer.status_code
    if code != 200:
        cure = f"; {_CURES[code]}" if code in _CURES else ""
        raise _Refused(
            f"the server answers {code} {answer.reason_phrase}{cure}", code in RETRIED, _retry_after(answer)
        )
    length = answer.headers.get("Content-Length", "")
    if length.isdigit() and int(length) > limit:
        raise _Refused(f"{length} bytes would come, more than this region can have ({limit})", False)


def _retry_after(answer: "httpx.Response") -> float | None:
    value = answer.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None


def retry_delay(attempt: int, backoff: float, wanted: float | None) -> float:
    """Seconds to wait after try number `attempt` (from 0), where the server may want some; at most a minute."""
    return min(60.0, max(backoff * 2.0**attempt, wanted or 0.0))


def _shown(url: str) -> str:
    """A URL without the password that may be in it."""
    head, separator, rest = url.partition("://")
    user, at, host = rest.partition("@")
    return f"{head}{separator}{host}" if at and "/" not in user else url


_clients: dict[int, Any] = {}
_making = threading.Lock()


def _client() -> "httpx.Client":
    """The client of this process: its connections are shared by all threads, but not by child processes."""
    import httpx

    with _making:
        if os.getpid() not in _clients:
            _clients.clear()
            client = _clients[os.getpid()] = httpx.Client(follow_redirects=True)
            atexit.register(client.close)
        return _clients[os.getpid()]  # type: ignore[no-any-return]
