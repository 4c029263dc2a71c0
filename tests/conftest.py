"""Fixtures for tests on real containers: the engine, the toolbox, the targets, the command line."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import docker
import hypothesis
import pytest

from debugrun.toolbox import catalog
from debugrun.toolbox import image as product_toolbox
from tests.host import compose, images
from tests.host import engine as host_engine
from tests.host.state import LANE, HostError

Completed = subprocess.CompletedProcess[str]
SERVICE = "com.docker.compose.service"
PROJECT = "com.docker.compose.project"

# How fast an example is says what else the machine does, and nothing of the product.
hypothesis.settings.register_profile("debugrun", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("debugrun")

# Started by nohup or in the background of a script we inherit ignored signals, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)

# GNU readline, which pytest loads, puts the size of a terminal into the environment of whatever is started from here,
# past os.environ: what goes to a pipe would be broken at 80 columns.
with contextlib.suppress(ImportError):
    import readline  # noqa: F401 - before it is taken back
for variable in ("COLUMNS", "LINES"):
    if variable not in os.environ:
        os.unsetenv(variable)


LANES = 3  # on two cores: most of a test is waiting for an engine


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Several lanes only where each can have a private engine of its own, and there is more than a file to run."""
    private = os.environ.get("DOCKER_HOST") == host_engine.address()
    alone = len(config.args) == 1 and Path(config.args[0].partition("::")[0]).is_file()
    return LANES if private and not alone else 0


def pytest_configure(config: pytest.Config) -> None:
    """A worker of xdist is a lane: its engine is not the one that started the run, but that one's images are."""
    worker = getattr(config, "workerinput", {}).get("workerid")
    if worker is not None:
        os.environ[images.SOURCE] = os.environ.pop("DOCKER_HOST")
        os.environ[LANE] = worker


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.APIClient]:
    """The engine's client; DOCKER_HOST leads there for the whole session. Absent: skipped, under CI failed."""
    try:
        host = host_engine.up() if os.environ.get(LANE) else host_engine.find()
    except HostError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    with pytest.MonkeyPatch.context() as patch:
        if host:
            patch.setenv("DOCKER_HOST", host)
        client = docker.from_env(timeout=120)
        images.share(client.api)
        yield client.api
        client.close()


@pytest.fixture(scope="session")
def toolbox(engine: docker.APIClient) -> str:
    """Reference of the toolbox image, made when missing."""
    recipe = product_toolbox.recipe(catalog.load(name) for name in catalog.names())
    return product_toolbox.build(engine, recipe, print)


@pytest.fixture(scope="session")
def open_toolbox(engine: docker.APIClient, toolbox: str) -> str:
    """The toolbox with programs that can be read: as a container's own image, what a tool starts must be."""
    return images.opened(engine, toolbox)


@pytest.fixture(scope="session")
def docker_compose_file() -> str:
    return str(Path(__file__).with_name("compose.yaml"))


@pytest.fixture(scope="session")
def docker_compose_command(engine: docker.APIClient) -> str:
    images.build(engine)
    return " ".join(compose.command())


@pytest.fixture(scope="session")
def docker_setup() -> str:
    return "up --no-build --pull never --detach"


@pytest.fixture(scope="session")
def docker_cleanup() -> str:
    return "down --volumes --timeout 0"


@pytest.fixture(scope="session")
def targets(engine: docker.APIClient, docker_services: object, docker_compose_project_name: str) -> Mapping[str, str]:
    """Full container id of each compose service."""
    assert docker_services is not None
    found = engine.containers(filters={"label": f"{PROJECT}={docker_compose_project_name}"})
    return {each["Labels"][SERVICE]: each["Id"] for each in found}


@pytest.fixture(scope="session")
def target(targets: Mapping[str, str]) -> Callable[[str], str]:
    """Service name -> full container id."""
    return targets.__getitem__


@pytest.fixture(scope="session")
def debugrun(engine: docker.APIClient) -> Callable[..., Completed]:
    """Run the installed command line: debugrun("gdb", "web"); `status` checks the exit status."""
    assert engine is not None
    program = Path(sys.executable).with_name("debugrun")

    def run(*args: str, stdin: str = "", timeout: float = 60, status: int | None = None, **env: str) -> Completed:
        done = subprocess.run(
            [program, *args], input=stdin, capture_output=True, text=True, errors="replace", check=False,
            timeout=timeout, env={**os.environ, **env},
        )  # fmt: skip
        assert status in {None, done.returncode}, f"{done.args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run
