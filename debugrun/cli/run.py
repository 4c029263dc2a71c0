"""`debugrun run`: its options are docker's own, under their names. Imported when it is used.

Docker's options are taken from Typer's record of what was typed, by the names that RunOptions has.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from debugrun.cli.options import DetachKeys, Json, MaxGrant, ToolFile, ToolName, finite, interruptible
from debugrun.core.ask.number import MOST_CPUS
from debugrun.core.ask.request import ceiling
from debugrun.errors import UsageError
from debugrun.launch import start
from debugrun.launch.options import RunOptions
from debugrun.recreate import like as alike
from debugrun.toolbox import catalog

Image = Annotated[
    str,
    typer.Argument(metavar="[IMAGE]", show_default=False, help="as docker run takes it; it has to be on the engine"),
]
Mode = Annotated[str | None, typer.Option("--mode", metavar="MODE", help="see `debugrun tools`")]
ToolArgs = Annotated[
    str, typer.Option("--tool-args", metavar="WORDS", help="the tool's own arguments, split as a shell splits words")
]
Like = Annotated[
    str | None,
    typer.Option(
        "--like",
        metavar="CONTAINER",
        help="instead of an image: image, options, mounts and networks of that container, also of one that has ended",
    ),
]
NoAslr = Annotated[
    bool, typer.Option("--no-aslr", help="the same addresses in every run: opens personality(2) for this one value")
]
ToolImage = Annotated[
    str | None,
    typer.Option("--tool-image", metavar="IMAGE", help="take the tool from this image, not from the toolbox"),
]
PlanOnly = Annotated[bool, typer.Option("--plan", help="show the decision, start nothing")]
SaveProfile = Annotated[
    Path | None, typer.Option("--save-profile", metavar="FILE", help="with --plan: write the seccomp profile there")
]
Env = Annotated[list[str] | None, typer.Option("-e", "--env", metavar="NAME=VALUE", help="as docker run")]
EnvFile = Annotated[list[str] | None, typer.Option("--env-file", metavar="FILE", help="as docker run")]
Volume = Annotated[list[str] | None, typer.Option("-v", "--volume", metavar="SOURCE:TARGET", help="as docker run")]
Mount = Annotated[list[str] | None, typer.Option("--mount", metavar="KEY=VALUE,...", help="as docker run")]
Publish = Annotated[list[str] | None, typer.Option("-p", "--publish", metavar="PORT", help="as docker run")]
Tmpfs = Annotated[list[str] | None, typer.Option("--tmpfs", metavar="TARGET", help="as docker run")]
CapAdd = Annotated[list[str] | None, typer.Option("--cap-add", metavar="CAP", help="as docker run: the program's own")]
CapDrop = Annotated[list[str] | None, typer.Option("--cap-drop", metavar="CAP", help="as docker run")]
Network = Annotated[str | None, typer.Option("--network", "--net", metavar="NETWORK", help="as docker run")]
User = Annotated[str | None, typer.Option("-u", "--user", metavar="UID:GID", help="as docker run")]
Workdir = Annotated[str | None, typer.Option("-w", "--workdir", metavar="FOLDER", help="as docker run")]
Entrypoint = Annotated[str | None, typer.Option("--entrypoint", metavar="PROGRAM", help="as docker run")]
Platform = Annotated[str | None, typer.Option("--platform", metavar="OS/ARCH", help="as docker run")]
Name = Annotated[str | None, typer.Option("--name", metavar="NAME", help="as docker run")]
Memory = Annotated[str | None, typer.Option("-m", "--memory", metavar="BYTES", help="as docker run, the tool included")]
Cpus = Annotated[
    float | None, typer.Option("--cpus", metavar="NUMBER", min=0, max=MOST_CPUS, callback=finite, help="as docker run")
]
ReadOnly = Annotated[bool, typer.Option("--read-only", help="as docker run")]
Remove = Annotated[bool, typer.Option("--rm/--no-rm", help="remove the container when it has ended")]


@interruptible
def run(  # noqa: PLR0913 - each is an option of the command line
    *,
    ctx: typer.Context,
    tool: ToolName,
    image: Image = "",
    like: Like = None,
    mode: Mode = None,
    tool_args: ToolArgs = "",
    no_aslr: NoAslr = False,
    max_grant: MaxGrant = "seccomp",
    tool_image: ToolImage = None,
    tool_file: ToolFile = None,
    detach_keys: DetachKeys = "ctrl-p,ctrl-q",
    plan: PlanOnly = False,
    as_json: Json = False,
    save_profile: SaveProfile = None,
    env: Env = None,
    env_file: EnvFile = None,
    volume: Volume = None,
    mount: Mount = None,
    publish: Publish = None,
    tmpfs: Tmpfs = None,
    cap_add: CapAdd = None,
    cap_drop: CapDrop = None,
    network: Network = None,
    user: User = None,
    workdir: Workdir = None,
    entrypoint: Entrypoint = None,
    platform: Platform = None,
    name: Name = None,
    memory: Memory = None,
    cpus: Cpus = None,
    read_only: ReadOnly = False,
    remove: Remove = True,
) -> None:
    """Start a program of an image under a tool, from its first instruction.

    The container is as `docker run` would make it, and what follows `--` takes the place of the image's command. A
    tool that the image lacks is the toolbox's, mounted read-only.
    """
    if like is not None:
        raise typer.Exit(_like(ctx, tool, like))
    if not image:
        hint = f"debugrun run {tool} IMAGE, or debugrun run --like CONTAINER {tool}"
        raise UsageError("no-image", "which image?", hint)
    raise typer.Exit(_start(ctx, tool, image))


def _start(ctx: typer.Context, tool: str, image: str) -> int:
    """Start a program of an image, or show what would be done."""
    typed = ctx.params
    wish = start.Wish(
        tool=tool,
        image=image,
        command=ctx.obj or (),
        options=_options(typed),
        mode=typed["mode"],
        args=_words(typed["tool_args"]),
        aslr=not typed["no_aslr"],
        ceiling=ceiling(typed["max_grant"], None),
        tool_image=typed["tool_image"],
        tool_file=typed["tool_file"],
        detach_keys=typed["detach_keys"],
        save_profile=Path(typed["save_profile"]) if typed["save_profile"] else None,
    )
    folder = catalog.user_directory()
    if typed["plan"] or typed["as_json"] or typed["save_profile"]:
        return start.show(wish, folder, as_json=typed["as_json"])
    return start.run(wish, folder)


def _like(ctx: typer.Context, tool: str, like: str) -> int:
    """Start a container like another one. Raises UsageError for options that it takes from that one."""
    typed = ctx.params
    given = _options(typed)
    others = [typed["image"]] if typed["image"] else []
    if others or given != RunOptions(remove=given.remove) or typed["plan"] or typed["as_json"] or typed["save_profile"]:
        message = f"--like takes image and options of {like}: only those of the tool, and --rm, go with it"
        raise UsageError("like-and-options", message, f"debugrun run --like {like} {tool} -- COMMAND")
    wish = alike.Wish(
        like=like,
        tool=tool,
        command=ctx.obj or (),
        mode=typed["mode"],
        args=_words(typed["tool_args"]),
        aslr=not typed["no_aslr"],
        ceiling=ceiling(typed["max_grant"], None),
        tool_image=typed["tool_image"],
        tool_file=typed["tool_file"],
        detach_keys=typed["detach_keys"],
        remove=given.remove,
    )
    return alike.run(wish, catalog.user_directory())


def _options(typed: Mapping[str, object]) -> RunOptions:
    """Docker's options among all that were typed."""
    values: dict[str, Any] = {
        each.name: tuple(value) if isinstance(value := typed.get(each.name), list) else value
        for each in dataclasses.fields(RunOptions)
    }
    return RunOptions(**{name: value for name, value in values.items() if value is not None})


def _words(text: str) -> tuple[str, ...]:
    """The words of a line as a shell has them, and nothing more of a shell. Raises UsageError."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError("bad-tool-args", f"--tool-args: {error}", "quote it as for a shell") from error
