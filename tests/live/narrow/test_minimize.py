"""`debugrun minimize` on real containers: what it finds is known beforehand, and each part of it is needed."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.conftest import Completed
from tests.host import compose
from tests.workloads import IMAGE, WORKLOADS, Workload

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(shutil.which("docker") is None, reason="no docker client here: install docker-cli"),
]
Run = Callable[..., Completed]
QUICK = {"ping", "gdb with fixed addresses"}


def cases() -> list[Any]:
    return [
        pytest.param(each, id=each.name.replace(" ", "-"), marks=[] if each.name in QUICK else [pytest.mark.slow])
        for each in WORKLOADS
    ]


def ours(engine: docker.APIClient) -> list[str]:
    return [str(each["Names"]) for each in engine.containers(all=True, filters={"label": "debugrun.tool=minimize"})]


@pytest.mark.parametrize("workload", cases())
def test_the_known_minimum_is_found(
    engine: docker.APIClient, debugrun: Run, targets: Mapping[str, str], tmp_path: Path, workload: Workload
) -> None:
    assert targets
    profile = tmp_path / "profile.json"
    done = debugrun("minimize", "--json", "-o", str(profile), "--", *workload.line, timeout=900, status=0)
    found = json.loads(done.stdout)
    assert set(found["needed"]) == workload.needed, done.stderr
    assert all(found["needed"].values()), "each part that is needed has what failed without it"
    assert profile.exists() == any(each.startswith("call:") for each in workload.needed)
    again = subprocess.run(shlex.split(found["line"]), capture_output=True, text=True, check=False, timeout=60)
    assert again.returncode == 0, again.stderr
    print(f"minimize {workload.name}: {found['runs']} runs for {found['parts']} parts")
    assert found["runs"] <= found["parts"] + 2 or len(workload.needed) > 2
    assert ours(engine) == []


def test_a_service_is_minimized_by_its_check(
    engine: docker.APIClient, debugrun: Run, targets: Mapping[str, str]
) -> None:
    assert targets
    code = "import os, time; os.setgid(9); os.setuid(9); open('/tmp/up', 'w').close(); time.sleep(600)"
    line = ["docker", "run", "--network", "none", "--cap-drop", "ALL", "--cap-add", "SETUID", "--cap-add", "SETGID",
            "--cap-add", "SYS_PTRACE", IMAGE, "python3", "-c", code]  # fmt: skip
    done = debugrun(
        "minimize",
        "--json",
        "--check",
        "python3 -c 'import os; os.stat(\"/tmp/up\")'",
        "--",
        *line,
        timeout=300,
        status=0,
    )
    assert set(json.loads(done.stdout)["needed"]) == {"cap:SETUID", "cap:SETGID", "root"}
    assert ours(engine) == []


PROJECT = """\
services:
  web:
    image: debugrun-test/full
    network_mode: none
    pull_policy: never
    cap_drop: [ALL]
    cap_add: [SETUID, SETGID, SYS_PTRACE]
    command: [python3, -c, "import os, time; os.setgid(9); os.setuid(9); open('/tmp/up', 'w').close(); time.sleep(600)"]
"""


def test_a_service_of_a_project_is_minimized(
    engine: docker.APIClient, debugrun: Run, targets: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--compose SERVICE`, read by Compose itself, and the answer as a Compose file."""
    assert targets
    (tmp_path / "compose.yaml").write_text(PROJECT)
    monkeypatch.chdir(tmp_path)
    program = Path(compose.command()[-1])
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    check = "python3 -c 'import os; os.stat(\"/tmp/up\")'"
    line = ("minimize", "--compose", "web", "--check", check, "--to", "compose", "--json")
    found = json.loads(debugrun(*line, timeout=400, status=0).stdout)
    assert set(found["needed"]) == {"cap:SETUID", "cap:SETGID", "root"}
    assert found["exports"]["compose"].startswith("services:\n  web:\n")
    assert ours(engine) == []


def test_what_does_not_pass_as_it_is_is_refused(engine: docker.APIClient, debugrun: Run) -> None:
    code = r"import sys; sys.stderr.write('\x1b[31mno\n'); sys.exit(3)"
    done = debugrun("minimize", "--", "docker", "run", "--network", "none", IMAGE, "python3", "-c", code, status=126)
    assert "[31mno" in done.stderr
    assert "the line does not pass as it is" in done.stderr
    assert "\x1b" not in done.stderr
    assert ours(engine) == []


def test_volumes_are_not_written_to_unsaid(debugrun: Run) -> None:
    done = debugrun("minimize", "--", "docker", "run", "-v", "data:/data", IMAGE, "true", status=2)
    assert "every run would write to data" in done.stderr


def test_secrets_of_the_line_are_not_printed(engine: docker.APIClient, debugrun: Run) -> None:
    line = [
        "docker",
        "run",
        "--network",
        "none",
        "--cap-drop",
        "ALL",
        "-u",
        "5",
        "-e",
        "TOKEN=s3cr3t",
        IMAGE,
        "python3",
        "-c",
        "",
    ]
    done = debugrun("minimize", "--", *line, status=0)
    assert "s3cr3t" not in done.stdout + done.stderr
    assert ours(engine) == []


def test_an_interrupt_leaves_no_container(engine: docker.APIClient, targets: Mapping[str, str]) -> None:
    assert targets
    program = Path(sys.executable).with_name("debugrun")
    line = ["docker", "run", "--network", "none", IMAGE, "python3", "-c", "import time; time.sleep(600)"]
    with subprocess.Popen([program, "minimize", "--within", "500", "--", *line], stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not ours(engine):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert ours(engine) == []
