"""`debugrun facts`: what was observed."""

from __future__ import annotations

from debugrun.cli.options import Comm, Container, HostPid, Json, Pid, interruptible
from debugrun.core.ask.request import Request
from debugrun.core.know.facts import dump
from debugrun.core.say import report
from debugrun.engine import engine
from debugrun.observe.target import look


@interruptible
def facts(
    *,
    container: Container,
    pid: Pid = None,
    host_pid: HostPid = None,
    name: Comm = None,
    as_json: Json = False,
) -> None:
    """Show what was observed of the engine, the host, the container and the process; never a secret."""
    request = Request(tool="", container=container, pid=pid, host_pid=host_pid, comm=name)
    show_facts(request, as_json=as_json)


def show_facts(request: Request, *, as_json: bool) -> None:
    """Print what was observed."""
    with engine.connect() as connection:
        found = look(connection, request, None)
    print(dump(found) if as_json else report.facts_text(found))
