"""Docker contexts, and `--context NAME` on any command: as the docker CLI has them.

docker-py reads them only where a config.json lies beside them, and takes the default socket for one that there is
not; another engine than the one asked for is worse than none.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from debugrun.errors import EngineError

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
    """The words without the option, which from now on says where the engine is.

    Precedence as in docker/cli (cli/command/cli.go resolveContextName): the option, DOCKER_HOST, DOCKER_CONTEXT, the
    configured one.
    """
    left: list[str] = []
    name = ""
    rest = iter(words)
    for word in rest:
        if word == OPTION and (value := next(rest, None)) is not None:
            name = value
        elif word.startswith(f"{OPTION}="):
            name = word.removeprefix(f"{OPTION}=")
        else:
            left.append(word)
    if name:
        os.environ["DOCKER_CONTEXT"] = name
        if name != DEFAULT:
            os.environ.pop("DOCKER_HOST", None)
    return left


def chosen() -> str:
    """The name of the context in force, where no DOCKER_HOST is."""
    named = os.environ.get("DOCKER_CONTEXT")
    if not named:
        with suppress(OSError, ValueError, AttributeError):
            named = json.loads((_folder() / "config.json").read_text(encoding="utf-8")).get("currentContext")
    return str(named or DEFAULT)


def names() -> list[str]:
    """The contexts that there are."""
    found = [DEFAULT]
    for path in (_folder() / "contexts" / "meta").glob("*/meta.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            found.append(str(json.loads(path.read_text(encoding="utf-8"))["Name"]))
    return sorted(found)


def load(name: str) -> Context:
    """A context by its name, but not the default one. Raises EngineError."""
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
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
