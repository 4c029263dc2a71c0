"""An engine behind ssh: each connection is an ssh client that runs `docker system dial-stdio` over there.

docker-py's own way needs paramiko even where the ssh client does the work, logs in anew for every request, and hands
out two pipes. Here the client's input and output are the ends of two socket pairs, whose other ends make one socket for
everything above; and the first login carries those that follow (ssh_config(5) ControlMaster), unless the user has
configured that already.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import socket
import subprocess
import tempfile
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from platformdirs import user_cache_path
from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.response import HTTPResponse

from debugrun.errors import EngineError
from debugrun.values import dataclass

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LONGEST_SOCKET_PATH = 107 - 17  # unix(7) sun_path, less what ssh appends while it makes the socket
LAST_WORDS = 2.0  # seconds that a client has to say why it failed
ENDS_WITHIN = 0.5  # seconds for one that is told to
CONNECTIONS = 10  # sshd_config(5) MaxSessions, by default
# Ctrl-C in a terminal is for the tool: what a shell ignores, the program that it becomes ignores as well.
UNTOUCHED = "trap '' INT QUIT; exec \"$@\""


class SshError(ConnectionError):
    """What the ssh client said, or the docker client at the other end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """ssh://[USER@]HOST[:PORT][/SOCKET], as the docker CLI takes it."""

    host: str
    user: str | None = None
    port: int | None = None
    path: str = ""

    @classmethod
    def of(cls, url: str) -> Destination:
        """From a URL. Raises EngineError."""
        try:
            parts = urllib.parse.urlsplit(url)
            found = cls(host=parts.hostname or "", user=parts.username, port=parts.port, path=parts.path)
        except ValueError:
            found = cls(host="")
        if not found.host or parts.password is not None or parts.query or parts.fragment:
            shown = f"{url.partition('://')[0]}://{url.rpartition('@')[2]}"
            raise EngineError(
                "bad-endpoint", f"{shown} is not the address of an engine", "ssh://[USER@]HOST[:PORT][/SOCKET]"
            )
        return found

    def words(self) -> list[str]:
        """Arguments of ssh(1); a host can't be taken for an option."""
        user = ["-l", self.user] if self.user else []
        port = ["-p", str(self.port)] if self.port else []
        return [*user, *port, "--", self.host]

    def command(self) -> str:
        """What the shell over there is to run."""
        engine = ["--host", f"unix://{self.path}"] if self.path not in {"", "/"} else []
        return shlex.join(["docker", *engine, "system", "dial-stdio"])


class Socket(socket.socket):
    """Our end of an ssh client's output; what is sent goes to its input by `outgoing`.

    Two connections, since a client that carries others keeps its input open when its own command has ended: on a
    single one that end would never be seen. The end is an orderly one only when the client ended so.
    """

    client: Client | None = None
    outgoing: socket.socket

    @classmethod
    def pair(cls) -> tuple[Socket, socket.socket, socket.socket]:
        """Our end, and the client's input and output."""
        output, theirs_out = socket.socketpair()
        theirs_in, outgoing = socket.socketpair()
        ours = cls(fileno=output.detach())
        ours.outgoing = outgoing
        return ours, theirs_in, theirs_out

    def settimeout(self, value: float | None, /) -> None:
        """As a socket's, for both directions."""
        super().settimeout(value)
        self.outgoing.settimeout(value)

    def send(self, data: ReadableBuffer, flags: int = 0, /) -> int:
        """As a socket's."""
        return self.outgoing.send(data, flags)

    def sendall(self, data: ReadableBuffer, flags: int = 0, /) -> None:
        """As a socket's."""
        self.outgoing.sendall(data, flags)

    def shutdown(self, how: int, /) -> None:
        """As a socket's."""
        if how != socket.SHUT_RD:
            self.outgoing.shutdown(socket.SHUT_WR)
        if how != socket.SHUT_WR:
            super().shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """As a socket's: in earnest once no file object of it is open."""
        super().close()
        if self.fileno() == -1:
            self.outgoing.close()

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """As a socket's. Raises SshError where ssh, or the docker client over there, ended with an error."""
        data = super().recv(bufsize, flags)
        if not data and self.client is not None and (said := self.client.failure()) is not None:
            raise SshError(said)
        return data


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """One ssh client: its process, our end of its input and output, its error output."""

    process: subprocess.Popen[bytes]
    socket: Socket
    errors: IO[bytes]

    def failure(self) -> str | None:
        """Why it ended; None when it ended well, or has not."""
        said = self.last_words()
        status = self.process.returncode
        return said or f"the ssh client ended with {status}" if status else None

    def last_words(self) -> str:
        """The last line that it wrote, once it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(LAST_WORDS)
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def end(self, within: float) -> None:
        """End it, by force when it takes longer; nothing that it has not delivered yet is waited for."""
        self.socket.close()
        self.process.terminate()
        try:
            self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.errors.close()


class Login:
    """Opens connections to one destination; the first login carries the others."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._clients: list[Client] = []
        self._lock = threading.Lock()
        self._shared: Path | None = None

    def dial(self) -> Client:
        """Start one more ssh client. It may fail later: `Client.last_words` says why."""
        with self._lock:
            first = not self._clients
            if first:
                self._shared = _shared_socket(self._destination)
            ours, theirs_in, theirs_out = Socket.pair()
            errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by Client.end
            with theirs_in, theirs_out:
                process = subprocess.Popen(
                    ["/bin/sh", "-c", UNTOUCHED, "sh", *self._argv(first=first)],
                    stdin=theirs_in.fileno(), stdout=theirs_out.fileno(), stderr=errors,
                )  # fmt: skip
            ours.client = Client(process=process, socket=ours, errors=errors)
            self._clients.append(ours.client)
            return ours.client

    def _argv(self, *, first: bool) -> list[str]:
        options = ["-T", "-o", "ConnectTimeout=30"]
        if self._shared is not None:
            options += ["-o", f"ControlMaster={'yes' if first else 'no'}", "-o", f"ControlPath={self._shared}"]
            options += ["-o", "ControlPersist=no"]
        return ["ssh", *options, *self._destination.words(), self._destination.command()]

    def close(self) -> None:
        """End all clients; nothing of ours stays.

        One that is carried misses a TERM that comes before it waits for its carrier's answer (mux.c mux_client_read),
        so it has no long time. The carrier removes its socket on its way out, unless it had to be killed.
        """
        with self._lock:
            for each in reversed(self._clients):
                each.end(LAST_WORDS if each is self._clients[0] else ENDS_WITHIN)
            self._clients.clear()
            if self._shared is not None:
                self._shared.unlink(missing_ok=True)


def _shared_socket(destination: Destination) -> Path | None:
    """A path for the socket of the first login; None where the user has one configured, or none can be made."""
    command = ["ssh", "-G", *destination.words()]
    asked = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if asked.returncode != 0 or any(line.startswith("controlpath ") for line in asked.stdout.splitlines()):
        return None
    folder = user_cache_path("debugrun")
    path = folder / f"ssh-{secrets.token_hex(4)}"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (
            len(os.fsencode(path)) <= LONGEST_SOCKET_PATH
            and "%" not in str(path)
            and folder.stat().st_uid == os.geteuid()
        ):
            return path
    return None


class _Connection(HTTPConnection):
    """HTTP over an ssh client."""

    def __init__(self, login: Login, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._login = login
        self._client: Client | None = None

    def _new_conn(self) -> socket.socket:
        self._client = self._login.dial()
        self._client.socket.settimeout(self.timeout if isinstance(self.timeout, (int, float)) else None)
        return self._client.socket

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """A connection that breaks has a reason, which the ssh client tells on its error output."""
        try:
            yield
        except ConnectionError as error:
            said = self._client.last_words() if self._client else ""
            raise SshError(said or str(error)) from error

    def send(self, data: Any) -> None:  # noqa: ANN401 - as http.client has it
        with self._explained():
            super().send(data)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override] # as urllib3's own
        with self._explained():
            return super().getresponse()


class _Pool(HTTPConnectionPool):
    def __init__(self, login: Login, timeout: float) -> None:
        super().__init__("localhost", maxsize=CONNECTIONS)
        self._login = login
        self._seconds = timeout

    def _new_conn(self) -> _Connection:
        return _Connection(self._login, self._seconds)


class SshAdapter(HTTPAdapter):
    """For requests.Session.mount: what goes to one engine goes over ssh."""

    def __init__(self, url: str, timeout: float) -> None:
        """Raises EngineError: no such address."""
        super().__init__()
        self._login = Login(Destination.of(url))
        self._pool = _Pool(self._login, timeout)

    def get_connection_with_tls_context(
        self,
        request: PreparedRequest,  # noqa: ARG002 - the shape of requests'
        verify: bool | str | None,  # noqa: ARG002, FBT001 - the same
        proxies: Mapping[str, str] | None = None,  # noqa: ARG002 - the same
        cert: tuple[str, str] | str | None = None,  # noqa: ARG002 - the same
    ) -> HTTPConnectionPool:
        """The one pool."""
        return self._pool

    def request_url(self, request: PreparedRequest, proxies: Mapping[str, str] | None) -> str:  # noqa: ARG002 - the same
        """The path: what stands before it is no address."""
        return request.path_url

    def close(self) -> None:
        """Close all connections and end their clients."""
        self._pool.close()
        self._login.close()
        super().close()
