"""What a container is asked for again is what it was, whatever it was."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from debugrun.blueprint import Blueprint, blueprint
from debugrun.comparison import differences
from tests.configurations import APIS, ENDPOINTS, IMAGES, requests
from tests.daemon import Daemon, RefusedError


@st.composite
def daemons(draw: st.DrawFn) -> tuple[Daemon, dict[str, Any]]:
    """An engine with a container that others may join and take volumes from, and a container that it made."""
    api = draw(st.sampled_from(APIS))
    daemon = Daemon(api=api)
    daemon.images = {"app:1": {"Id": "sha256:app", "Config": draw(IMAGES)}, "keep": {"Id": "sha256:k", "Config": {}}}
    store = daemon.run("store", {"Image": "keep", "Cmd": ["x"], "Volumes": {"/v": {}}, "Hostname": "store"})
    request = draw(requests(api))
    mode = request["HostConfig"]["NetworkMode"].replace("ID", store["Id"])
    request |= {"Image": "app:1", "HostConfig": {**request["HostConfig"], "NetworkMode": mode}}
    later = {"late": draw(ENDPOINTS)} if mode == "front" and draw(st.booleans()) else {}
    for each in later.values():
        each.pop("MacAddress", None)
        each.pop("IPAMConfig", None)
    try:
        return daemon, daemon.run("web", request, tuple(later.items()))
    except RefusedError:
        return daemon, {}


def again(daemon: Daemon, container: dict[str, Any]) -> tuple[Blueprint, dict[str, Any]]:
    """What the container is asked for, and the one that this makes."""
    made = blueprint(container, daemon.images["app:1"], api=daemon.api, others=daemon.containers)
    return made, daemon.run("web", json.loads(json.dumps(made.body)), made.networks)


@given(daemons())
@settings(max_examples=200, deadline=None)
def test_a_container_made_again_is_the_same(made: tuple[Daemon, dict[str, Any]]) -> None:
    daemon, container = made
    if not container:
        event("refused by the engine")
        return
    event(f"mode {container['HostConfig']['NetworkMode'][:9]}")
    kept = json.dumps(daemon.volumes)
    plan, anew = again(daemon, container)
    assert differences(container, anew) == ()
    assert json.dumps(daemon.volumes) == kept  # no volume more, and no file more in any
    names = {each["Destination"]: each.get("Name") for each in container["Mounts"]}
    assert {each["Destination"]: each.get("Name") for each in anew["Mounts"]} == names
    # Once more, and for good: what was pinned stays so.
    assert again(daemon, anew)[0].body == plan.body
