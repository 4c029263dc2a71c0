"""The command line: one command per tool data file, plus the verbs. Each verb has a file of its own here."""

from __future__ import annotations

import importlib
import inspect
import keyword
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from debugrun import __version__
from debugrun.cli import first_words
from debugrun.cli.completion import complete_containers, complete_contexts
from debugrun.cli.options import EPILOG
from debugrun.toolbox import catalog

EXAMPLES = """Put a debug tool on a process in a container with the least privilege that works.

\b
debugrun gdb web                    PID 1 of container web, at gdb's prompt
debugrun gdb web 7 -- -batch -ex bt one backtrace of PID 7; what follows -- is gdb's
debugrun strace web --name worker   the process called worker
debugrun plan perf web              what would be taken, and why; nothing is started
"""


def _version(value: bool) -> None:  # noqa: FBT001 - the shape of a Typer callback
    if value:
        typer.echo(f"debugrun {__version__}")
        raise typer.Exit


def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="print the version and exit")
    ] = False,
    timing: Annotated[
        bool, typer.Option("--timing", help="tell on standard error where the command's time went")
    ] = False,
    context: Annotated[
        str | None,
        typer.Option(
            "--context",
            metavar="NAME",
            help="the Docker context to use, whatever DOCKER_HOST says; stands before the command",
            autocompletion=complete_contexts,
        ),
    ] = None,
) -> None:
    del version, timing, context  # debugrun.timing and debugrun.engine.contexts have taken them


# Every verb with the line that help shows. `debugrun.cli.NAME` holds its function, and is imported for that verb only:
# the engine's client costs ten times what the list does.
VERBS = {
    "plan": "Show the decision without doing it: what would be taken, what was too narrow and why, the docker line.",
    "facts": "Show what was observed of the engine, the host, the container and the process; never a secret.",
    "tools": "List the tools that have a data file, with their modes.",
    "toolbox": "The image that holds the tools, made of Debian packages, with or without a registry.",
    "gc": "Remove what a crash left behind, gently: tools are told to detach before their container goes.",
    "ps": "Show what each process waits for, the most suspicious first; how containers that do not run have ended.",
    "audit": "List the running containers that hold more than debugging needs, and the narrowest instead.",
    "minimize": "Find the smallest grant with which a `docker run` line still passes a check.",
    "import": "Say what the debug grants in a manifest open, and print the narrowest instead as a diff.",
    "stacks": "Show the stacks of all threads, equal ones once; each process stands still for a moment only.",
    "bt": "Show the stacks of one process, with arguments and locals.",
    "flame": "Sample a process with perf, name its hottest functions, and write flame graphs.",
    "catch": "Wait for a crash, an exit, a signal, a call, or a busy process, and show the stacks of that moment.",
    "denials": "Show which calls of the application are refused, by which layer, from where, and the narrowest mend.",
    "core": "Copy a running process into a core file here, with its program and libraries; it goes on.",
    "memory": "Show what the memory of each process is made of, and the container's limit.",
    "export": "Write the grant that a tool needs for Compose, Kubernetes, Marathon, Nomad and others.",
    "run": "Start a program of an image under a tool, from its first instruction; options as docker run has them.",
    "restore": "Put the original of a recreated container back; without a name list what is recreated, with what.",
    "recreate": "Make a container again with more for its own program; `debugrun restore` puts the original back.",
    "why": "Name the layer that says no to what people type first, with the fact, and the narrowest fix.",
    "profile": "Print the seccomp profile that a tool needs: the one in force plus the blocked calls, nothing else.",
    "judge": "Say whether exactly this would work: options as docker run has them, or a docker line after --.",
    "syscalls": "The system calls that the default seccomp profile blocks: why, and what this engine does with each.",
    "help": "Show a longer text, such as `debugrun help engines`; `debugrun help` lists them.",
    "doctor": "The engine and its host on one page, and what each tool would need here.",
}


# The longer text about a verb, which its --help names.
TOPICS = {
    **dict.fromkeys(("audit", "export", "import", "minimize"), "manifests"),
    **dict.fromkeys(("bt", "core", "flame", "memory", "ps", "stacks"), "oncall"),
    **dict.fromkeys(("recreate", "restore"), "recreate"),
    **dict.fromkeys(("judge", "plan", "profile", "why"), "decide"),
    "doctor": "engines",
    "gc": "ownership",
    "run": "run",
}

HELP = {"help_option_names": ["-h", "--help"]}


def meant(words: list[str], folder: Path) -> list[str]:
    """The words with what other programs call help and version put into ours."""
    return first_words.meant(words, {*VERBS, *catalog.names(folder)}, set(TOPICS.values()))


def application(argv: list[str], tool_args: Sequence[str] = (), *, completing: bool = False) -> typer.Typer:
    """The application for this command line.

    A known tool as first word gets its own command only: its file is the only one read; so does a verb. Without one,
    for help, all are listed. `tool_args` are the words behind `--`. Raises ToolError: a first word that is neither a
    tool nor a verb, or a bad file; UsageError: an option of the tool's own before `--`.
    """
    app = typer.Typer(
        name="debugrun",
        no_args_is_help=True,
        context_settings=HELP,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback(help=EXAMPLES, epilog=EPILOG)(_root)
    word = next((each for each in argv if not each.startswith("-")), None)
    folder = catalog.user_directory()
    if word == "perf" and _draws(argv):
        app.command(word, epilog=EPILOG)(importlib.import_module("debugrun.cli.flame").flame)
        return app
    if completing and word not in {*VERBS, *catalog.names(folder)}:
        word = None  # half a name
    if word is None:
        for name in catalog.names(folder):
            app.command(name, help=catalog.summary(name, folder))(_listed)
        for name, line in VERBS.items():
            app.command(name, help=line)(_listed)
    elif word in VERBS:
        name = f"{word}_" if keyword.iskeyword(word) else word
        function = getattr(importlib.import_module(f"debugrun.cli.{name}"), name)
        text = inspect.cleandoc(function.__doc__ or "").replace("\\b\n", "\b\n")  # Typer keeps the lines below it
        app.command(word, help=text, epilog=_epilog(word))(function)
    else:
        summary = _known(word, argv, folder, completing=completing)
        function = importlib.import_module("debugrun.cli.tool").run_tool
        app.command(word, help=summary, epilog=EPILOG)(function)
        if not completing and any(each.startswith("-") for each in argv):
            first_words.check(argv[argv.index(word) :], tool_args, _options(app, word))
    return app


def _epilog(verb: str) -> str | None:
    """The exit status, where the docstring does not tell it, and the topic that tells more."""
    said = [EPILOG] if verb in {"export", "minimize", "ps", "run"} else []
    said += [f"More: debugrun help {TOPICS[verb]}"] if verb in TOPICS else []
    return "\n\n".join(said) or None


def _draws(argv: list[str]) -> bool:
    """Whether a line of perf's asks for files of ours: its own -o stands behind --."""
    return any(word.startswith(("-o", "--output")) for word in argv)


def _listed() -> None:
    """Stand in for a command where only its name and help are shown: building options costs 3 ms a command."""


def _options(app: typer.Typer, name: str) -> first_words.Options:
    """The options of one command."""
    group = typer.main.get_command(app)
    command = getattr(group, "commands", {name: group})[name]
    named = [each for each in command.params if each.param_type_name == "option"]
    values = {name: not getattr(each, "is_flag", False) for each in named for name in each.opts}
    return first_words.Options(takes_value={**values, "-h": False, "--help": False})


def _known(name: str, argv: list[str], folder: Path, *, completing: bool) -> str:
    """The summary of a tool whose file is right; all of its help where that is asked for. Raises ToolError."""
    custom = _tool_file(argv)
    if custom is None and not completing and name not in (known := catalog.names(folder)):
        alone = argv == [name]  # `debugrun web`
        raise first_words.unknown(name, {*VERBS, *known}, lambda: complete_containers("") if alone else ())
    tool = catalog.load_file(custom, called=name) if custom else catalog.load(name, folder)
    if not set(argv) & set(HELP["help_option_names"]):
        return tool.summary
    from debugrun.cli import tool_help  # noqa: PLC0415 - for --help only

    return tool_help.text(tool)


def _tool_file(argv: list[str]) -> Path | None:
    """The value of --tool-file, needed before the commands exist: it may bring the tool's name with it."""
    for index, word in enumerate(argv):
        if word.startswith("--tool-file="):
            return Path(word.partition("=")[2])
        if word == "--tool-file" and index + 1 < len(argv):
            return Path(argv[index + 1])
    return None
