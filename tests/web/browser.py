"""A headless Chromium that shows a page, and its pictures, through the DevTools protocol."""

import base64
import json
import os
import shutil
import socket
import struct
import subprocess
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import urlopen

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--window-size=800,600",
    "--remote-debugging-port=0",
)


def chromium():
    """The path of the browser, or None if there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def showing(url, profile):
    """A function that takes a picture (PNG) of the page, as long as the context lasts."""
    process = subprocess.Popen(
        [chromium(), *FLAGS, f"--user-data-dir={profile}", "--remote-allow-origins=*", url],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stderr:
            if line.startswith("DevTools listening on "):
                address = urlsplit(line.split()[-1])
                break
        else:
            raise AssertionError("the browser ended before it listened")
        with urlopen(f"http://{address.netloc}/json") as answer:
            pages = json.load(answer)
        page = next(page for page in pages if page["type"] == "page")
        with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
            talk = _Conversation(connection, page["webSocketDebuggerUrl"])
            with talk.answers:
                yield lambda: base64.b64decode(talk.ask("Page.captureScreenshot", format="png")["data"])
    finally:
        process.kill()
        process.communicate()


class _Conversation:
    """Requests and answers over a WebSocket."""

    def __init__(self, connection, url):
        parts = urlsplit(url)
        key = base64.b64encode(os.urandom(16)).decode()
        connection.sendall(
            f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.connection, self.answers, self.number = connection, connection.makefile("rb"), 0
        while self.answers.readline() != b"\r\n":
            pass

    def ask(self, method, **parameters):
        self.number += 1
        message = json.dumps({"id": self.number, "method": method, "params": parameters}).encode()
        mask = os.urandom(4)
        length = bytes([0x80 | 126]) + struct.pack(">H", len(message))
        masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(message))
        self.connection.sendall(b"\x81" + length + mask + masked)
        while True:
            answer = json.loads(self._message())
            if answer.get("id") == self.number:
                return answer["result"]

    def _message(self):
        message, last = b"", False
        while not last:
            first, second = self.answers.read(2)
            length = second & 127
            if length >= 126:
                length = int.from_bytes(self.answers.read(2 if length == 126 else 8), "big")
            message += self.answers.read(length)
            last = bool(first & 0x80)
        return message
