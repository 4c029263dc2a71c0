"""An engine that is ended and starts again under running containers: nobody dies of that under a debugger."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from debugrun.core.ask.request import TOOLBOX
from tests.conftest import Completed
from tests.host import engines, private
from tests.host.state import HostError
from tests.live import crowds, harm
from tests.live.crowds import Kind, Worker
from tests.live.harm import Trial
from tests.live.victims import IMAGE

pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    # A connection that its engine broke is left to the collector by docker-py.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module", params=["docker-20.10", "docker-26.1", "docker-28.5"])
def restored(request: pytest.FixtureRequest, engine: docker.APIClient, toolbox: str) -> Iterator[tuple[str, str]]:
    """(name, DOCKER_HOST) of an engine with live-restore."""
    name = f"{request.param}-restore"
    try:
        host = engines.up(name)
    except HostError as error:
        pytest.skip(str(error))
    client = docker.APIClient(host, timeout=120)
    assert toolbox
    private.copy_images((TOOLBOX, IMAGE), engine, client)
    client.close()
    yield name, host
    engines.down(name)


def state(worker: Worker) -> str:
    """One letter of proc_pid_status(5)."""
    return crowds.fields(Path(f"/proc/{worker.host_pid}/status"))["State"][0]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda each: each.name)
@pytest.mark.parametrize("tool", ["gdb break"])
def test_dockerd_is_restarted_under_a_debugger(
    restored: tuple[str, str],
    tool: str,
    number: signal.Signals,
    debugrun: Callable[..., Completed],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, host = restored
    monkeypatch.setenv("DOCKER_HOST", host)
    with (
        contextlib.closing(docker.APIClient(host, timeout=120)) as client,
        crowds.worker(client, Kind(does="calls")) as worker,
    ):
        before = worker.look()
        case = Trial(tool=tool, kind=worker.kind, end="client TERM", moment="at work", delay=0.0, pause=0.0)
        with harm.client(worker, case) as (process, _):
            crowds.until(worker.tracer, harm.ATTACHES)
            crowds.until(lambda: state(worker) == "t", harm.ATTACHES)
            crowds.until(lambda: state(worker) in "SR", harm.ATTACHES)  # breakpoints are in
            engines.restart(name, number)
            _, said = process.communicate(timeout=2 * harm.SETTLES)
        crowds.until(lambda: not worker.tracer(), harm.SETTLES)
        debugrun("gc", DOCKER_HOST=host, status=0)
        after, left = worker.settled(before, harm.SETTLES)
        assert (harm.difference(before, after), left) == ("", []), said
        assert process.returncode == 125, said
        assert b"broke the connection" in said
