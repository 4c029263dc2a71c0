"""What `doctor --report` tells the world: nothing that is only this machine's, wherever it hides."""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from pathlib import Path
from typing import Any

import pytest

from debugrun.core.know import facts as shapes
from debugrun.core.know.facts import Facts
from debugrun.core.say import anonymous, record
from debugrun.core.say.record import Record

MADE = record.load((Path(__file__).parents[2] / "records" / "debian-13.json").read_text())
SECRET = "hunter2-corp.example"  # noqa: S105 - it is looked for


def poisoned(part: object, value: str) -> object:
    """The same with a secret in every text, in lists too."""
    told: dict[str, Any] = {}
    for each in dataclasses.fields(part):  # type: ignore[arg-type]
        kind = typing.get_type_hints(type(part))[each.name]
        if kind in {str, str | None}:
            told[each.name] = value
        elif kind in {tuple[str, ...], tuple[str, ...] | None}:
            told[each.name] = (value,)
        elif kind == tuple[tuple[str, str], ...]:
            told[each.name] = ((value, value),)
    return dataclasses.replace(part, **told)  # type: ignore[type-var]


@pytest.mark.parametrize("secret", [SECRET, f"docker-default{SECRET}", f"6.1.0-{SECRET}", f'{{"a": "{SECRET}"}}'])
def test_a_secret_in_every_fact_stays_at_home(secret: str) -> None:
    facts = MADE.facts["root"]
    told = {
        name: poisoned(getattr(facts, name), secret) for name in ("engine", "host", "container", "process", "images")
    }
    text = record.dump(Record(facts={"root": Facts(**told)}, trials=()))  # type: ignore[arg-type]
    assert "hunter2" not in text
    assert "corp" not in text
    assert set(record.load(text).facts) == {"root"}


def test_every_text_of_the_facts_is_decided_on() -> None:
    """A new fact is on one of the lists, or left out: this test says so to whoever adds it."""
    parts = typing.get_type_hints(Facts)
    for name, fields in anonymous.TEXTS.items():
        known = {*fields, *anonymous.FIXED[name]}
        texts = {key for key, kind in typing.get_type_hints(parts[name]).items() if kind in {str, str | None}}
        assert texts <= known, f"{name}: {sorted(texts - known)}"


@pytest.mark.parametrize("kind", MADE.facts)
def test_what_rules_ask_for_is_kept(kind: str) -> None:
    facts = MADE.facts[kind]
    told = anonymous.anonymous(facts, kind)
    assert told.host == facts.host
    assert told.process.permitted == facts.process.permitted
    assert told.container.capabilities == facts.container.capabilities
    assert re.fullmatch(r"[0-9]+[.][0-9]+[.][0-9]+", told.engine.kernel)
    assert json.loads(shapes.dump(told))["container"]["name"] == kind
    assert anonymous.anonymous(told, kind) == told
