"""Images for the slow tests: one with every tool, also those that the toolbox leaves out, and a target in Go.

They are made of Debian packages and cost half a minute and a gigabyte once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import tarfile
import tempfile
from pathlib import Path

import docker

from debugrun.toolbox import catalog, image, rootfs
from tests.host.state import HostError

TOOLS = "debugrun-test/tools:latest"
GO = "debugrun-test/go:latest"
JAVA = ("/usr/lib/jvm/java-21-openjdk-amd64/bin/java", "-Xmx64m", "-m", "jdk.httpserver", "-b", "127.0.0.1")
COMPILER = ("busybox-static", "golang-go")
SOURCE = Path(__file__).parents[1] / "targets" / "worker.go"
DOCKERFILE = """FROM {base} AS build
COPY worker.go /src/
RUN cd /src && HOME=/tmp CGO_ENABLED=0 go build -o /out/worker worker.go
FROM scratch
COPY --from=build /out/worker /opt/app/worker
CMD ["/opt/app/worker"]
"""


def have_tools(client: docker.APIClient) -> str:
    """An image with every tool that Debian packages, and a Java runtime to try them on; its reference."""
    every = (dataclasses.replace(catalog.load(name), toolbox=True) for name in catalog.names())
    recipe = image.recipe(tool for tool in every if tool.debian)
    recipe = dataclasses.replace(recipe, debian=tuple(sorted({*recipe.debian, "openjdk-21-jre-headless"})), pypi=())
    image.build(client, recipe, print, name=TOOLS)
    return TOOLS


def have_beside_gdb(client: docker.APIClient, tool: str) -> str:
    """A toolbox with that tool and gdb, which brings the Python that finishes the image; its reference."""
    recipe = image.recipe([catalog.load("gdb"), dataclasses.replace(catalog.load(tool), toolbox=True)])
    return image.build(client, recipe, print, name=f"debugrun-test/{tool}:latest")


def have_go(client: docker.APIClient) -> str:
    """An image of a Go program with its symbols; its reference. Raises HostError."""
    digest = hashlib.sha256(f"{COMPILER}{DOCKERFILE}{SOURCE.read_text()}".encode()).hexdigest()[:12]
    tag = f"{GO.partition(':')[0]}:{digest}"
    if not client.images(name=tag):
        _compile(client, tag)
    repository, _, latest = GO.partition(":")
    client.tag(tag, repository, latest)
    return GO


def _compile(client: docker.APIClient, tag: str) -> None:
    mirror = rootfs.mirror()
    if mirror is None:
        raise HostError("the target in Go is made from Debian packages: run this on a Debian")
    with tempfile.TemporaryDirectory(prefix="debugrun-") as scratch:
        archive = rootfs.Archive(mirror=mirror, suite=image.SUITE, architecture=str(client.version()["Arch"]))
        path = Path(scratch) / "root.tar"
        with path.open("wb") as out:
            rootfs.write(rootfs.download(archive, COMPILER, Path(scratch) / "apt"), out)
        repository, _, name = tag.partition(":")
        client.import_image(str(path), repository=f"{repository}-compiler", tag=name)
    base = f"{repository}-compiler:{name}"
    answers = client.build(
        fileobj=_context(base), custom_context=True, tag=tag, rm=True, forcerm=True, decode=True
    )  # fmt: skip
    for answer in answers:
        if "error" in answer:
            raise HostError(f"{tag} was not built: {answer['error']}")
    client.remove_image(base, noprune=True)


def _context(base: str) -> io.BytesIO:
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        text = DOCKERFILE.format(base=base).encode()
        info = tarfile.TarInfo("Dockerfile")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
        tar.add(SOURCE, SOURCE.name)
    context.seek(0)
    return context
