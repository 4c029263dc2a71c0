"""Containers that someone else would put back, or that must not stop: what to do instead of recreating them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from debugrun.grants import Option

Json = Mapping[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """Why a container is not recreated: a stable code, one line, and what to do instead.

    `by` names who manages it (compose, swarm, kubernetes, ...; "" nobody). `forcible` says that a person may insist:
    for Compose, whose labels are kept.
    """

    code: str
    message: str
    hint: str
    by: str = ""
    forcible: bool = False


def refusal(container: Json, *, image: Json | None, own: str = "") -> Refusal | None:
    """Why this inspected container is not recreated; None: it may be.

    `image` is its image by id, None when it is gone; `own` is the id of the container that debugrun itself runs in.
    """
    raise NotImplementedError


def compose_override(container: Json, option: Option, *, profile: str | None = None) -> str:
    """A Compose file that gives the container's service what the option grants, as YAML text.

    `profile` is the path of a seccomp profile on the client's side. The first lines say how it is used.
    """
    raise NotImplementedError
