"""Dataclasses whose definition is cheap: what they define is made when it is first asked for.

A frozen dataclass with slots takes dataclasses a millisecond to define, for the source of six methods that it writes
and compiles, and one command defines a hundred. Here only `__init__` is compiled, once the first value is made; the
rest is shared. To a reader and to a type checker they are dataclasses, and `replace`, `fields` and `asdict` take them.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - the same name
else:
    from operator import attrgetter

    _FIELD = dataclasses._FIELD
    _set = object.__setattr__

    def dataclass(*, frozen=False, eq=True, kw_only=False, slots=False):
        """As dataclasses.dataclass, for what is used of it: no order, no InitVar, no ClassVar."""

        def define(cls):
            found = {name: each for base in cls.__mro__[:0:-1] for name, each in _inherited(base)}
            own = cls.__dict__.get("__annotations__", {})
            for name, kind in own.items():
                given = cls.__dict__.get(name, dataclasses.MISSING)
                each = given if isinstance(given, dataclasses.Field) else dataclasses.field(default=given)
                each.name, each.type, each._field_type, each.kw_only = name, kind, _FIELD, kw_only
                found[name] = each
            methods = _methods(tuple(found.values()), frozen=frozen, eq=eq, own=cls.__dict__)
            kept = {name: value for name, value in cls.__dict__.items() if name not in {"__dict__", "__weakref__"}}
            for name in own:
                kept.pop(name, None)
                if not slots and found[name].default is not dataclasses.MISSING:
                    kept[name] = found[name].default
            body = {**kept, **methods, "__dataclass_fields__": found, "__qualname__": cls.__qualname__}
            if slots:
                body["__slots__"] = tuple(own)
            made = type(cls)(cls.__name__, cls.__bases__, body)
            _rebind(made, cls)
            return made

        return define

    def _inherited(base):
        return base.__dict__.get("__dataclass_fields__", {}).items()

    def _rebind(made, cls):
        """Have super() in its methods mean the class that was made, as Python 3.14's own dataclasses do."""
        for value in made.__dict__.values():
            function = getattr(value, "fget", None) or getattr(value, "__func__", None) or value
            for cell in getattr(function, "__closure__", None) or ():
                try:
                    if cell.cell_contents is cls:
                        cell.cell_contents = made
                except ValueError:  # empty
                    continue

    def _methods(fields, *, frozen, eq, own):
        """The methods that the class does not define by itself."""
        made = {"__init__": _first_init(fields, frozen=frozen), "__repr__": _repr}
        made["__match_args__"] = tuple(each.name for each in fields if not each.kw_only)
        if eq:
            compared = tuple(each.name for each in fields if each.compare)
            made["__eq__"] = _equality(_getter(compared))
            hashed = tuple(each.name for each in fields if (each.compare if each.hash is None else each.hash))
            made["__hash__"] = _hashing(_getter(hashed)) if frozen else None
        if frozen:
            made |= {"__setattr__": _refuse, "__delattr__": _refuse}
            made |= {"__getstate__": _getstate, "__setstate__": _setstate}
        return {name: method for name, method in made.items() if name not in own}

    def _getter(names):
        if len(names) > 1:
            return attrgetter(*names)
        return lambda value: tuple(getattr(value, name) for name in names)

    def _equality(key):
        def __eq__(self, other):  # noqa: N807 - what it becomes
            return key(self) == key(other) if other.__class__ is self.__class__ else NotImplemented

        return __eq__

    def _hashing(key):
        def __hash__(self):  # noqa: N807 - what it becomes
            return hash(key(self))

        return __hash__

    def _repr(self):
        shown = (f"{each.name}={getattr(self, each.name)!r}" for each in dataclasses.fields(self) if each.repr)
        return f"{self.__class__.__qualname__}({', '.join(shown)})"

    def _refuse(self, name, *_):
        raise dataclasses.FrozenInstanceError(f"cannot change field {name!r}")

    def _getstate(self):
        return [getattr(self, each.name) for each in dataclasses.fields(self)]

    def _setstate(self, state):
        for each, value in zip(dataclasses.fields(self), state, strict=True):
            _set(self, each.name, value)

    def _first_init(fields, *, frozen):
        """An `__init__` that puts the compiled one in its place when the first value is made."""

        def __init__(self, *args, **kwargs):  # noqa: N807 - what it becomes
            owner = next(cls for cls in type(self).__mro__ if cls.__dict__.get("__init__") is __init__)
            owner.__init__ = _compiled(fields, frozen=frozen, checked=hasattr(owner, "__post_init__"))
            owner.__init__(self, *args, **kwargs)

        return __init__

    def _compiled(fields, *, frozen, checked):
        """The constructor, as one would write it."""
        scope = {"MISSING": dataclasses.MISSING, "set": _set}
        positional, named, lines = [], [], []
        for each in fields:
            name, default = each.name, ""
            if each.default is not dataclasses.MISSING:
                scope[f"default_{name}"], default = each.default, f"=default_{name}"
            elif each.default_factory is not dataclasses.MISSING:
                scope[f"make_{name}"], default = each.default_factory, "=MISSING"
            value = f"make_{name}() if {name} is MISSING else {name}" if default == "=MISSING" else name
            lines.append(f" set(self, {name!r}, {value})" if frozen else f" self.{name} = {value}")
            (named if each.kw_only else positional).append(f"{name}{default}")
        if checked:
            lines.append(" self.__post_init__()")
        words = ", ".join(["self", *positional, *(["*", *named] if named else [])])
        exec(f"def __init__({words}):\n" + "\n".join(lines or [" pass"]), scope)  # noqa: S102 - names of fields only
        return scope["__init__"]
