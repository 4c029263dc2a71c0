"""What an engine has, by name: for a shell that completes."""

from __future__ import annotations

from collections.abc import Iterator

from debugrun.core.know.json_access import mapping, text
from debugrun.engine import answers
from debugrun.engine.engine import Engine


def images(engine: Engine) -> list[str]:
    """The tags of its images, sorted."""
    with engine.asking("list images"):
        found = answers.objects(engine.client.images(), {"RepoTags": [str]})
    tags = (tag for each in found for tag in answers.texts(each, "RepoTags"))
    return sorted({tag for tag in tags if not tag.startswith("<none>")})


def networks(engine: Engine) -> list[str]:
    """The names of its networks, sorted."""
    with engine.asking("list networks"):
        return sorted(text(each, "Name") for each in answers.objects(engine.client.networks(), {"Name": str}))


def label_values(engine: Engine, label: str) -> list[str]:
    """The values that running containers have for a label, sorted."""
    found = engine.list_containers(labels=[label])
    return sorted({value for each in found if (value := text(mapping(each, "Labels"), label))})


def processes(engine: Engine, container: str) -> Iterator[tuple[str, str]]:
    """(PID on the engine's host, command line) of what runs in a container: GET /containers/ID/top."""
    with engine.asking("list the processes of", container):
        told = answers.decoded(engine.client.top(container), {"Titles": [str], "Processes": [[str]]})
    titles = answers.texts(told, "Titles")
    if not {"PID", "CMD"} <= set(titles):  # Podman: COMMAND
        titles = ["CMD" if title == "COMMAND" else title for title in titles]
    pid, command = titles.index("PID"), titles.index("CMD")
    rows = told.get("Processes")
    for row in rows if isinstance(rows, list) else []:
        yield str(row[pid]), str(row[command])
