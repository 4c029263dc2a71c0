"""The images of the test targets: `python -m tests.host.images` makes those that are missing or out of date."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import docker
from docker.errors import DockerException

from debugrun.errors import DebugrunError
from debugrun.toolbox import rootfs
from tests.host.state import HostError

REPOSITORY = Path(__file__).parents[2]
DOCKERFILE = REPOSITORY / "Dockerfile.test"
SOURCES = REPOSITORY / "tests/targets"
LABEL = "debugrun.test"
SUITE = "trixie"
PACKAGES = (
    "binutils", "busybox-static", "gcc", "gdb", "libc6-dev", "musl-tools", "python3-minimal", "strace", "tini",
)  # fmt: skip
DATABASE = ("busybox-static", "postgresql", "strace")  # a real service, for tests that recreate it
SERVICES = ("busybox-static", "gunicorn", "nginx-light", "postgresql", "python3-psycopg2")  # that wait for each other
SOURCE = "DEBUGRUN_TEST_IMAGES"  # DOCKER_HOST of an engine that has images built already
FOREIGN = ("busybox-static", "gcc", "gcc-multilib", "libc6-dev")  # a 32-bit libc, and another build of the 64-bit one
FOREIGN_SUITE = "bookworm"
OURS = ("debugrun-test/", "debugrun-toolbox:")


def build(client: docker.APIClient) -> None:
    """Have all images of Dockerfile.test. Raises HostError."""
    base = _base_name()
    digest = _digest(base)
    missing = [stage for stage in _stages() if _label(client, f"debugrun-test/{stage}:latest") != digest]
    if not missing:
        return
    _have_base(client, base)
    context = _context()
    for stage in missing:
        _say(f"building target image {stage}")
        _build(client, context, tag=f"debugrun-test/{stage}:latest", target=stage, base=base, digest=digest)


def share(client: docker.APIClient) -> None:
    """Take over what the engine of SOURCE has got built; what it lacks is made here, as without one."""
    source = os.environ.get(SOURCE)
    if source is None:
        return
    with contextlib.closing(docker.APIClient(base_url=source, timeout=600)) as other:
        there = {tag: each["Id"] for each in other.images() for tag in each["RepoTags"] or ()}
        here = {tag: each["Id"] for each in client.images() for tag in each["RepoTags"] or ()}
        ours = [tag for tag, number in there.items() if tag.startswith(OURS) and here.get(tag) != number]
        if ours:
            # One archive, which docker-py does not offer: the layers that they share are sent once.
            answer = other.get(f"{other.base_url}/images/get", params={"names": ours}, stream=True)
            answer.raise_for_status()
            for _ in client.load_image(answer.raw.stream(1 << 20)):  # type: ignore[no-untyped-call]
                pass


def opened(client: docker.APIClient, toolbox: str, name: str = "debugrun-test/open-toolbox:latest") -> str:
    """An image as the toolbox, but with programs that everybody may read; its name."""
    digest = str(client.inspect_image(toolbox)["Id"])  # type: ignore[no-untyped-call]
    if _label(client, name) == digest:
        return name
    text = f'FROM {toolbox}\nUSER 0\nRUN ["/bin/busybox", "chmod", "-R", "a+r", "/usr/bin", "/usr/sbin", "/usr/lib"]\n'
    _build(client, _alone(text), tag=name, target=None, base="", digest=digest)
    return name


def _alone(dockerfile: str) -> bytes:
    """A build context of nothing but that."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        info = tarfile.TarInfo("Dockerfile")
        info.size = len(dockerfile)
        tar.addfile(info, io.BytesIO(dockerfile.encode()))
    return context.getvalue()


def names() -> list[str]:
    """All images of Dockerfile.test."""
    return [f"debugrun-test/{stage}:latest" for stage in _stages()]


def _stages() -> list[str]:
    return re.findall(r"^FROM .* AS (?!build$)(\w+)$", DOCKERFILE.read_text(), re.MULTILINE)


def database(client: docker.APIClient) -> str:
    """Have an image with DATABASE; its name. Raises HostError."""
    name = _base_name(DATABASE, "postgres")
    _have_base(client, name, DATABASE)
    return name


def services(client: docker.APIClient) -> str:
    """Have an image with SERVICES; its name. Raises HostError."""
    name = _base_name(SERVICES, "services")
    _have_base(client, name, SERVICES)
    return name


def foreign(client: docker.APIClient) -> str:
    """Have an image whose programs are not the toolbox's kind; its name. Raises HostError.

    /opt/crowd and /opt/crowd32 are tests/targets/crowd.c for another glibc than the toolbox's, and for 32 bits.
    """
    base = _base_name(FOREIGN, "foreign-base", FOREIGN_SUITE)
    digest = _digest(base)
    name = "debugrun-test/foreign:latest"
    if _label(client, name) == digest:
        return name
    _have_base(client, base, FOREIGN, FOREIGN_SUITE)
    text = """ARG BASE
FROM $BASE
COPY tests/targets/crowd.c /opt/
RUN gcc -g -O1 -o /opt/crowd /opt/crowd.c
RUN busybox ln -sf usr/lib32 /lib32 && gcc -m32 -g -O1 -o /opt/crowd32 /opt/crowd.c
"""
    _build(client, _context(text), tag=name, target=None, base=base, digest=digest)
    return name


def _base_name(packages: Sequence[str] = PACKAGES, repository: str = "base", suite: str = SUITE) -> str:
    recipe = repr((suite, packages, Path(rootfs.__file__).read_text()))
    return f"debugrun-test/{repository}:{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def _digest(base: str) -> str:
    files = [DOCKERFILE, *sorted(path for path in SOURCES.rglob("*") if path.is_file())]
    return hashlib.sha256(base.encode() + b"".join(path.read_bytes() for path in files)).hexdigest()


def _label(client: docker.APIClient, name: str) -> str | None:
    for image in client.images(name=name):
        return (image["Labels"] or {}).get(LABEL)
    return None


def _have_base(client: docker.APIClient, name: str, packages: Sequence[str] = PACKAGES, suite: str = SUITE) -> None:
    if client.images(name=name):
        return
    mirror = rootfs.mirror()
    if mirror is None:
        _base_from_registry(client, name, packages, suite)
        return
    _say(f"making {name} from {len(packages)} Debian packages and their dependencies")
    architecture = client.version()["Arch"]
    with tempfile.TemporaryDirectory(prefix="debugrun-") as scratch:
        archive = rootfs.Archive(mirror=mirror, suite=suite, architecture=architecture)
        debs = rootfs.download(archive, packages, Path(scratch))
        path = Path(scratch) / "root.tar"
        with path.open("wb") as out:
            rootfs.write(debs, out)
        repository, tag = name.split(":")
        client.import_image(str(path), repository=repository, tag=tag, changes=['CMD ["/bin/sh"]'])


def _base_from_registry(client: docker.APIClient, name: str, packages: Sequence[str], suite: str) -> None:
    base = f"debian:{suite}-slim"
    _say(f"making {name} from {base}")
    text = f"FROM {base}\nRUN apt-get update && apt-get install -y --no-install-recommends {' '.join(packages)}\n"
    _build(client, _alone(text), tag=name, target=None, base=base, digest="")


def _context(dockerfile: str | None = None) -> bytes:
    """A build context of the targets' sources, with their own Dockerfile or that text."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        if dockerfile is None:
            tar.add(DOCKERFILE, "Dockerfile")
        else:
            info = tarfile.TarInfo("Dockerfile")
            info.size = len(dockerfile)
            tar.addfile(info, io.BytesIO(dockerfile.encode()))
        tar.add(SOURCES, "tests/targets")
    return context.getvalue()


def _build(  # noqa: PLR0913 - the parts of one request
    client: docker.APIClient, context: bytes, *, tag: str, target: str | None, base: str, digest: str
) -> None:
    answers = client.build(
        fileobj=io.BytesIO(context), custom_context=True, tag=tag, target=target, buildargs={"BASE": base},
        labels={LABEL: digest}, rm=True, forcerm=True, decode=True,
    )  # fmt: skip
    said = []
    for answer in answers:
        said.append(answer.get("stream", ""))
        if "error" in answer:
            raise HostError(f"{tag} was not built: {answer['error']}\n{''.join(said[-20:])}")


def _say(text: str) -> None:
    print(f"images: {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Build with the engine of the environment."""
    try:
        build(docker.from_env(timeout=600).api)
    except (HostError, DebugrunError, DockerException) as error:
        sys.exit(f"images: {error}")


if __name__ == "__main__":
    main()
