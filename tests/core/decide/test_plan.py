"""Decisions: golden cases as data, and what holds for every plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import TESTS, cases

GOLDEN = sorted((TESTS / "plans").glob("*/*.toml"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_golden_decision(path: Path) -> None:
    case = cases.read(path)
    found = cases.outcome(cases.decide(case))
    assert found == case.get("expect"), f"paste into {path.name} if it is right:\n\n{cases.as_toml(found)}"
