"""A compose project that hangs, made of Debian packages: web (gunicorn) asks worker (Python), and that db (PostgreSQL).

The worker has left a transaction open, as a bug does, and a second connection of its own waits for that row's lock.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import docker

NOBODY = "65534:65534"
DATABASE = """\
export PATH=$PATH:$(echo /usr/lib/postgresql/*/bin)
initdb -D /tmp/data -A trust -U postgres --locale C --encoding UTF8 >/dev/null
echo 'host all all all trust' >>/tmp/data/pg_hba.conf
exec postgres -D /tmp/data -c listen_addresses='*' -c unix_socket_directories=/tmp -c fsync=off
"""
WORKER = """\
import http.server, psycopg2, time

def connect():
    while True:
        try:
            return psycopg2.connect(host="db", user="postgres", password="hunter2", application_name="worker")
        except psycopg2.OperationalError:
            time.sleep(0.1)

def settle_the_account(connection):
    connection.cursor().execute("update account set amount = amount + 1")

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        settle_the_account(connect())

first = connect()
first.cursor().execute("create table account (amount int)")
first.cursor().execute("insert into account values (0)")
first.commit()
settle_the_account(first)  # never committed
http.server.HTTPServer(("", 8000), Handler).serve_forever()
"""
WEB = """\
import urllib.request

def application(environ, start_response):
    if environ["PATH_INFO"] == "/health":
        start_response("200 OK", [])
        return [b"well"]
    urllib.request.urlopen("http://worker:8000/")
"""
ASK = """\
import socket, time
while True:  # until it hangs
    try:
        connection = socket.create_connection(("web", 8080))
        connection.sendall(b"GET /settle HTTP/1.0\\r\\n\\r\\n")
        connection.recv(1)
    except OSError:
        pass
    time.sleep(0.1)
"""
PYTHON = ["python3", "-u", "-c"]
GUNICORN = ["gunicorn", "--workers", "4", "--bind", "0.0.0.0:8080", "--worker-tmp-dir", "/dev/shm", "--chdir", "/tmp"]  # noqa: S108


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    """The project's name, and its containers by service."""

    name: str
    containers: dict[str, str]


@contextmanager
def project(engine: docker.APIClient, image: str) -> Iterator[Project]:
    """Start it, and give it once it hangs."""
    name = f"hang{uuid.uuid4().hex[:8]}"
    network = engine.create_network(name)["Id"]
    write = f"import os, sys; open('/tmp/web.py', 'w').write({WEB!r}); os.execvp('gunicorn', sys.argv[1:])"
    services = {
        "db": ["sh", "-c", DATABASE],
        "worker": [*PYTHON, WORKER],
        "web": [*PYTHON, write, *GUNICORN, "web:application"],
        "client": [*PYTHON, ASK],
    }
    try:
        made = {service: _create(engine, image, name, service, command) for service, command in services.items()}
        for each in made.values():
            engine.start(each)
        _await(lambda: "UPDATE waiting" in _titles(engine, made["db"]), lambda: _logs(engine, made))
        yield Project(name=name, containers=made)
    finally:
        for each in engine.containers(all=True, filters={"label": f"com.docker.compose.project={name}"}):
            engine.remove_container(each["Id"], force=True)
        engine.remove_network(network)


def _create(engine: docker.APIClient, image: str, project_name: str, service: str, command: list[str]) -> str:
    made = engine.create_container(
        image, command, name=f"{project_name}-{service}-1", user=NOBODY,
        host_config=engine.create_host_config(network_mode=project_name, cap_drop=["ALL"]),
        networking_config={"EndpointsConfig": {project_name: {"Aliases": [service]}}},
        labels={"com.docker.compose.project": project_name, "com.docker.compose.service": service},
    )  # fmt: skip
    return str(made["Id"])


def _titles(engine: docker.APIClient, container: str) -> str:
    try:
        return str(engine.top(container, "-eo pid,args"))
    except docker.errors.APIError:
        return ""


def _logs(engine: docker.APIClient, made: dict[str, str]) -> str:
    return "\n".join(f"{service}: {engine.logs(each).decode()[-1000:]}" for service, each in made.items())


def _await(true: Callable[[], bool], said: Callable[[], str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, said()
        time.sleep(0.2)
