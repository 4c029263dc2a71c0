"""`debugrun run --like NAME`: another container of the same image, options, mounts and networks, under a tool.

For a container that ended or ends again and again: there is no process to attach to, and starting it only repeats the
end. The other container itself is not touched; its volumes are shared, its ports, addresses and names are not.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from debugrun.attach import apply, foreground
from debugrun.core.ask.request import Request
from debugrun.core.decide import launch
from debugrun.core.decide.widen_profile import profile_json
from debugrun.core.grants import Ceiling, Placement
from debugrun.core.know import json_access, kinds, versions
from debugrun.core.know.json_access import Json
from debugrun.core.know.kinds import LABEL_TOOL
from debugrun.core.rebuild.blueprint import Blueprint, blueprint, with_grant, with_labels
from debugrun.core.say import launch_report, report
from debugrun.engine import engine as engines
from debugrun.engine import ownership
from debugrun.engine.engine import Engine
from debugrun.errors import DebugrunError, RefusedError
from debugrun.observe import named
from debugrun.recreate import recreate, restart_under
from debugrun.toolbox import catalog
from debugrun.values import dataclass

# What only one container can have, or what would keep it: ports, addresses, and being brought back.
ALONE = {"PortBindings": {}, "PublishAllPorts": False, "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}}
OWN = ("IPAMConfig", "IPAddress", "GlobalIPv6Address", "MacAddress", "Aliases", "DNSNames", "Links")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What was typed: like which container, under which tool; `command` takes the place of its command."""

    like: str
    tool: str
    command: tuple[str, ...] = ()
    mode: str | None = None
    args: tuple[str, ...] = ()
    aslr: bool = True
    ceiling: Ceiling
    tool_image: str | None = None
    tool_file: Path | None = None
    detach_keys: str = "ctrl-p,ctrl-q"
    remove: bool = True


def run(wish: Wish, folder: Path) -> int:
    """Start the container's program, in another container like it, under the tool; its exit status.

    Raises DebugrunError.
    """
    tool = catalog.load_file(wish.tool_file, called=wish.tool) if wish.tool_file else catalog.load(wish.tool, folder)
    way = tool.launch(wish.mode)
    with engines.connect() as connection, apply.ending():
        before = _with_command(named.container(connection, wish.like), wish.command)
        facts, base = restart_under.facts_of(connection, before)
        decision = launch.decide(tool, launch.wanted(way, aslr=wish.aslr), facts, wish.ceiling, base)
        if (option := decision.option) is None:
            raise RefusedError("refused", *report.refusal(decision))
        request = Request(tool=wish.tool, container=wish.like, args=wish.args, image=wish.tool_image)
        under = restart_under.under_tool(connection, before, request, tool, way, decision, aslr=wish.aslr)
        given = replace(option, placement=Placement.RUN, cap_add=launch.added(option, base))
        profile = profile_json(option, facts)
        drawn = with_grant(
            _alone(connection, before, facts.engine.name), given, profile_json=profile, mounts=under.mounts
        )
        start = (under.entrypoint, under.command)
        name = f"debugrun-{tool.name}-{os.urandom(5).hex()}"
        what = launch_report.what(option, base).removeprefix("run ")
        print(f"debugrun: run like {wish.like} {what}, started under {tool.name}", file=sys.stderr)
        for lost in _shared(before, wish.like):
            print(f"debugrun: note: {lost}", file=sys.stderr)
        with contextlib.ExitStack() as undo:
            made = recreate.in_foreground(drawn, start, terminal=restart_under.terminal())
            undo.callback(_discard, connection, _create(connection, made, name, wish))
            status = foreground.run(
                connection,
                name,
                name=name,
                tty=restart_under.terminal(),
                detach_keys=wish.detach_keys,
                removed=wish.remove,
                unsaid=tool.unsaid,
            )
            undo.pop_all()
            return status


def _with_command(before: Json, command: tuple[str, ...]) -> Json:
    if not command:
        return before
    return {**before, "Config": {**json_access.mapping(before, "Config"), "Cmd": list(command)}}


def _alone(connection: Engine, before: Json, engine: str) -> Blueprint:
    """What creates one like it that can stand beside it."""
    image = connection.inspect_image(json_access.text(before, "Image"))
    others = [connection.inspect_container(str(each["Id"])) for each in connection.list_containers(everything=True)]
    plain = blueprint(before, image, api=versions.two(connection.client.api_version), engine=engine, others=others)
    host = {**json_access.mapping(plain.body, "HostConfig"), **ALONE, "AutoRemove": False}
    body = {key: value for key, value in plain.body.items() if key != "MacAddress"}
    networking = json_access.mapping(json_access.mapping(body, "NetworkingConfig"), "EndpointsConfig")
    if networking:
        body["NetworkingConfig"] = {"EndpointsConfig": {net: _plainly(networking, net) for net in networking}}
    joined = tuple((net, _plainly({net: endpoint}, net)) for net, endpoint in plain.networks)
    return replace(plain, body={**body, "HostConfig": host}, networks=joined)


def _plainly(endpoints: Json, network: str) -> Mapping[str, object]:
    endpoint = json_access.mapping(endpoints, network)
    return {key: value for key, value in endpoint.items() if key not in OWN}


def _shared(before: Json, name: str) -> list[str]:
    """What to know of a container that lives on the other one's data."""
    writes = [
        json_access.text(each, "Destination") for each in json_access.maps(before, "Mounts") if each.get("RW") is True
    ]
    found = [f"it shares with {name}, and can write to: {', '.join(writes)}"] if writes else []
    host = json_access.mapping(before, "HostConfig")
    if json_access.mapping(host, "PortBindings") or host.get("PublishAllPorts"):
        found.append("its ports are not published")
    return found


def _create(connection: Engine, drawn: Blueprint, name: str, wish: Wish) -> str:
    labels = ownership.marked(kinds.PROGRAM if wish.remove else kinds.LASTING, name, {LABEL_TOOL: wish.tool})
    labelled = with_labels(drawn, labels)
    host = {**json_access.mapping(labelled.body, "HostConfig"), "AutoRemove": wish.remove}
    body = {**labelled.body, "HostConfig": host}
    with ownership.creating(connection, name, labels):
        with connection.asking("create a container like", wish.like):
            create = connection.client.create_container_from_config
            made = connection.created(create(body, name, drawn.platform or None))  # type: ignore[no-untyped-call]
        for network, endpoint in drawn.networks:
            recreate.connect(connection, network, made, endpoint)
    return made


def _discard(connection: Engine, container: str) -> None:
    with contextlib.suppress(DebugrunError):
        connection.remove(container, force=True)
