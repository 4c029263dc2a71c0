"""Which containers a manifest has, and what each holds: one reader for each format. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from debugrun.core.manifest.cluster import ecs, kubernetes, marathon, nomad
from debugrun.core.manifest.document import Node, bad, parse
from debugrun.core.manifest.holding import DEBUG_CALLS, Holding, Part, Step, down, each
from debugrun.core.manifest.options import capability, option, run_options, security, socket, words_of

Reader = Callable[[Node], Iterator[Holding]]


def compose(root: Node) -> Iterator[Holding]:
    """The services of a Compose file; compose-spec 05-services.md."""
    services = root.get("services")
    for name, service in services.children() if services is not None else ():
        parts = [*plain(service, add="cap_add", drop="cap_drop", opts="security_opt")]
        parts += [Part(kind="user", value=service.string("user"), way=way) for way in each(service, "user")]
        for kind, key in (("pid", "pid"), ("network", "network_mode")):
            if way := down(service, key):
                value = way[-1].value.text.split(":", 1)[-1]
                parts.append(Part(kind=kind, value=value, way=way))
        for way in each(service, "volumes"):
            held = way[-1].value
            parts += socket(held.string("source") if held.entries is not None else held.text.split(":", 1)[0], way)
        pid = service.string("pid")
        joins = pid.partition(":")[2] if pid.startswith("service:") else ""
        yield Holding(name=name, format="compose", node=service, parts=tuple(parts), joins=joins)


def plain(node: Node, *, add: str, drop: str, opts: str) -> Iterator[Part]:
    """The keys that Compose, dev containers and Nomad have under names of their own."""
    if node.true("privileged"):
        yield Part(kind="privileged", value="true", way=down(node, "privileged"))
    for way in each(node, drop):
        yield Part(kind="drop", value=capability(way[-1].value.text), way=way)
    for way in each(node, add):
        yield Part(kind="capability", value=capability(way[-1].value.text), way=way)
    for way in each(node, opts):
        yield from security(way[-1].value.text, way)


def devcontainer(root: Node) -> Iterator[Holding]:
    """devcontainer.json, with `runArgs`; devcontainers/spec devcontainerjson-reference.md."""
    parts = [*plain(root, add="capAdd", drop="capDrop", opts="securityOpt"), *run_options(root, "runArgs")]
    for way in each(root, "mounts"):
        held = way[-1].value
        fields = dict(part.partition("=")[::2] for part in held.text.split(","))
        source = held.string("source") or fields.get("source", fields.get("src", ""))
        parts += socket(source, way)
    user = root.string("containerUser") or root.string("remoteUser")
    if user:
        key = "containerUser" if root.string("containerUser") else "remoteUser"
        parts.append(Part(kind="user", value=user, way=down(root, key)))
    name = root.string("name") or "the dev container"
    yield Holding(name=name, format="devcontainer", node=root, parts=tuple(parts))


def quadlet(root: Node) -> Iterator[Holding]:
    """A .container unit; podman-systemd.unit(5)."""
    section = root.get("Container")
    if section is None:
        return
    parts: list[Part] = []
    for key, value in section.entries or ():
        parts += _quadlet_line(key.text, value.text, (*down(root, "Container"), Step(section, value, key)))
    if found := section.entry("User"):
        group = section.string("Group")
        user = f"{found[1].text}:{group}" if group else found[1].text
        parts.append(Part(kind="user", value=user, way=(Step(section, found[1], found[0]),)))
    name = section.string("ContainerName") or "the container"
    yield Holding(name=name, format="quadlet", node=section, parts=tuple(parts))


_QUADLET_FLAGS = {"SecurityLabelDisable": "label", "NoNewPrivileges": "no-new-privileges"}


def _quadlet_line(key: str, word: str, way: tuple[Step, ...]) -> Iterator[Part]:
    if key in _QUADLET_FLAGS and word.lower() == "true":
        yield Part(kind=_QUADLET_FLAGS[key], value="true", way=way)
    elif key in {"AddCapability", "DropCapability"}:
        kind = "drop" if key == "DropCapability" else "capability"
        for each_name in word.split():
            yield Part(kind=kind, value=capability(each_name), way=way)
    elif key == "SeccompProfile":
        yield from security(f"seccomp={word}", way)
    elif key == "Network":
        yield Part(kind="network", value=word.removeprefix("container:"), way=way)
    elif key == "Volume":
        yield from _quadlet_volume(word, way)
    elif key == "PodmanArgs":
        for name, given in words_of(word):
            yield from option(name, given, way)


def _quadlet_volume(word: str, way: tuple[Step, ...]) -> list[Part]:
    """An engine's socket, or a path that is mounted where it is on the host, read-only, as we export it."""
    source, _, rest = word.partition(":")
    ours = rest == f"{source}:ro"
    return socket(source, way) or ([Part(kind="mount", value=source, way=way)] if ours else [])


def beats(root: Node) -> Iterator[Holding]:
    """The policy of a Beat: the calls by which it may look at other processes."""
    if root.string("seccomp", "default_action") == "allow":
        return
    parts = []
    for group in each(root, "seccomp", "syscalls"):
        if group[-1].value.string("action") == "allow":
            parts += [
                Part(kind="call", value=way[-1].value.text, way=(*group, *way))
                for way in each(group[-1].value, "names")
                if way[-1].value.text in DEBUG_CALLS
            ]
    policy = root.get("seccomp")
    assert policy is not None  # noqa: S101 - what this format is known by
    yield Holding(name="the Beat", format="beats", node=policy, parts=tuple(parts))


READERS: dict[str, Reader] = {
    "compose": compose,
    "devcontainer": devcontainer,
    "kubernetes": kubernetes,
    "marathon": marathon,
    "nomad": nomad,
    "ecs": ecs,
    "quadlet": quadlet,
    "beats": beats,
}


def format_of(root: Node, where: str) -> str:
    """Which format a document is of; "" where it is none of them."""
    name = where.rsplit("/", 1)[-1]
    if name.endswith(".container"):
        return "quadlet"
    if name.endswith((".hcl", ".nomad")):
        return "nomad"
    keys = {key for key, _ in root.children()}
    if name in {"devcontainer.json", ".devcontainer.json"}:
        return "devcontainer"
    tests: Sequence[tuple[str, bool]] = (
        ("ecs", "containerDefinitions" in keys),
        ("compose", "services" in keys and root.get("services" ) is not None and "kind" not in keys),
        ("kubernetes", bool({"kind", "apiVersion"} & keys) or root.get("spec", "ephemeralContainers") is not None
         or keys == {"securityContext"}),
        ("beats", root.get("seccomp", "default_action") is not None or root.get("seccomp", "syscalls") is not None),
        ("marathon", root.get("container", "docker") is not None or "apps" in keys or "groups" in keys),
        ("devcontainer", bool({"capAdd", "securityOpt", "runArgs", "remoteUser", "customizations", "features"} & keys)),
    )  # fmt: skip
    return next((each for each, fits in tests if fits), "")


def holdings(text: str, where: str, wanted: str = "") -> list[Holding]:
    """The containers of a file, in order. Raises UsageError: not read, or of no format that is known."""
    found: list[Holding] = []
    known = False
    for root in parse(text, where):
        kind = wanted or format_of(root, where)
        if kind:
            known = True
            found += READERS[kind](root)
    if not known:
        formats = ", ".join(READERS)
        raise bad(where, 1, 1, f"it is none of: {formats}", "name the format with --from")
    return found
