"""Where the engine is, and docker-py's client for it: unix and tcp sockets, TLS, ssh; contexts as the docker CLI's.

Beside `engine` the only module that imports docker-py.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import shutil
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from debugrun import timing
from debugrun.core.say import refusals
from debugrun.engine import answers, contexts
from debugrun.errors import EngineError
from debugrun.values import dataclass

if TYPE_CHECKING:
    from docker import APIClient
    from docker.tls import TLSConfig
    from requests import Response

WORD = 3.0  # seconds of silence after which a person is told what is waited for
# What docker-py raises, which takes answers on trust.
ON_TRUST = (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError)
CONNECTING = 5.0  # seconds for a connection to come about; an answer may take longer
FLOOR = "1.39"  # Docker 18.09, the oldest whose default seccomp profile is known


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """Where the engine is, and who said so: both are named by every error about reaching it."""

    url: str
    origin: str  # "DOCKER_HOST", "context NAME", "the default socket", "as asked"

    def __str__(self) -> str:
        return f"the engine at {self.shown} ({self.origin})"

    @property
    def shown(self) -> str:
        """The address without a password: ssh://USER:PASSWORD@HOST is one that people write."""
        return without_password(self.url)

    @property
    def socket(self) -> Path | None:
        """The socket on this machine, where it is one."""
        return Path(self.url.removeprefix("unix://")) if self.url.startswith("unix://") else None

    @property
    def login(self) -> bool:
        """Whether a connection may ask a person for a password: one must be made before there are several."""
        return self.url.startswith("ssh://")


def without_password(url: str) -> str:
    """The URL for a person's eyes, and for logs."""
    scheme, separator, rest = url.partition("://")
    login, at, host = rest.rpartition("@")
    return f"{scheme}{separator}{login.partition(':')[0]}{at}{host}" if ":" in login else url


def client(base_url: str | None, *, timeout: float) -> tuple[Endpoint, APIClient]:
    """A client for the engine of `base_url`, else of DOCKER_HOST, else of the Docker context, else the default socket.

    Nothing is asked yet. Raises EngineError.
    """
    if "docker" not in sys.modules:
        with timing.span("import the engine's client"):
            _load_docker()
    from docker import APIClient  # noqa: PLC0415 - only when there is something to ask

    endpoint, url, tls = _resolve(base_url)
    with translated(endpoint, "answer"):
        if url is not None and url.startswith("ssh://"):
            return endpoint, _over_ssh(url, timeout)
        made = APIClient(url, version=FLOOR, timeout=int(timeout), tls=tls or False)
        if not made.base_url.startswith("http+"):  # sockets connect at once or not at all
            made.timeout = (min(CONNECTING, timeout), timeout)  # type: ignore[assignment] # as requests takes it
        _leave_the_webs_settings(made)
        return endpoint, made


def _load_docker() -> None:
    """Import docker-py (120 ms) without what it imports only because it happens to be installed.

    That is paramiko, which doubles the time and is not needed where there is an ssh client, and what guesses character
    sets for requests, of which the API has one. A None in sys.modules is an import that fails (the Python reference,
    5.3.1), and both take that; requests says so.
    """
    guessers = [each for each in ("charset_normalizer", "chardet") if each not in sys.modules]
    for each in [*guessers, *(["docker.transport.sshconn"] if shutil.which("ssh") is not None else [])]:
        sys.modules[each] = None  # type: ignore[assignment]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Unable to find acceptable character detection")
        importlib.import_module("docker")
    for each in guessers:
        del sys.modules[each]


def _resolve(base_url: str | None) -> tuple[Endpoint, str | None, TLSConfig | None]:
    """Where to connect, docker-py's URL and TLS settings for it, in the docker CLI's order."""
    from docker.utils import kwargs_from_env  # noqa: PLC0415 - loaded by client() already

    if base_url is not None:
        return Endpoint(url=base_url, origin="as asked"), base_url, None
    with translated(Endpoint(url="?", origin="DOCKER_TLS_VERIFY, DOCKER_CERT_PATH"), "configure"):
        options = kwargs_from_env()
    if "base_url" in options:
        url = options["base_url"]
        return Endpoint(url=url, origin="DOCKER_HOST"), url, options.get("tls")
    name = contexts.chosen()
    if name == contexts.DEFAULT:
        return Endpoint(url="unix:///var/run/docker.sock", origin="the default socket"), None, None
    context = contexts.load(name)
    endpoint = Endpoint(url=context.host, origin=f"context {name}")
    with translated(endpoint, "configure"):
        return endpoint, context.host, _tls(context) if context.tls else None


def _tls(context: contexts.Context) -> TLSConfig:
    from docker.tls import TLSConfig  # noqa: PLC0415 - loaded by client() already

    own = (str(context.cert), str(context.key)) if context.cert and context.key else None
    ca = None if context.ca is None else str(context.ca)
    return TLSConfig(client_cert=own, ca_cert=ca, verify=not context.skip_verify)


def _leave_the_webs_settings(client: APIClient) -> None:
    """Take only the proxy from the environment, and once: requests would read all of it again for each request.

    REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE would replace the engine's own authority, ~/.netrc would give it passwords.
    """
    from requests.utils import get_environ_proxies  # noqa: PLC0415 - loaded by client() already

    client.trust_env = False
    client.proxies.update(get_environ_proxies(client.base_url))


def _over_ssh(url: str, timeout: float) -> APIClient:
    """By the ssh client, with the user's own configuration; by paramiko where there is none."""
    from docker import APIClient  # noqa: PLC0415 - loaded by client() already

    from debugrun.engine.ssh import Destination, SshAdapter  # noqa: PLC0415 - for engines behind ssh

    if shutil.which("ssh") is not None:
        adapter = SshAdapter(url, timeout)
        made = APIClient("unix:///behind/ssh", version=FLOOR, timeout=int(timeout))
        made.mount(made.base_url, adapter)
        return made
    if importlib.util.find_spec("paramiko") is None:
        hint = "apt-get install openssh-client, or pip install 'debugrun[paramiko]'"
        raise EngineError("no-ssh-client", f"{without_password(url)}: there is no ssh client on this machine", hint)
    if Destination.of(url).path not in {"", "/"}:
        hint = "apt-get install openssh-client"
        raise EngineError(
            "no-ssh-client", f"{without_password(url)}: only the ssh client reaches a socket by its path", hint
        )
    refused: type[Exception] = importlib.import_module("paramiko").SSHException
    try:
        return APIClient(url, version=FLOOR, timeout=int(timeout))
    except refused as error:
        hint = "paramiko reads ~/.ssh/config, known_hosts and the agent; ssh itself (openssh-client) reads more"
        raise EngineError("engine-ssh", f"{without_password(url)}: {error}", hint) from error


@contextlib.contextmanager
def patience(endpoint: Endpoint) -> Iterator[None]:
    """While something is waited for: a word, when it takes long."""
    line = f"debugrun: {endpoint} has not answered for {WORD:.0f} s; waiting"
    word = threading.Timer(WORD, lambda: print(line, file=sys.stderr, flush=True))
    word.daemon = True
    word.start()
    try:
        yield
    finally:
        word.cancel()


@contextlib.contextmanager
def translated(endpoint: Endpoint, doing: str, ref: str = "") -> Iterator[None]:
    """docker-py's and requests' errors, as ours."""
    from docker.errors import APIError, DockerException  # noqa: PLC0415 - loaded by client() already
    from requests.exceptions import HTTPError, RequestException  # noqa: PLC0415 - loaded by client() already

    kinds: tuple[type[Exception], ...] = (DockerException, RequestException, OSError, *_paramikos())
    try:
        with timing.span(f"request: {doing} {ref}".rstrip()):
            yield
    except kinds as error:
        if not isinstance(error, HTTPError):  # APIError is one
            found = refusals.unreachable(error, str(endpoint))
            message = found.message.replace(endpoint.url, endpoint.shown)  # docker-py repeats it
            raise EngineError(found.code, message, found.hint) from error
        text = str(error.explanation or error) if isinstance(error, APIError) else _message(error.response)
        status = 0 if error.response is None else error.response.status_code
        raise refusals.refused(status, text, str(endpoint), doing, ref) from error
    except ON_TRUST as error:
        raise answers.strange(f"{type(error).__name__} when it was to {doing} {ref}".rstrip()) from error


def _paramikos() -> tuple[type[Exception], ...]:
    """What paramiko raises when a login breaks, where it is in use: none of it is an error of the system."""
    paramiko = sys.modules.get("paramiko")
    return () if paramiko is None else (EOFError, paramiko.SSHException)


def _message(answer: Response) -> str:
    """The engine's own words, which are JSON."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(answer.text)["message"])
    return answer.text
