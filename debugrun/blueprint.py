"""A container as the request that would create it again: every option kept, what can't be kept named.

Pure: GET /containers/ID/json and GET /images/ID/json in, the body of POST /containers/create out. Bodies hold the
values of environment variables and command lines, as the engine asks for them: they are sent, never shown nor stored
(`comparison` shows what may be seen).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from debugrun.grants import Option

Json = Mapping[str, object]

SEVERAL_ENDPOINTS = (1, 44)  # moby docs/api/version-history.md: the first that takes several networks at create


@dataclass(frozen=True, kw_only=True, slots=True)
class Blueprint:
    """What creates a container like another one: create, connect to `networks` in that order, start.

    `name` is the other one's, `body` that of POST /containers/create, `platform` its query parameter ("": leave it
    out), `networks` the endpoints that create does not take (name, EndpointSettings). `lost` says what no request
    brings back, `warnings` what is kept in another way than it was; both are sentences without a full stop.
    """

    name: str
    body: Json
    networks: tuple[tuple[str, Json], ...] = ()
    platform: str = ""
    lost: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def blueprint(
    container: Json, image: Json, *, api: tuple[int, int], engine: str = "docker", others: Sequence[Json] = ()
) -> Blueprint:
    """The request that creates `container` again, from its image by id.

    `container` is inspected while it runs: its published ports are kept by number. `api` is the version that the
    client speaks, `engine` "docker" or "podman", `others` the inspected containers that it takes volumes from.
    """
    raise NotImplementedError


def with_image(blueprint: Blueprint, image: str) -> Blueprint:
    """The same from another image: the one that its writable layer was committed to (an id)."""
    return replace(blueprint, body={**blueprint.body, "Image": image})


def with_labels(blueprint: Blueprint, labels: Mapping[str, str]) -> Blueprint:
    """The same with more labels."""
    raise NotImplementedError


def with_grant(
    blueprint: Blueprint, option: Option, *, profile_json: str | None = None, mounts: Sequence[Json] = ()
) -> Blueprint:
    """The same with what the option grants, and nothing else; `mounts` are further entries of HostConfig.Mounts.

    `profile_json` is the seccomp profile to send, where the option opens calls or brings its own. Nothing is taken
    away but a CapDrop of a granted capability.
    """
    raise NotImplementedError


def started_under(blueprint: Blueprint, argv: Sequence[str]) -> Blueprint:
    """The same with `argv` before its entrypoint and command: what its process is started under."""
    raise NotImplementedError
