"""Values are dataclasses to whoever looks, however they are made: held against dataclasses' own, for every class."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import pickle
from pathlib import Path
from typing import Any

import pytest

import debugrun
from debugrun import values

PACKAGE = Path(debugrun.__file__).parent


def made_by_us() -> list[type]:
    found: dict[str, type] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if "data" in path.relative_to(PACKAGE).parts or path.name == "__main__.py":
            continue
        name = ".".join(("debugrun", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        module = importlib.import_module(name)
        for each in vars(module).values():
            if isinstance(each, type) and each.__module__ == name and "__dataclass_fields__" in vars(each):
                found[f"{name}.{each.__qualname__}"] = each
    return list(found.values())


def theirs(cls: type, *, frozen: bool) -> type:
    """The same class as dataclasses makes it."""
    fields = [
        (
            each.name,
            each.type,
            dataclasses.field(
                default=each.default,
                default_factory=each.default_factory,
                hash=each.hash,
                kw_only=each.kw_only is True,
            )
            if each.default_factory is dataclasses.MISSING
            else dataclasses.field(default_factory=each.default_factory, hash=each.hash, kw_only=each.kw_only is True),
        )
        for each in dataclasses.fields(cls)
    ]
    return dataclasses.make_dataclass(
        cls.__name__, fields, frozen=frozen, slots=True, eq=vars(cls).get("__eq__") is not None
    )


@pytest.mark.parametrize("cls", made_by_us(), ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_a_value_is_what_dataclasses_would_have_made(cls: type) -> None:
    frozen = "__setattr__" in vars(cls)
    other = theirs(cls, frozen=frozen)
    given = {each.name: each.name for each in dataclasses.fields(cls)}
    mine: Any = object.__new__(cls)
    its: Any = object.__new__(other)
    for name, value in given.items():
        object.__setattr__(mine, name, value)
        object.__setattr__(its, name, value)
    assert [each.name for each in dataclasses.fields(cls)] == [each.name for each in dataclasses.fields(other)]
    assert dataclasses.asdict(mine) == dataclasses.asdict(its)
    if vars(cls).get("__repr__") is vars(values)["_repr"]:
        assert repr(mine).partition("(")[2] == repr(its).partition("(")[2]
    assert (cls.__hash__ is None) == (other.__hash__ is None)
    again = copy.copy(mine)
    assert type(again) is cls
    if vars(cls).get("__eq__") is not None:
        assert again == mine
    if frozen and given:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(mine, next(iter(given)), 1)


@values.dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    x: int
    y: int = 2
    seen: tuple[str, ...] = dataclasses.field(default=(), hash=False)

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError(self.x)

    def above(self) -> Point:
        return dataclasses.replace(self, y=self.y + 1)


@values.dataclass(frozen=True, slots=True)
class Pair:
    first: int
    rest: list[int] = dataclasses.field(default_factory=list)


def test_values_are_made_compared_replaced_and_kept_as_dataclasses_are() -> None:
    one = Point(x=1)
    assert (one, hash(one)) == (Point(x=1, y=2), hash(Point(x=1, seen=("a",))))
    assert one != Point(x=1, seen=("a",))
    assert one.above() == Point(x=1, y=3)
    assert repr(one) == "Point(x=1, y=2, seen=())"
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301 - our own
    assert not hasattr(one, "__dict__")
    with pytest.raises(ValueError, match="-1"):
        dataclasses.replace(one, x=-1)
    with pytest.raises(TypeError):
        Point(1)  # type: ignore[call-arg] # by keyword only
    with pytest.raises(TypeError):
        Point()  # type: ignore[call-arg]
    first, second = Pair(1), Pair(1)
    assert first.rest is not second.rest
    assert first == second
    match first:
        case Pair(number, rest):
            assert (number, rest) == (1, [])


def test_a_constructor_is_compiled_when_the_first_value_is_made_and_then_stays() -> None:
    @values.dataclass(frozen=True, slots=True)
    class Made:
        a: int

    before = vars(Made)["__init__"]
    Made(1)
    after = vars(Made)["__init__"]
    assert before is not after
    Made(2)
    assert vars(Made)["__init__"] is after
