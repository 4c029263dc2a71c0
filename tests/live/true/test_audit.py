"""`debugrun audit` on containers that hold too much."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import docker
import pytest

from tests.conftest import Completed

pytestmark = pytest.mark.live
Run = Callable[..., Completed]


@pytest.fixture
def wide(engine: docker.APIClient, targets: Mapping[str, str]) -> Iterator[str]:
    """A container with SYS_PTRACE and no filter, whose label tries to steer a terminal."""
    assert targets
    host = engine.create_host_config(cap_add=["SYS_PTRACE"], security_opt=["seccomp=unconfined"], network_mode="none")
    made = engine.create_container("debugrun-test/app", host_config=host, labels={"x": "\x1b[31m"}, user="1000:1000")
    engine.start(made["Id"])
    yield made["Id"]
    engine.remove_container(made["Id"], force=True)


def findings(done: Completed, container: str) -> dict[str, Any]:
    rows = json.loads(done.stdout)["containers"]
    return next((row for row in rows if row["id"] == container), {})


def test_grants_are_listed_with_what_is_enough(debugrun: Run, wide: str, target: Callable[[str], str]) -> None:
    done = debugrun("audit", "--json", status=0)
    found = findings(done, wide)
    assert {each["grant"] for each in found["findings"]} == {"SYS_PTRACE", "seccomp"}
    assert [each["needed"] for each in found["findings"] if each["grant"] == "seccomp"] == [False]
    assert "seccomp=debugrun.json" in found["instead"]
    assert findings(done, target("root")) == {}
    assert json.loads(done.stdout)["complete"] is True


def test_a_level_fails_and_the_table_is_plain(debugrun: Run, wide: str) -> None:
    assert debugrun("audit", "--fail-on", "medium", status=1).stdout
    done = debugrun("audit", COLUMNS="240", status=0)
    assert "seccomp (medium): NOT NEEDED" in " ".join(done.stdout.split())
    assert "\x1b" not in done.stdout
    log = json.loads(debugrun("audit", "--sarif", status=0).stdout)
    assert wide in {
        each["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] for each in log["runs"][0]["results"]
    }


def test_an_engine_that_does_not_answer_is_no_clean_bill(debugrun: Run, tmp_path: Any) -> None:  # noqa: ANN401 - pytest's
    socket = f"unix://{tmp_path}/nobody.sock"
    assert "nobody.sock" in debugrun("audit", DOCKER_HOST=socket, status=125).stderr
