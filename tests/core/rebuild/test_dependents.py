"""Whoever refers to a container is found, by id or by name, and nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from debugrun.core.rebuild.dependents import dependents

STORE = {"Id": "5" * 64, "Name": "/store", "HostConfig": {}}


def other(**host: Any) -> dict[str, Any]:  # noqa: ANN401 - the engine's JSON
    return {"Id": "a" * 64, "Name": "/web", "State": {"Running": True}, "HostConfig": host}


@pytest.mark.parametrize(
    ("host", "relations", "remedy"),
    [
        ({"NetworkMode": f"container:{STORE['Id']}"}, ("network",), "recreate"),
        ({"NetworkMode": "container:store"}, ("network",), "restart"),
        ({"PidMode": f"container:{'5' * 12}"}, ("pid",), "recreate"),
        ({"IpcMode": "container:store", "PidMode": f"container:{STORE['Id']}"}, ("pid", "ipc"), "recreate"),
        ({"VolumesFrom": ["x", "store:ro"]}, ("volumes-from",), "nothing"),
        ({"VolumesFrom": ["store"], "IpcMode": "container:store"}, ("ipc", "volumes-from"), "restart"),
        ({"Links": ["/store:/web/db"]}, ("link",), "recreate"),
    ],
)
def test_a_reference_is_found(host: dict[str, Any], relations: tuple[str, ...], remedy: str) -> None:
    (found,) = dependents(STORE, [other(**host)])
    assert (found.name, found.running, found.relations, found.remedy) == ("web", True, relations, remedy)


@pytest.mark.parametrize(
    "host",
    [
        {"NetworkMode": "store"},
        {"NetworkMode": "container:store2"},
        {"PidMode": f"container:{'6' * 64}"},
        {"PidMode": "container:5"},
        {"IpcMode": "shareable"},
        {"VolumesFrom": ["store2", "my-store"]},
        {"Links": ["/other:/web/store"]},
        {},
    ],
)
def test_what_only_looks_like_one_is_not(host: dict[str, Any]) -> None:
    assert dependents(STORE, [other(**host), STORE]) == ()
