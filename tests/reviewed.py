"""Golden reviews of manifests: `python -m tests.reviewed` writes tests/manifests/NAME.expected."""

from __future__ import annotations

from pathlib import Path

from debugrun.core.export.choose import assumed
from debugrun.core.manifest import report
from debugrun.core.manifest.judged import Judged, judged
from debugrun.core.manifest.review import Asked
from debugrun.toolbox import catalog
from tests.cases import NOBODYS_FOLDER

FOLDER = Path(__file__).with_name("manifests")
FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file() and path.suffix != ".expected")
TOOLS = [catalog.load(name, NOBODYS_FOLDER) for name in ("gdb", "strace", "perf")]
ASKED: list[Asked] = [(tool, tool.mode(None)) for tool in TOOLS]
HOST = assumed(TOOLS[0], "")


def reviewed(text: str, where: str, asked: list[Asked] = ASKED) -> Judged:
    return judged(text, where, asked, HOST)


def shown(path: Path) -> str:
    """What a person sees."""
    found = reviewed(path.read_text(), str(path.relative_to(FOLDER)))
    return f"{report.text(found)}\n\n{found.diff}"


def main() -> None:
    """Write all of them."""
    for path in FILES:
        path.with_name(f"{path.name}.expected").write_text(shown(path))


if __name__ == "__main__":
    main()
