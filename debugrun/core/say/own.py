"""What a container's own program lacks, in words: for docker, for Compose, and for `debugrun recreate`. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping

from debugrun.core.decide.own import Own
from debugrun.core.grants import Option


def as_text(own: Own) -> str:
    """The answer for a person."""
    name = own.facts.container.name
    lines = [f"the text says: {own.known.says}"]
    filtered = "its own profile" if own.facts.container.seccomp == "custom" else "the engine's default profile"
    lines += [f"seccomp: {filtered} blocks {call} in {name}" for call in own.blocked]
    if own.missing:
        asked = " or ".join(each.replace("+", " and ") for each in own.missing)
        lines.append(f"capabilities: {name} lacks what the kernel asks for: {asked}")
    if not own.blocked and not own.missing:
        lines.append(f"{name} lacks nothing for that: its filter and its capabilities let it pass")
    if own.known.instead:
        lines.append(f"without it: {own.known.instead}")
    if own.powerless:
        user = own.facts.process.uids[1]
        lines.append(
            f"note: it runs as uid {user}, which uses an added capability only by a file that has it: setcap(8)"
        )
    for number, option in enumerate(own.options):
        lines += ["", f"{'narrowest' if number == 0 else 'wider'}: {_words(option)}"]
        lines += [f"  {line}" for line in (docker_line(option, name), *compose_lines(option, name))]
        lines.append(f"  {recreate_line(option, name)}")
    return "\n".join(lines)


def _words(option: Option) -> str:
    return " + ".join((*option.cap_add, *(f"{call} opened" for call in option.opened_calls)))


def docker_line(option: Option, name: str) -> str:
    """What to add to the line that makes the container."""
    words = ["docker", "run", *(word for cap in option.cap_add for word in ("--cap-add", cap))]
    if option.opened_calls:
        words += ["--security-opt", f"seccomp={name}.json"]
    return shlex.join(words) + " ..." + (" # the profile: --save-profile" if option.opened_calls else "")


def compose_lines(option: Option, name: str) -> list[str]:
    """What to add to the service."""
    lines = [f"cap_add: [{', '.join(option.cap_add)}]"] if option.cap_add else []
    return lines + ([f'security_opt: ["seccomp=./{name}.json"]'] if option.opened_calls else [])


def recreate_line(option: Option, name: str) -> str:
    """What makes the container again with it, and lets it go back."""
    words = [word for cap in option.cap_add for word in ("--cap-add", cap)]
    words += [word for call in option.opened_calls for word in ("--open", call)]
    return shlex.join(["debugrun", "recreate", name, *words])


def as_json(own: Own) -> str:
    """The answer as one JSON object."""
    name = own.facts.container.name
    options: list[Mapping[str, object]] = [
        {
            "grant": option.grant.value,
            "cap_add": list(option.cap_add),
            "opened_calls": list(option.opened_calls),
            "docker": docker_line(option, name),
            "compose": compose_lines(option, name),
            "recreate": recreate_line(option, name),
        }
        for option in own.options
    ]
    return json.dumps(
        {
            "schema": 1,
            "container": name,
            "says": own.known.says,
            "instead": own.known.instead or None,
            "blocked": list(own.blocked),
            "missing": list(own.missing),
            "options": options,
        },
        indent=2,
    )
