"""One duplex byte stream over the kinds of connection that docker-py hands out after an upgrade.

Plain sockets (unix, tcp, an ssh client's) come wrapped in socket.SocketIO, TLS as ssl.SSLSocket, and paramiko's as a
Channel. Nothing here blocks: `receive` and `send` say what was possible, and the caller polls. Bytes that arrived
together with the HTTP answer's head lie in the response's buffer, where docker-py forgets them; they come out first.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import socket
import ssl
import time
from typing import Protocol, cast

CHUNK = 65536


class LostError(ConnectionError):
    """The connection to the engine broke; an orderly end is no error."""


class _Connection(Protocol):
    """What each kind of connection offers. None: nothing now; b"": the end."""

    read_fd: int
    write_fd: int | None  # None: cannot be polled for writing

    def receive(self) -> bytes | None: ...
    def send(self, data: bytes | memoryview) -> int: ...
    def close_write(self) -> None: ...
    def close(self) -> None: ...


class _Socket:
    """A plain or a TLS socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.settimeout(0)
        self.read_fd = connection.fileno()
        self.write_fd: int | None = getattr(connection, "outgoing", connection).fileno()  # an ssh client's input

    def receive(self) -> bytes | None:
        try:
            return self._socket.recv(CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):  # the latter where both halves have ended
            return b""

    def send(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0

    def close_write(self) -> None:
        with contextlib.suppress(OSError):
            if isinstance(self._socket, ssl.SSLSocket):
                # Not SSLSocket.shutdown, which throws the TLS state away with what is still to be read; and a plain
                # end of input, without TLS's own, counts as an attack (RFC 8446, 6.1).
                _send_fully(self._socket, _close_notify(self._socket))
            else:
                self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        self._socket.close()


def _close_notify(connection: ssl.SSLSocket) -> bytes:
    """The record that ends our half of a TLS connection.

    SSLSocket.unwrap sends it and looks for the other side's at once: data of the tool that comes in between is then an
    error which ends the connection. So a stand-in takes the connection's place meanwhile, where nothing comes in.
    """
    ours, stand_in = socket.socketpair()
    kept = os.dup(connection.fileno())
    with ours, stand_in:
        ours.settimeout(0)
        stand_in.settimeout(0)
        os.dup2(stand_in.fileno(), connection.fileno(), inheritable=False)
        try:
            with contextlib.suppress(OSError):  # SSLWantReadError: the other side's is still to come
                connection._sslobj.shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - unwrap forgets the TLS state
        finally:
            os.dup2(kept, connection.fileno(), inheritable=False)
            os.close(kept)
        return ours.recv(CHUNK)


def _send_fully(connection: ssl.SSLSocket, data: bytes) -> None:
    """Send few bytes past TLS."""
    while data:
        with contextlib.suppress(BlockingIOError):
            data = data[socket.socket.send(connection, data) :]
        if data:
            select.select([], [connection], [], 1.0)


class _ChannelLike(Protocol):
    """The part of paramiko.Channel that is used."""

    def fileno(self) -> int: ...
    def settimeout(self, timeout: float) -> None: ...
    def recv(self, nbytes: int) -> bytes: ...
    def send(self, data: bytes) -> int: ...
    def shutdown_write(self) -> None: ...
    def close(self) -> None: ...


class _Channel:
    """A paramiko channel: can be polled for reading only."""

    def __init__(self, channel: _ChannelLike) -> None:
        self._channel = channel
        self._channel.settimeout(0)
        self.read_fd = channel.fileno()
        self.write_fd: int | None = None

    def receive(self) -> bytes | None:
        try:
            return self._channel.recv(CHUNK)
        except TimeoutError:
            return None

    def send(self, data: bytes | memoryview) -> int:
        try:
            return self._channel.send(bytes(data))
        except TimeoutError:
            return 0

    def close_write(self) -> None:
        self._channel.shutdown_write()

    def close(self) -> None:
        self._channel.close()


class Stream:
    """A connection that has become a byte stream.

    `read_fd` and `write_fd` (None: try again by time) are for polling; look at `ready` before that, since a buffer
    may hold bytes that no poll reports.
    """

    def __init__(self, raw: object) -> None:
        """`raw` is what docker-py returned; it stays referenced, since its response closes the connection."""
        self._raw = raw
        self._closed = False
        self._connection, self._early = _normalised(raw)

    @property
    def read_fd(self) -> int:
        """The descriptor to poll for reading."""
        return self._connection.read_fd

    @property
    def write_fd(self) -> int | None:
        """The descriptor to poll for writing, where there is one."""
        return self._connection.write_fd

    @property
    def ready(self) -> bool:
        """Whether bytes can be had without polling."""
        sock = getattr(self._connection, "_socket", None)
        return bool(self._early) or (isinstance(sock, ssl.SSLSocket) and not self._closed and sock.pending() > 0)

    def receive(self) -> bytes | None:
        """What has arrived: None for nothing yet, b"" for the end. Raises LostError."""
        if self._early:
            data, self._early = self._early, b""
            return data
        try:
            return self._connection.receive()
        except OSError as error:
            raise LostError(str(error)) from error

    def send(self, data: bytes | memoryview) -> int:
        """Send what fits now; how many bytes that was. Raises LostError."""
        try:
            return self._connection.send(data)
        except OSError as error:
            raise LostError(str(error)) from error

    def send_all(self, data: bytes, *, timeout: float = 10.0) -> None:
        """Send few bytes, waiting for room. Raises LostError, also after `timeout` seconds."""
        rest = memoryview(data)
        deadline = time.monotonic() + timeout
        while rest:
            sent = self.send(rest)
            rest = rest[sent:]
            if rest and not sent:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise LostError("the engine takes no more input")
                self._await_room(min(left, 1.0))

    def _await_room(self, seconds: float) -> None:
        if self.write_fd is None:
            time.sleep(min(seconds, 0.02))
        else:
            select.select([], [self.write_fd], [], seconds)

    def wait(self, timeout: float) -> bool:
        """Whether something can be received within `timeout` seconds."""
        if self.ready:
            return True
        poller = select.poll()
        poller.register(self.read_fd, select.POLLIN)
        return bool(poller.poll(max(0.0, timeout) * 1000))

    def close_write(self) -> None:
        """Tell the other side that no more comes; what it sends can still be received."""
        if not self._closed:
            self._connection.close_write()

    def close(self) -> None:
        """Close it; twice does no harm."""
        if not self._closed:
            self._closed = True
            self._connection.close()
            # docker-py's object and its response hold the same socket open by references of their own.
            for holder in (getattr(self._raw, "_response", None), self._raw):
                with contextlib.suppress(OSError, ValueError, AttributeError):
                    cast(io.IOBase, holder).close()


def _normalised(raw: object) -> tuple[_Connection, bytes]:
    """The connection below docker-py's object, and the bytes that its response has buffered."""
    buffer = getattr(getattr(getattr(getattr(raw, "_response", None), "raw", None), "_fp", None), "fp", None)
    plain = getattr(raw, "_sock", raw)
    if isinstance(plain, socket.socket):
        return _Socket(plain), _peek(buffer)
    early = bytes(getattr(buffer, "_rbuffer", b""))  # paramiko's own file object
    return _Channel(cast("_ChannelLike", raw)), early


def _peek(buffer: object) -> bytes:
    """What a BufferedReader holds; its connection does not block, so an empty one gives nothing."""
    peek = getattr(buffer, "peek", None)
    if peek is None:
        return b""
    try:
        return bytes(peek())
    except (OSError, ValueError):
        return b""


class Frames:
    """Takes the engine's multiplexing apart (no TTY): 8 bytes of head, of which 0 is the stream and 4 to 7 the length.

    Docker Engine API, "Stream format" of ContainerAttach.
    """

    HEAD = 8

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The (stream, bytes) that `data` completes; stream 1 is standard output, 2 standard error."""
        self._pending += data
        found: list[tuple[int, bytes]] = []
        while len(self._pending) >= self.HEAD:
            end = self.HEAD + int.from_bytes(self._pending[4 : self.HEAD])
            if len(self._pending) < end:
                break
            found.append((self._pending[0], self._pending[self.HEAD : end]))
            self._pending = self._pending[end:]
        return found
