"""What a tool does not ask for, it is not given: neither a place beside the process, nor the process' user."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from debugrun.core.grants import Verdict
from debugrun.engine.engine import Engine, connect
from tests.trials import NOBODY, TCPDUMP, Bench

pytestmark = pytest.mark.live


@pytest.fixture
def connection(toolbox: str) -> Iterator[Engine]:
    assert toolbox
    with connect() as engine:
        yield engine


@pytest.mark.parametrize("service", ["root", "u1000"])
def test_who_looks_at_packets_can_not_see_the_process(  # noqa: PLR0913, PLR0917 - fixtures
    service: str,
    connection: Engine,
    engine: docker.APIClient,
    target: Callable[[str], str],
    assert_harmless: Callable[[str], None],
    tmp_path: Path,
) -> None:
    """Its place has the target's network, nobody's uid and a PID namespace that holds no process but its own."""
    container = target(service)
    bench = Bench(connection, container, tmp_path)
    option = bench.decide(TCPDUMP)[1].option
    assert option is not None
    assert (option.user, option.pid_namespace, option.verdict) == (NOBODY, "own", Verdict.OPEN)
    with bench.placed(option, TCPDUMP) as place:
        assert not isinstance(place, str)
        made = engine.inspect_container(place.container)
        assert made["HostConfig"]["PidMode"] in {"", "private"}
        assert made["HostConfig"]["NetworkMode"] == f"container:{container}"
        seen = engine.exec_create(place.container, ["busybox", "sh", "-c", "cat /proc/[0-9]*/comm"])["Id"]
        assert set(engine.exec_start(seen).split()) <= {b"sh", b"cat"}
    assert_harmless(container)
