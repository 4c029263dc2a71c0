"""Ways to an engine that are not its own socket: sshd, TLS, and a proxy that sees each request.

All on 127.0.0.1, with keys and ports of their own, in a folder that the caller removes; nothing outside it changes.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import select
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from debugrun.toolbox import rootfs
from tests.host.state import HostError, folder

WITHIN = 15.0  # seconds for a server to listen
CHUNK = 65536

# sshd takes a user called sshd for granted when it is root, and /run/sshd. Both are made in its own mount namespace.
PRIVATE = """
cp -a /etc/passwd "$1/passwd"
grep -q ^sshd: "$1/passwd" || echo 'sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin' >> "$1/passwd"
mount --bind "$1/passwd" /etc/passwd
shift
exec "$@"
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """How a client gets to the engine: what to add to its environment; `log` is what the server wrote."""

    environment: dict[str, str]
    log: Path | None = None


@contextlib.contextmanager
def sshd(socket_path: str) -> Iterator[Way]:
    """An sshd before the engine's socket. The client's `ssh` is the real one, with a configuration of its own."""
    if shutil.which("docker") is None:
        raise HostError("ssh needs the docker client at the other end (docker system dial-stdio); try: install docker")
    program, libraries = _sshd_program()
    with tempfile.TemporaryDirectory(prefix="dr-ssh-", dir="/tmp") as text:
        home = Path(text)
        port = free_port()
        _ssh_files(home, port, socket_path)
        made = _run_folder()
        command = [str(program), "-D", "-e", "-f", str(home / "sshd_config")]
        if os.geteuid() == 0:
            command = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", PRIVATE, "sshd", text, *command]
        log = home / "log"
        with log.open("w") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env={"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": libraries},
            )  # fmt: skip
        try:
            _await_port(port, process, log)
            url = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{socket_path}"
            # The ssh client asks passwd for its home, paramiko $HOME: each finds the same files.
            path = f"{home / 'bin'}:{os.environ['PATH']}"
            yield Way(environment={"DOCKER_HOST": url, "PATH": path, "HOME": text}, log=log)
        finally:
            process.terminate()
            process.wait()
            if made is not None:
                made.rmdir()


def _sshd_program() -> tuple[Path, str]:
    """This machine's sshd, else one unpacked from its own Debian's packages: (program, where its libraries are)."""
    if found := shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
        return Path(found), ""
    place = folder() / "openssh-server"
    program = place / "usr/sbin/sshd"
    if not program.exists():
        unpack(("openssh-server", "libwrap0"), place)
    return program, ":".join(str(path) for path in (place / "usr/lib").glob("*-linux-gnu*"))


def unpack(packages: tuple[str, ...], place: Path, only: str = "") -> None:
    """Packages of this machine's own Debian as files in a folder: nothing is installed. `only` is the start of a path.

    Raises HostError.
    """
    mirror, release = rootfs.mirror(), Path("/etc/os-release")
    known = dict(line.split("=", 1) for line in release.read_text().splitlines() if "=" in line)
    if mirror is None or "VERSION_CODENAME" not in known:
        raise HostError(f"{packages[0]} is not here, and this is no Debian; try: install it")
    words = ["dpkg", "--print-architecture"]
    architecture = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    archive = rootfs.Archive(mirror=mirror, suite=known["VERSION_CODENAME"], architecture=architecture)
    with tempfile.TemporaryDirectory(prefix="debugrun-") as scratch:
        for deb in rootfs.download(archive, packages, Path(scratch), dependencies=False):
            with rootfs.members(deb) as files:
                for member in files:
                    member.name = rootfs.merged(member.name)
                    if member.name and member.name.startswith(only):
                        files.extract(member, place, filter="tar")


def _ssh_files(home: Path, port: int, socket_path: str) -> None:
    """Keys, and both configurations."""
    for name in ("host", "client"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / name], check=True)
    (home / "authorized").write_text((home / "client.pub").read_text())
    (home / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {home}/host\nAuthorizedKeysFile {home}/authorized\n"
        f"PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        f"LogLevel VERBOSE\nSetEnv PATH={os.environ['PATH']} DOCKER_HOST=unix://{socket_path}\n"
    )
    (home / ".ssh").mkdir(mode=0o700)
    key = " ".join((home / "host.pub").read_text().split()[:2])
    (home / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{port} {key}\n")
    (home / ".ssh/config").write_text(
        f"Host *\n  IdentityFile {home}/client\n  IdentitiesOnly yes\n  UserKnownHostsFile {home}/.ssh/known_hosts\n"
    )
    (home / "bin").mkdir()
    wrapper = home / "bin/ssh"
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {home}/.ssh/config "$@"\n')
    wrapper.chmod(0o755)


def _run_folder() -> Path | None:
    """/run/sshd, which root's sshd wants; None when it was there."""
    path = Path("/run/sshd")
    if os.geteuid() != 0 or path.exists():
        return None
    path.mkdir(mode=0o755)
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise HostError(f"sshd does not listen: {log.read_text()}")


@contextlib.contextmanager
def tls(socket_path: str) -> Iterator[Way]:
    """A server that asks for TLS and a client's certificate before the engine's socket."""
    with tempfile.TemporaryDirectory(prefix="debugrun-tls-") as text:
        certificates(Path(text))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{text}/server-cert.pem", f"{text}/server-key.pem")
        context.load_verify_locations(f"{text}/ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED

        def serve(plain: socket.socket) -> None:
            with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as client:
                forward(client, socket_path)

        with listening(serve) as port:
            environment = {"DOCKER_HOST": f"tcp://127.0.0.1:{port}", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": text}
            yield Way(environment=environment)


def certificates(place: Path) -> None:
    """ca.pem; server-cert.pem and server-key.pem for 127.0.0.1; cert.pem and key.pem for a client."""
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    authority = [*new, "-keyout", "ca-key.pem", "-out", "ca.pem", "-subj", "/CN=debugrun test"]
    leaf = [*new, "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-addext", "basicConstraints=critical,CA:FALSE"]
    server = [*leaf, "-keyout", "server-key.pem", "-out", "server-cert.pem", "-subj", "/CN=engine"]
    server += ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "extendedKeyUsage=serverAuth"]
    client = [*leaf, "-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=client"]
    client += ["-addext", "extendedKeyUsage=clientAuth"]
    for command in (authority, server, client):
        subprocess.run(command, cwd=place, check=True, capture_output=True)


@contextlib.contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A thread for each connection to a port of 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        _accepting(server, serve)
        try:
            yield int(server.getsockname()[1])
        finally:
            server.shutdown(socket.SHUT_RDWR)


def _accepting(server: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def forward(client: ssl.SSLSocket, socket_path: str) -> None:
    """Copy both ways until both have ended; one that ends early ends that way only.

    In one thread: a TLS connection must not be read in one and written in another, and Python's sockets do not see to
    that (before 3.13 such a connection breaks, now and then).
    """
    with socket.socket(socket.AF_UNIX) as engine:
        engine.connect(socket_path)
        sinks: dict[socket.socket, socket.socket] = {client: engine, engine: client}
        while sinks:
            # What TLS has decrypted already no poll tells.
            decrypted = client in sinks and client.pending() > 0
            for source in [client] if decrypted else select.select(list(sinks), [], [])[0]:
                if data := source.recv(CHUNK):
                    sinks[source].sendall(data)
                else:
                    socket.socket.shutdown(sinks.pop(source), socket.SHUT_WR)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sink, socket.SHUT_WR)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One request: its first line, and when it came and was answered, in seconds."""

    line: str
    came: float
    answered: float


@dataclass(kw_only=True, slots=True)
class Watched:
    """A socket before the engine's own, where each request takes a while longer; what was asked there."""

    url: str
    asked: list[Asked] = field(default_factory=list)

    def depth(self) -> int:
        """How many requests had to wait for one another: the longest chain in which each came after an answer."""
        chains: list[tuple[float, int]] = []
        for each in sorted(self.asked, key=lambda each: each.came):
            behind = max((length for answered, length in chains if answered <= each.came), default=0)
            chains.append((each.answered, behind + 1))
        return max((length for _, length in chains), default=0)


@contextlib.contextmanager
def watched(socket_path: str, *, delay: float) -> Iterator[Watched]:
    """A socket that passes everything on, each request `delay` seconds later."""
    with tempfile.TemporaryDirectory(prefix="dr-") as text, socket.socket(socket.AF_UNIX) as server:
        path = f"{text}/w.sock"
        server.bind(path)
        server.listen(64)
        seen = Watched(url=f"unix://{path}")
        _accepting(server, lambda client: _watch(client, socket_path, seen, delay))
        try:
            yield seen
        finally:
            server.shutdown(socket.SHUT_RDWR)


def _watch(client: socket.socket, socket_path: str, seen: Watched, delay: float) -> None:
    """One connection: request and answer in turn, until it is upgraded or closed."""
    with client, socket.socket(socket.AF_UNIX) as engine, contextlib.suppress(OSError):
        engine.connect(socket_path)
        while request := client.recv(CHUNK):
            came = time.monotonic()
            time.sleep(delay)
            engine.sendall(request)
            answer = _answer(client, engine)
            line = request.split(b"\r\n", 1)[0].decode(errors="replace").removesuffix(" HTTP/1.1")
            seen.asked.append(Asked(line=line, came=came, answered=time.monotonic()))
            client.sendall(answer)
            if b" 101 " in answer.split(b"\r\n", 1)[0]:
                threading.Thread(target=_copy, args=(engine, client), daemon=True).start()
                _copy(client, engine)
                return
            # The rest of this answer, until the client has more to ask.
            _pass_on_until_asked(client, engine)


def _answer(client: socket.socket, engine: socket.socket) -> bytes:
    """The first part of the answer; what more of the request comes meanwhile is passed on."""
    while True:
        ready, _, _ = select.select([client, engine], [], [])
        if engine in ready:
            return engine.recv(CHUNK)
        more = client.recv(CHUNK)
        if not more:
            raise ConnectionError
        engine.sendall(more)


def _pass_on_until_asked(client: socket.socket, engine: socket.socket) -> None:
    while True:
        ready, _, _ = select.select([client, engine], [], [])
        if client in ready:
            return
        data = engine.recv(CHUNK)
        if not data:
            raise ConnectionError
        client.sendall(data)
