"""An engine's socket that fails once: a proxy that counts requests, and does one of them an injury."""

from __future__ import annotations

import contextlib
import enum
import os
import re
import select
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

_LENGTH = re.compile(rb"^content-length:\s*(\d+)\s*$", re.IGNORECASE | re.MULTILINE)
_CHUNKED = re.compile(rb"^transfer-encoding:\s*chunked\s*$", re.IGNORECASE | re.MULTILINE)
_UPGRADE = re.compile(rb"^upgrade:", re.IGNORECASE | re.MULTILINE)
_CONNECTION = re.compile(rb"^(?:connection|keep-alive):.*\r\n", re.IGNORECASE | re.MULTILINE)
REFUSAL = b'{"message":"a fault that was injected"}'


class Fault(enum.Enum):
    """What happens to one request; `lost` ones have been carried out, and only the answer is missing."""

    ERROR = "error"  # HTTP 500, nothing is done
    DROP = "drop"  # the connection ends, nothing is done
    LOST = "lost"  # it is done, and the connection ends
    SILENT = "silent"  # it is done, and nothing is ever answered
    KILL = "kill"  # the client gets SIGKILL, nothing is done
    KILL_LATE = "kill late"  # it is done, and the client gets SIGKILL before it is told


class Faulty:
    """A proxy at `path` for the engine at `upstream` (paths of unix sockets).

    `seen` are the requests so far as "METHOD /path"; the one with index `at` meets `fault`. With neither it only
    counts.
    """

    def __init__(self, path: Path, upstream: str) -> None:
        self.path = path
        self.seen: list[str] = []
        self.at: int | None = None
        self.fault = Fault.ERROR
        self.over = threading.Event()
        self._upstream = upstream
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)

    def arm(self, at: int | None, fault: Fault = Fault.ERROR) -> None:
        """Begin counting anew."""
        with self._lock:
            self.seen, self.at, self.fault = [], at, fault

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._handled, args=(client,), daemon=True).start()

    def close(self) -> None:
        self.over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _handled(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            head, rest = _head(client)
            if not head:
                return
            line = head.partition(b"\r\n")[0].decode().rpartition(" ")[0]
            with self._lock:
                index = len(self.seen)
                self.seen.append(re.sub(r" /v[0-9.]+", " ", line.partition("?")[0]))
                fault = self.fault if index == self.at else None
            self._pass_on(client, head, rest, fault)

    def _pass_on(self, client: socket.socket, head: bytes, rest: bytes, fault: Fault | None) -> None:
        if fault is Fault.ERROR:
            length = str(len(REFUSAL)).encode()
            client.sendall(b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\n"
                           b"Connection: close\r\nContent-Length: " + length + b"\r\n\r\n" + REFUSAL)  # fmt: skip
            return
        if fault is Fault.DROP:
            return
        if fault is Fault.KILL:
            _kill(client)
            return
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(self._upstream)
            if _UPGRADE.search(head):
                engine.sendall(head + rest)
                _relay(client, engine)
                return
            engine.sendall(_CONNECTION.sub(b"", head)[:-2] + b"Connection: close\r\n\r\n" + _body(client, head, rest))
            if fault is None:
                _copy(engine, client.sendall)
                return
            _copy(engine, lambda _: None)
        if fault is Fault.KILL_LATE:
            _kill(client)
        elif fault is Fault.SILENT:
            self.over.wait(30)


def _head(client: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := client.recv(65536)):
            return b"", b""
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


def _body(client: socket.socket, head: bytes, rest: bytes) -> bytes:
    assert not _CHUNKED.search(head), "requests of docker-py have a length"
    found = _LENGTH.search(head)
    length = int(found[1]) if found else 0
    while len(rest) < length:
        rest += client.recv(65536)
    return rest


def _copy(source: socket.socket, to: Callable[[bytes], None]) -> None:
    while data := source.recv(65536):
        to(data)


def _relay(one: socket.socket, other: socket.socket) -> None:
    to = {one: other, other: one}
    while to:
        for ready in select.select(list(to), [], [])[0]:
            if data := ready.recv(65536):
                (other if ready is one else one).sendall(data)
            else:
                with contextlib.suppress(OSError):
                    (other if ready is one else one).shutdown(socket.SHUT_WR)
                del to[ready]


def _kill(client: socket.socket) -> None:
    """SIGKILL to the process at the other end (unix(7) SO_PEERCRED), never to ourselves."""
    pid, _, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    assert pid != os.getpid()
    os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def faulty(path: Path) -> Iterator[Faulty]:
    """A proxy before the engine of DOCKER_HOST."""
    upstream = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    proxy = Faulty(path, upstream.removeprefix("unix://"))
    thread = threading.Thread(target=proxy.serve, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join(5)
