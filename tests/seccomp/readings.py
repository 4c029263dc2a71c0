"""`python -m tests.seccomp.readings ENGINE`: what an engine makes of each document of readings.json, written there.

Most are not what the engine's manual describes: each is a thing that somebody once wrote into a profile.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import docker

from debugrun.core.rules.seccomp import ProfileError, Runtime, evaluate, parse_profile, refusal
from tests.seccomp import lab as labs
from tests.seccomp import probe

FILE = Path(__file__).with_name("readings.json")
CALL = "x86_64:135:0"  # personality(0), of which all of them are


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A document, and what becomes of personality(0) under it, by engine: "passes", "errno N", "kill", "refused"."""

    what: str
    document: str
    became: dict[str, str]


def readings() -> list[Reading]:
    """All of the file."""
    return [Reading(**each) for each in json.loads(FILE.read_text(encoding="utf-8"))]


def predicted(document: str, engine: str, kernel: tuple[int, int], runtime: Runtime) -> str:
    """Our word."""
    try:
        profile = parse_profile(document, engine)
    except ProfileError:
        return "refused"
    if refusal(profile, caps=frozenset(), kernel=kernel, runtime=runtime) is not None:
        return "refused"
    outcome = evaluate(profile, "personality", (0,) * 6, caps=frozenset(), kernel=kernel, runtime=runtime)
    if outcome.action in {"trace", "notify"}:
        return "errno 38"  # nobody traces it, nobody listens
    if outcome.action == "errno" and outcome.errno:
        return f"errno {outcome.errno}"
    return "passes" if outcome.passes or outcome.action == "errno" else outcome.action


def observed(client: docker.APIClient, image: str, folder: Path, engine: str) -> Iterator[tuple[Reading, str]]:
    """The engine's."""
    for number, reading in enumerate(readings()):
        given = reading.document
        if engine == "podman":
            path = folder / f"{number}.json"
            path.write_text(given, encoding="utf-8")
            given = str(path)
        try:
            seen = probe.observe(client, image, [CALL], cap_add=(), drop=True, seccomp=given)
        except (docker.errors.APIError, OSError):
            yield reading, "refused"
            continue
        (result,) = seen.values()
        text = {"0": "passes", "died:31": "kill"}.get(result, f"errno {result.removeprefix('-')}")
        yield reading, text


def main() -> None:
    """Write down what the engine does; ENGINE as tests.host.engines names them."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="debugrun-")))
        client = labs.beside(sys.argv[1], stack)
        engine = sys.argv[1].partition("-")[0]
        image = probe.image(client, probe.binary(docker.from_env(version="auto").api))
        found = list(observed(client, image, folder, engine))
    lines = [
        json.dumps({"what": each.what, "document": each.document, "became": {**each.became, engine: became}})
        for each, became in found
    ]
    FILE.write_text("[\n " + ",\n ".join(lines) + "\n]\n", encoding="utf-8")
    print(f"{len(found)} readings of {sys.argv[1]}")


if __name__ == "__main__":
    main()
