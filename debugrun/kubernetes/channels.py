"""An exec or attach of the API server, a websocket of channels, as the byte stream that the relay knows.

Two threads carry the bytes between the websocket and one end of a socket pair; the other end is what a Docker engine
would have given: without a TTY with its frames (a head of eight bytes, the stream in the first), with one as it is.
Channels: apimachinery pkg/util/remotecommand/constants.go. The exit status comes on channel 3 as a Status object:
client-go tools/remotecommand/v4.go.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import TYPE_CHECKING

from debugrun.engine.stream import CHUNK, Stream

if TYPE_CHECKING:
    from websocket import WebSocket

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
V4, V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"  # only the fifth can end the input and leave the rest open


class Channels:
    """One running exec or attach: its `stream`, its size and its exit status."""

    def __init__(self, connection: WebSocket, *, tty: bool) -> None:
        self._connection = connection
        self._tty = tty
        self._sending = threading.Lock()
        self._done = threading.Event()
        self._status: int | None = None
        self.refusal = ""  # what the other side said in place of an exit status
        ours, theirs = socket.socketpair()
        self._theirs = theirs
        self.stream = Stream(ours)
        for target in (self._receive, self._send):
            threading.Thread(target=target, name=f"channels-{target.__name__}", daemon=True).start()

    def status(self, timeout: float) -> int | None:
        """The exit status, waited for at most `timeout` seconds; None where it was not told."""
        self._done.wait(timeout)
        return self._status

    @property
    def ended(self) -> bool:
        """Whether the other side has told the end, or is gone."""
        return self._done.is_set()

    def resize(self, rows: int, columns: int) -> None:
        """Tell the TTY its size."""
        self._put(RESIZE, json.dumps({"Width": columns, "Height": rows}).encode())

    def _put(self, channel: int, data: bytes) -> None:
        with self._sending, contextlib.suppress(OSError, ValueError, _closed()):
            self._connection.send_binary(bytes([channel]) + data)

    def _send(self) -> None:
        while data := self._ours():
            self._put(STDIN, data)
        if self._connection.subprotocol == V5:
            self._put(CLOSE, bytes([STDIN]))
        elif self._tty:
            self._put(STDIN, b"\x04")

    def _ours(self) -> bytes:
        try:
            return self._theirs.recv(CHUNK)
        except OSError:
            return b""

    def _receive(self) -> None:
        try:
            while True:
                opcode, frame = self._connection.recv_data_frame(control_frame=True)
                if opcode == _CLOSED:
                    break
                if opcode in _DATA and frame.data:
                    self._take(frame.data[0], frame.data[1:])
        except (OSError, ValueError, _closed()):
            pass
        finally:
            self._done.set()
            with contextlib.suppress(OSError):
                self._theirs.shutdown(socket.SHUT_RDWR)
            self._theirs.close()
            self._connection.shutdown()

    def _take(self, channel: int, data: bytes) -> None:
        if channel in {STDOUT, STDERR} and data:
            head = b"" if self._tty else bytes([channel, 0, 0, 0]) + len(data).to_bytes(4)
            self._theirs.sendall(head + data)
        elif channel == ERROR and data:
            self._status, self.refusal = exit_status(data)


def exit_status(data: bytes) -> tuple[int | None, str]:
    """The exit status in a metav1.Status; None with its message where the command never ended by itself."""
    try:
        told = json.loads(data)
        if told.get("status") == "Success":
            return 0, ""
        for cause in (told.get("details") or {}).get("causes") or ():
            if cause.get("reason") == "ExitCode":
                return int(cause["message"]), ""
        return None, str(told.get("message", ""))
    except (ValueError, AttributeError, KeyError, TypeError):
        return None, data.decode(errors="replace")


_CLOSED, _DATA = 8, {1, 2}  # RFC 6455, 5.2: opcodes


def _closed() -> type[Exception]:
    from websocket import WebSocketException  # noqa: PLC0415 - with the extra only

    return WebSocketException
