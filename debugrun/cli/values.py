"""What the shell is offered for the value of an option or argument that has no completion of its own.

Every option has a line here, by its name, or takes a file, which the shell itself completes. Free values (a memory
limit, a port) get an example of what is typed, since the right value can't be known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import typer
from typer._click.core import Command, Context, Parameter
from typer._click.shell_completion import CompletionItem

from debugrun.cli import shells
from debugrun.cli.completion import asked, complete_containers, complete_tools
from debugrun.errors import DebugrunError
from debugrun.toolbox import catalog

if TYPE_CHECKING:
    from debugrun.engine.engine import Engine

Values = Callable[[Context], Iterable[str]]

_SERVICE, _PROJECT = "com.docker.compose.service", "com.docker.compose.project"  # labels that Compose gives


def give(command: Command) -> None:
    """Have the options and arguments of a command, and of its commands, offer the values of this table."""
    for each in getattr(command, "commands", {}).values():
        give(each)
    for param in command.params:
        found = values(command.name or "", param)
        if found is not None and param._custom_shell_complete is None:  # noqa: SLF001 - as the constructor sets it
            param._custom_shell_complete = _completing(found)  # noqa: SLF001 - the same


def values(verb: str, param: Parameter) -> Values | None:
    """What is offered for a parameter of a verb or tool; None: nothing of ours, as for flags and files."""
    name = param.opts[-1] if param.param_type_name == "argument" else max(param.opts, key=len)
    return _OF_ONE.get((verb, name)) or _OF_ALL.get(name)


def _completing(found: Values) -> Callable[[Context, Parameter, str], list[CompletionItem]]:
    def complete(ctx: Context, _param: Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            offered = [each for each in found(ctx) if each.startswith(incomplete)]
        except DebugrunError:
            return []  # a shell is completing: there is nobody to tell
        return [
            CompletionItem(value, help=said or None) for value, _, said in (each.partition("\t") for each in offered)
        ]

    return complete


def _words(*words: str) -> Values:
    return lambda _: words


def _tool(ctx: Context) -> str:
    """The tool of the line: what was typed for it, or the command itself."""
    return str(ctx.params.get("tool") or ctx.info_name)


def _modes(ctx: Context) -> Iterable[str]:
    folder = catalog.user_directory()
    tool = catalog.load(_tool(ctx), folder)
    modes = [launch.mode for launch in tool.launches] if ctx.info_name == "run" else tool.modes
    return [f"{mode.name}\t{mode.summary}" for mode in modes]


def _processes(ctx: Context) -> list[tuple[str, str, str]]:
    """(PID of the host, PID of the container, name) of what runs in the container of the line."""
    container = str(ctx.params.get("container") or "")
    if not container:
        return []
    found = []
    for pid, _, command in (line.partition(" ") for line in asked(lambda engine: _top(engine, container))):
        try:
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
        except OSError:  # of another machine
            found.append((pid, "", Path(command.split(" ")[0]).name[:15]))
            continue
        told = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        found.append((pid, told.get("NSpid", "").split()[-1:][0], told["Name"].strip()))
    return found


def _names_of() -> ModuleType:
    """The questions that only an engine answers."""
    from debugrun.engine import names  # noqa: PLC0415 - the engine's client, for names of the engine's only

    return names


def _top(engine: Engine, container: str) -> list[str]:
    return [f"{pid} {command}" for pid, command in _names_of().processes(engine, container)]


def _pids(ctx: Context) -> Iterable[str]:
    return [f"{own}\t{name}" for _, own, name in _processes(ctx) if own]


def _host_pids(ctx: Context) -> Iterable[str]:
    return [f"{pid}\t{name}" for pid, _, name in _processes(ctx)]


def _names(ctx: Context) -> Iterable[str]:
    return dict.fromkeys(name for _, _, name in _processes(ctx))


def _images(_: Context) -> Iterable[str]:
    return asked(_names_of().images)


def _networks(_: Context) -> Iterable[str]:
    return asked(_names_of().networks, ["bridge", "host", "none"])


def _labelled(label: str) -> Values:
    def found(_: Context) -> Iterable[str]:
        return asked(lambda engine: _names_of().label_values(engine, label))

    return found


def _containers(_: Context) -> Iterable[str]:
    return complete_containers("")


def _levels(_: Context) -> Iterable[str]:
    from debugrun.core.manifest.review import LEVELS  # noqa: PLC0415 - only while the shell completes

    return LEVELS


def _readers(_: Context) -> Iterable[str]:
    from debugrun.core.manifest.read import READERS  # noqa: PLC0415 - only while the shell completes

    return READERS


def _tools(_: Context) -> Iterable[str]:
    return complete_tools("")


def _capabilities(_: Context) -> Iterable[str]:
    from debugrun.core.know.procfs import CAPABILITIES  # noqa: PLC0415 - only while the shell completes

    return ("ALL", *CAPABILITIES)


def _calls(_: Context) -> Iterable[str]:
    from debugrun.core.say.reference import entries  # noqa: PLC0415 - only while the shell completes

    return dict.fromkeys(entry.call for entry in entries().values())


def _engines(_: Context) -> Iterable[str]:
    from debugrun.core.rules.seccomp.defaults import release_text, releases  # noqa: PLC0415 - the same

    return [f"{name}:{release_text(each)}" for name in ("docker", "podman") for each in releases(name)]


def _formats(_: Context) -> Iterable[str]:
    from debugrun.core.export import FORMATS  # noqa: PLC0415 - the same

    return FORMATS


def _kubeconfig(key: str) -> Values:
    def found(_: Context) -> Iterable[str]:
        from debugrun.kubernetes import names  # noqa: PLC0415 - the same

        return names.configured(key)

    return found


def _new_name(ctx: Context) -> Iterable[str]:
    image = str(ctx.params.get("image") or "app").rpartition("/")[2].partition(":")[0]
    return (f"{image}-{_tool(ctx)}",)


_OF_ALL: dict[str, Values] = {
    "pid": _pids,
    "image": _images,
    "name": _calls,
    "--host-pid": _host_pids,
    "--name": _names,
    "--mode": _modes,
    "--image": _images,
    "--tool-image": _images,
    "--like": _containers,
    "--service": _labelled(_SERVICE),
    "--compose": _labelled(_SERVICE),
    "--project": _labelled(_PROJECT),
    "--namespace": _kubeconfig("namespace"),
    "--kubernetes-context": _kubeconfig("name"),
    "--for": _tools,
    "--to": _formats,
    "--from": _readers,
    "--fail-on": _levels,
    "--cap-add": _capabilities,
    "--cap-drop": _capabilities,
    "--open": _calls,
    "--engine": _engines,
    "--network": _networks,
    "--detach-keys": _words("ctrl-p,ctrl-q", "ctrl-]", "ctrl-@"),
    "--duration": _words("3", "10", "30", "60"),
    "--watch": _words("1", "2", "5"),
    "--within": _words("30", "60", "300"),
    "--max-pause": _words("0.5", "1", "5"),
    "--hold": _words("2", "10", "30"),
    "--count": _words("1", "10", "100"),
    "--on": _words("crash", "exit", "restart", "signal:TERM", "syscall:openat", "cpu:90", "stuck:30s"),
    "--rate": _words("49", "99", "999"),
    "--option": _words(*map(str, range(10))),
    "--check": _words("curl -f http://localhost/"),
    "--placement": _words("sidecar", "here"),
    "--seccomp": _words("default", "unconfined"),
    "--base": _words("default"),
    "--apparmor": _words("docker-default", "unconfined"),
    "--user": _words("0:0", "1000:1000", "65534:65534"),
    "--from-error": _words("Operation not permitted", "Permission denied"),
    "--env": _words("DEBUG=1"),
    "--volume": _words("/srv/data:/data:ro"),
    "--mount": _words("type=bind,source=", "type=volume,source=", "type=tmpfs,target="),
    "--publish": _words("8080:80"),
    "--tmpfs": _words("/tmp"),  # noqa: S108 - of a container
    "--workdir": _words("/"),
    "--entrypoint": _words("/bin/sh"),
    "--platform": _words("linux/amd64", "linux/arm64"),
    "--memory": _words("512m", "1g"),
    "--cpus": _words("0.5", "1", "2"),
    "--tool-args": _words("--"),
}
_OF_ONE: dict[tuple[str, str], Values] = {
    ("run", "--name"): _new_name,
    ("export", "--mode"): lambda ctx: ("attach", "launch", *_modes(ctx)),
}


def speak(app: typer.Typer) -> Command:
    """The command of an application whose completions are offered: by this table, and as each shell takes them."""
    command = typer.main.get_command(app)
    shells.register()
    give(command)
    return command
