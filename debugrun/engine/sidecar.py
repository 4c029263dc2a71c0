"""What a sidecar is asked to be: the request, without the engine that it goes to."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import field

from debugrun.errors import UsageError
from debugrun.values import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Sidecar:
    """A container that waits on its standard input.

    `network` is "none" or "target", `pid_namespace` "target", "own" or "host"; `mounts` are paths of the host,
    read-only at the same place; `hidden` are files of the image that are not there for it; `environment` goes before
    the image's; `memory` is in bytes; `processors` is how many it may keep busy, 0.0: all; `stop_timeout` is what
    `docker stop` waits, in seconds.
    """

    name: str
    target: str
    image: str
    command: Sequence[str]
    user: str
    labels: Mapping[str, str]
    cap_add: Sequence[str]
    cap_drop: Sequence[str]
    security_opt: Sequence[str]
    privileged: bool
    network: str
    memory: int
    pids: int
    processors: float = 0.0
    stop_timeout: int
    userns_mode: str = ""
    mounts: Sequence[str] = ()
    pid_namespace: str = "target"
    auto_remove: bool = True
    hidden: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def in_json(argv: Sequence[str]) -> list[str]:
    """These words for the engine's API. Raises UsageError for one that JSON cannot carry."""
    for word in argv:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UsageError(
                "argument-not-utf8",
                f"the tool's argument {os.fsencode(word)!r} is not UTF-8, and the engine's API is JSON",
                "give that path by a UTF-8 name, or by a link with one",
            ) from None
    return list(argv)
