"""Docker contexts, and `--context NAME` on any command: as the docker CLI has them.

docker-py reads them only where a config.json lies beside them, and takes the default socket for one that there is
not; another engine than the one asked for is worse than none.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from debugrun import NO_HOME
from debugrun.errors import EngineError, UsageError
from debugrun.values import dataclass

OPTION = "--context"
DEFAULT = "default"  # DOCKER_HOST, else the default socket


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """An endpoint under a name: docker/cli cli/context/store. The paths are of PEM files, None where there is none."""

    name: str
    host: str
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    skip_verify: bool = False

    @property
    def tls(self) -> bool:
        """Whether the engine is spoken to by TLS (cli/context/docker/load.go withHTTPClient)."""
        return self.skip_verify or any((self.ca, self.cert, self.key))


def take(words: list[str]) -> list[str]:
    """The words without the option before the first of them, which from now on says where the engine is.

    Only there, as docker has its own: behind the command a word may be the value of another option, or a tool's.
    Precedence as in docker/cli (cli/command/cli.go resolveContextName): the option, DOCKER_HOST, DOCKER_CONTEXT, the
    configured one.
    """
    left = list(words)
    name = ""
    while left and left[0].partition("=")[0] == OPTION:
        word = left.pop(0)
        if "=" in word:
            name = word.partition("=")[2]
        elif left:
            name = left.pop(0)
        else:
            raise UsageError("no-context-name", f"{OPTION} takes the name of a context", "docker context ls")
    if name:
        os.environ["DOCKER_CONTEXT"] = name
        if name != DEFAULT:
            os.environ.pop("DOCKER_HOST", None)
    return left


def chosen() -> str:
    """The name of the context in force, where no DOCKER_HOST is. Raises EngineError."""
    named = os.environ.get("DOCKER_CONTEXT")
    return named or _configured() or DEFAULT


def _configured() -> str:
    """The currentContext of config.json; "" without one. Raises EngineError: a broken file hides what is meant."""
    path = _folder() / "config.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else f"not JSON: {error}"
        raise _unclear(path, why) from error
    found = told.get("currentContext", "") if isinstance(told, dict) else None
    if not isinstance(found, str):
        raise _unclear(path, "currentContext is no text")
    return found


def _unclear(path: Path, why: str | None) -> EngineError:
    message = f"{path} can't be read, so which engine is meant is not known: {why}"
    return EngineError("bad-docker-config", message, "correct it, or name the engine in DOCKER_HOST or by --context")


def names() -> list[str]:
    """The contexts that there are."""
    found = [DEFAULT]
    for path in (_folder() / "contexts" / "meta").glob("*/meta.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            found.append(str(json.loads(path.read_text(encoding="utf-8"))["Name"]))
    return sorted(found)


def load(name: str) -> Context:
    """A context by its name, but not the default one. Raises EngineError."""
    import hashlib  # noqa: PLC0415 - 6 ms, for OpenSSL, where a context is read

    folder, digest = _folder() / "contexts", hashlib.sha256(name.encode()).hexdigest()
    try:
        endpoint = json.loads((folder / "meta" / digest / "meta.json").read_text(encoding="utf-8"))["Endpoints"][
            "docker"
        ]
        host, skip = str(endpoint["Host"]), endpoint.get("SkipTLSVerify") is True
    except FileNotFoundError:
        message = f"no Docker context {name}; there are: {', '.join(names())}"
        raise EngineError("no-such-context", message, "docker context ls") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"the Docker context {name} can't be read: {error!r}"
        raise EngineError("bad-context", message, f"docker context inspect {name}") from error
    files = {path.stem: path for path in sorted((folder / "tls" / digest / "docker").glob("*.pem"))}
    ca, cert, key = (files.get(each) for each in ("ca", "cert", "key"))
    return Context(name=name, host=host, ca=ca, cert=cert, key=key, skip_verify=skip)


def _folder() -> Path:
    if told := os.environ.get("DOCKER_CONFIG"):
        return Path(told)
    try:
        return Path.home() / ".docker"
    except RuntimeError:  # no HOME, and no entry in passwd(5)
        return Path(NO_HOME)
