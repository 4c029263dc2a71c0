"""What the shell is offered for the value of an option, and what bash, zsh and fish make of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from typer._click.core import Parameter

from debugrun.cli import values
from debugrun.cli.app import VERBS, application
from debugrun.cli.completion import complete_grants, complete_placements
from debugrun.core.ask.request import ceiling
from debugrun.toolbox import catalog

BASH = """
eval "$(_DEBUGRUN_COMPLETE=source_bash debugrun)"
offered() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _debugrun_completion debugrun; printf '%s\\n' "${COMPREPLY[@]}"
}
"""
# As _arguments of zsh itself takes a list apart: Completion/Base/Utility/_arguments, case \(\(*\)\).
ZSH = """
compdef() { }
_files() { print FILES }
_arguments() { local -a ws; local spec="${1#\\*: :}"; eval ws\\=\\( ${spec[3,-3]} \\); print -rl -- "${ws[@]}" }
eval "$(_DEBUGRUN_COMPLETE=source_zsh debugrun)"
offered() { words=("$@"); CURRENT=$#; _debugrun_completion }
"""
FISH = """
env _DEBUGRUN_COMPLETE=source_fish debugrun | source
function offered; complete -C (string join ' ' -- $argv); end
"""
START = {"bash": (BASH, "--norc"), "zsh": (ZSH, "-f"), "fish": (FISH, "--no-config")}


def test_every_grant_and_placement_that_is_offered_is_taken() -> None:
    for grant in complete_grants(""):
        for placement in complete_placements(""):
            made = ceiling(grant, placement, recreate=True)
            assert (made.grant.value, made.via.value if made.via else None) == (grant, placement)
    assert complete_grants("un") == ["unconfined"]
    assert complete_placements("re") == ["recreate"]


def offers(verb: str, param: Parameter) -> bool:
    """Whether the shell is offered something: by us, by Typer for a choice, by the shell itself for a file."""
    typed = getattr(param.type, "name", "")
    return (
        param._custom_shell_complete is not None  # noqa: SLF001 - as values.give sees it
        or values.values(verb, param) is not None
        or hasattr(param.type, "choices")
        or typed in {"path", "file"}
        or "FILE" in str(param.metavar)
    )


@pytest.mark.parametrize("verb", [*VERBS, "gdb"])
def test_every_option_and_argument_offers_values(verb: str) -> None:
    group = typer.main.get_command(application([verb]))
    command = getattr(group, "commands", {verb: group})[verb]
    silent = [
        param.opts[-1] for param in command.params if not getattr(param, "is_flag", False) and not offers(verb, param)
    ]
    assert silent == []


def test_the_table_of_values_has_no_line_for_an_option_that_is_gone() -> None:
    there: set[str] = set()
    for verb in (*VERBS, "gdb"):
        group = typer.main.get_command(application([verb]))
        there |= {name for param in getattr(group, "commands", {verb: group})[verb].params for name in param.opts}
    assert set(values._OF_ALL) - there == set()  # noqa: SLF001 - the table itself


@pytest.mark.parametrize("shell", list(START))
def test_the_shells_offer_values_and_descriptions_with_their_apostrophes(shell: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"needs {shell} (apt-get install {shell})")
    start, without_files = START[shell]
    end = '""' if shell == "bash" else "''"
    script = f"{start}\noffered debugrun gdb web --max-grant {end}\noffered debugrun gdb --host-p\n"
    script += f"offered debugrun gdb --mode {end}\n"
    folder = str(Path(sys.executable).parent)
    env = {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(tmp_path), "DEBUGRUN_TOOLS": str(tmp_path)}
    done = subprocess.run([program, without_files, "-c", script], capture_output=True, text=True, env=env, check=False)
    lines = [line.replace("\t", ":", 1) for line in done.stdout.splitlines()]
    words = {line.partition(":")[0] for line in lines}
    assert {"none", "caps", "seccomp", "broad", "unconfined", "privileged"} <= words, done
    assert "--host-pid" in words
    assert {mode.name for mode in catalog.load("gdb").modes} <= words
    if shell != "bash":  # which shows no descriptions
        assert "--host-pid:the process by the host's PID" in lines
