"""A real database, written to all the time, is recreated under strace and put back: no acknowledged row is missing."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from tests.host import images

pytestmark = [pytest.mark.live, pytest.mark.slow]

NOBODY = "65534:65534"
SERVER = """\
export PATH=$PATH:$(echo /usr/lib/postgresql/*/bin)
if [ ! -e /data/PG_VERSION ]; then
    initdb -D /data -A trust -U postgres --locale C --encoding UTF8
    echo 'host all all all trust' >>/data/pg_hba.conf
fi
exec postgres -D /data -c listen_addresses='*' -c unix_socket_directories=/tmp
"""
# psql ends when the server does: then another one goes on. Only what it has printed was acknowledged.
CLIENT = """\
export PATH=$PATH:$(echo /usr/lib/postgresql/*/bin) PGCONNECT_TIMEOUT=2
until psql -h db -U postgres -qc 'create table acknowledged (id bigint primary key)'; do busybox sleep 0.2; done
n=0
while :; do
    while :; do
        n=$((n + 1))
        echo "insert into acknowledged values ($n) returning id;"
        busybox usleep 2000
    done | psql -h db -U postgres -qAt -v ON_ERROR_STOP=1
    n=$((n + 1000000))
done 2>/dev/null
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Database:
    client: docker.APIClient
    name: str
    writer: str

    def acknowledged(self) -> set[int]:
        """What the client was told is written."""
        lines = self.client.logs(self.writer, stdout=True, stderr=False).decode().splitlines()
        return {int(line) for line in lines if line.isdigit()}

    def await_more(self, than: int) -> int:
        deadline = time.monotonic() + 90
        while (count := len(self.acknowledged())) <= than:
            assert time.monotonic() < deadline, self.client.logs(self.name).decode()[-2000:]
            time.sleep(0.2)
        return count

    def stored(self) -> set[int]:
        script = "exec $(echo /usr/lib/postgresql/*/bin/psql) -h /tmp -U postgres -qAt -c 'select id from acknowledged'"
        made = self.client.exec_create(self.name, ["sh", "-c", script])
        return {int(line) for line in self.client.exec_start(made["Id"]).decode().split()}


@pytest.fixture
def database(engine: docker.APIClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setenv("DEBUGRUN_STATE", str(tmp_path / "recreated"))
    image = images.database(engine)
    name = f"debugrun-recreate-{uuid.uuid4().hex[:8]}"
    network = engine.create_network(name)["Id"]
    joined = {"EndpointsConfig": {name: {"Aliases": ["db"]}}}
    host = engine.create_host_config(
        binds=[f"{name}:/data"], network_mode=name, cap_drop=["ALL"], restart_policy={"Name": "unless-stopped"}
    )
    owner = engine.create_container(
        image, ["busybox", "chown", NOBODY, "/data"], name=f"{name}-owner",
        host_config=engine.create_host_config(binds=[f"{name}:/data"]),
    )  # fmt: skip
    made = []
    try:
        engine.start(owner)
        engine.wait(owner)
        made.append(engine.create_container(
            image, ["sh", "-c", SERVER], name=name, user=NOBODY, stop_timeout=30, stop_signal="SIGINT",
            host_config=host, networking_config=joined,
        )["Id"])  # fmt: skip
        made.append(engine.create_container(
            image, ["sh", "-c", CLIENT], name=f"{name}-client", stop_timeout=0,
            host_config=engine.create_host_config(network_mode=name),
        )["Id"])  # fmt: skip
        for each in made:
            engine.start(each)
        yield Database(client=engine, name=name, writer=made[1])
    finally:
        for each in engine.containers(all=True, filters={"name": name}):
            engine.remove_container(each["Id"], force=True)
        engine.remove_network(network)
        engine.remove_volume(name)


def test_no_acknowledged_row_is_missing(
    database: Database,
    debugrun: Callable[..., subprocess.CompletedProcess[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, client = database.name, database.client
    original = client.inspect_container(name)["Id"]
    counts = [database.await_more(20)]
    done = debugrun("strace", name, "--via", "recreate", "--yes", "--duration", "3", timeout=120)
    assert "here as" in done.stderr, done.stderr
    assert "epoll_wait" in done.stderr + done.stdout, done.stderr
    assert client.inspect_container(name)["Id"] != original
    counts.append(database.await_more(counts[-1] + 20))
    back = debugrun("restore", name, status=0, timeout=120)
    assert client.inspect_container(name)["Id"] == original
    counts.append(database.await_more(counts[-1] + 20))
    client.stop(database.writer)
    acknowledged, stored = database.acknowledged(), database.stored()
    assert acknowledged <= stored
    said = [line for text in (done.stderr, back.stderr) for line in text.splitlines() if "down for" in line]
    with capsys.disabled():
        print(f"\n{len(acknowledged)} acknowledged rows, all stored ({counts} in turn)", *said, sep="\n")
