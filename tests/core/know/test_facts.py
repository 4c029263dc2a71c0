from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from debugrun.core.know.facts import Facts, FactsError, dump, load
from tests.cases import PLAIN

texts = st.text(max_size=20)


def values(kind: Any) -> st.SearchStrategy[Any]:  # noqa: ANN401 - an annotation is any object
    """Any value of an annotated type that facts are made of."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        fixed = {"schema": st.just(1)} if kind is Facts else {}
        return st.builds(kind, **{name: fixed.get(name, values(hint)) for name, hint in hints.items()})
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in {typing.Union, types.UnionType}:
        return st.one_of([values(part) for part in parts])
    if origin is tuple and parts[-1] is Ellipsis:
        return st.lists(values(parts[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*[values(part) for part in parts])
    known: dict[object, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        int: st.integers(),
        str: texts,
        type(None): st.none(),
    }
    return known[kind]


@given(values(Facts))
def test_facts_survive_being_saved(facts: Facts) -> None:
    assert load(dump(facts)) == facts


def broken(**changes: object) -> str:
    data = json.loads(dump(PLAIN))
    for path, value in changes.items():
        *parents, last = path.split("__")
        part = data
        for name in parents:
            part = part[name]
        if value is None:
            del part[last]
        else:
            part[last] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{", "not JSON"),
        ("[]", "facts: expected an object"),
        (broken(schema=2), "schema: 2"),
        (broken(engine__version=None), "facts.engine.version: missing"),
        (broken(engine__colour="red"), "facts.engine.colour: unknown key"),
        (broken(process__pid="1"), "facts.process.pid: expected int, found str"),
        (broken(process__pid=True), "facts.process.pid: expected int, found bool"),
        (broken(process__dumpable=1), "facts.process.dumpable: expected bool"),
        (broken(process__uids="0"), "facts.process.uids: expected a list"),
        (broken(process__permitted=[1]), "facts.process.permitted[0]: expected str"),
        (broken(container__tools=[["gdb"]]), "facts.container.tools[0]: expected 2 items"),
    ],
)
def test_a_file_that_is_no_facts_names_the_key(text: str, names: str) -> None:
    with pytest.raises(FactsError) as caught:
        load(text)
    assert names in str(caught.value)


def test_what_was_not_said_takes_its_default() -> None:
    facts = load(broken(images=None, engine__local=None))
    assert facts.images.toolbox is None
    assert facts.engine.local is None


def test_facts_hold_no_place_for_commands_or_environments() -> None:
    names = [field.name for part in dataclasses.fields(Facts) for field in _fields(part.name)]
    assert not [name for name in names if name in {"env", "environment", "cmd", "cmdline", "args", "command", "labels"}]


def _fields(part: str) -> tuple[dataclasses.Field[Any], ...]:
    value = getattr(PLAIN, part)
    return dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
