"""Which tools there are: their names and summaries without reading whole tool files, and the files themselves.

They are looked up in the user's configuration directory first, then in the package. Light enough for `--help`.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_config_path

from debugrun import NO_HOME
from debugrun.errors import ToolError

if TYPE_CHECKING:
    from debugrun.core.ask.request import Request
    from debugrun.core.know.tool_file import Mode, Tool

_SHIPPED = Path(__file__).parents[1] / "data" / "tools"


def user_directory() -> Path:
    """The folder of the user's own tool files: DEBUGRUN_TOOLS, else in the configuration directory.

    Without a home there is none.
    """
    if override := os.environ.get("DEBUGRUN_TOOLS"):
        return Path(override)
    try:
        found = user_config_path("debugrun") / "tools"
    except RuntimeError:  # platformdirs: neither HOME nor an entry in passwd(5)
        return Path(NO_HOME)
    return found if found.is_absolute() else Path(NO_HOME)


def directories(own: Path | None) -> tuple[Path, ...]:
    """Where tool files are looked up, in order: the user's own first."""
    return (own, _SHIPPED) if own else (_SHIPPED,)


def names(own: Path | None = None) -> tuple[str, ...]:
    """The names of all tools that have a file, sorted; reads no file. A folder that may not be read has none."""
    return tuple(sorted({path.stem for folder in directories(own) for path in files(folder)}))


def files(folder: Path) -> list[Path]:
    """The tool files of a folder, by name; [] where it is none, or may not be read."""
    try:
        return sorted(Path(each) for each in os.scandir(folder) if each.name.endswith(".toml"))
    except OSError:
        return []


def summary(name: str, own: Path | None = None) -> str:
    """What the tool does, from the keys above its file's first table; "" where the file is wrong (`--vet` says how)."""
    for folder in directories(own):
        path = folder / f"{name}.toml"
        try:
            head = path.read_text(encoding="utf-8", errors="replace").partition("\n[")[0]
            return str(tomllib.loads(head).get("summary", ""))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        except (OSError, tomllib.TOMLDecodeError):
            return ""
    return ""


def load(name: str, own: Path | None = None) -> Tool:
    """The tool of that name. Raises ToolError: `no-such-tool` with near names, or `bad-tool-file`."""
    import difflib  # noqa: PLC0415 - only on the way to an error, and costs 3 ms

    known = names(own)
    for folder in directories(own) if name in known else ():
        path = folder / f"{name}.toml"
        if path in files(folder):
            return load_file(path)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? `debugrun tools` lists all" if near else "`debugrun tools` lists them"
    raise ToolError("no-such-tool", f"no data file for tool {name!r}", hint)


def load_file(path: Path, *, called: str = "") -> Tool:
    """The tool of one file, which is `called` so where somebody typed that, else as the file is.

    Raises ToolError: unreadable, or `bad-tool-file`.
    """
    from debugrun.core.know.tool_file import parse  # noqa: PLC0415 - 20 ms that --help and completion need not pay

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ToolError("bad-tool-file", f"{path}: {error}", "name a readable TOML file") from error
    tool = parse(text, path.name)
    if called and tool.name != called:
        message = f"{path.name} describes the tool {tool.name}, and {called} was asked for"
        raise ToolError("bad-tool-file", message, f"debugrun {tool.name} CONTAINER --tool-file {path}")
    if not called and tool.name != path.stem:
        raise ToolError("bad-tool-file", f"{path.name}: name: {tool.name!r} is not the file's name", "rename one")
    return tool


def find_tool(request: Request, own: Path) -> tuple[Tool, Mode]:
    """The tool and the mode that were asked for. Raises ToolError."""
    tool = load_file(request.tool_file, called=request.tool) if request.tool_file else load(request.tool, own)
    return tool, tool.mode(request.mode)
