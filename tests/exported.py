"""Golden exports: `python -m tests.exported` writes tests/exports/CASE/FORMAT from tests/exports/CASE.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from debugrun.core.ask.request import ceiling
from debugrun.core.export import FORMATS, Ask, Export
from debugrun.core.export.choose import Wish, choose
from debugrun.core.know import tool_file as tools
from debugrun.core.know.facts import Facts
from debugrun.errors import DebugrunError
from debugrun.toolbox import catalog
from tests import cases

FOLDER = Path(__file__).with_name("exports")
CASES = sorted(FOLDER.glob("*.toml"))


def read(path: Path) -> dict[str, object]:
    return tomllib.loads(path.read_text())


def made(case: Mapping[str, object], name: str) -> tuple[Ask, str]:
    """The ask of a case for one format, and why it is that one. Raises DebugrunError."""
    tool = catalog.load(str(case["tool"]), cases.NOBODYS_FOLDER)
    changes = case.get("facts", {})
    assert isinstance(changes, dict)
    facts = cases.vary(cases.PLAIN, changes)
    wish = Wish(
        name=name,
        format=FORMATS[name],
        launching=case.get("launching") is True,
        ceiling=ceiling(str(case.get("max_grant", "seccomp")), None),
    )
    found = choose(wish, tool, facts)
    if case.get("widest"):
        wish = Wish(name=name, format=wish.format, ceiling=wish.ceiling, number=_last(wish, tool, facts))
        return choose(wish, tool, facts)
    return found


def _last(wish: Wish, tool: tools.Tool, facts: Facts) -> int:
    """The number of the widest option of the plan that the format can say."""
    found = 0
    for number in range(100):
        try:
            choose(Wish(name=wish.name, format=wish.format, ceiling=wish.ceiling, number=number), tool, facts)
        except DebugrunError as error:
            if error.code == "no-option":
                break
        else:
            found = number
    return found


def shown(case: Mapping[str, object], name: str) -> str:
    """What a person sees of an export; profiles are tested elsewhere."""
    try:
        ask, why = made(case, name)
    except DebugrunError as error:
        return f"refused: {error.message}\ntry: {error.hint}\n"
    found: Export = FORMATS[name].render(ask)
    text = re.sub(r'"Profile": "[^"]+"', '"Profile": "BASE64"', found.text)
    lines = [why, *(f"note: {note}" for note in found.notes), *(f"file: {each}" for each in found.files), found.usage]
    return text + "".join(f"# {line}\n" for line in lines)


def goldens() -> list[tuple[Path, dict[str, object], str]]:
    """(golden file, case, format)."""
    return [(path.with_suffix("") / name, read(path), name) for path in CASES for name in FORMATS]


def main() -> None:
    """Write all of them."""
    for path, case, name in goldens():
        path.parent.mkdir(exist_ok=True)
        path.write_text(shown(case, name))


if __name__ == "__main__":
    main()
