"""The order in which options are tried: by cost, and never one before another that opens less and would do. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from debugrun.core.grants import Option, Verdict

#: What an option opens, as names that can be compared; None: everything, or what can't be compared.
Powers = frozenset[str] | None


def narrow_first(options: Iterable[Option], powers: Callable[[Option], Powers]) -> list[Option]:
    """`options`, which are in order of cost, with each before the first that opens all that it does and more.

    A closed option opens nothing: it moves none and is moved by none. Each is held against all that stand before it,
    so the result is a fixpoint: what includes another one's powers stands behind it, whatever stands between them.
    """
    ordered: list[tuple[Option, Powers]] = []
    for option in options:
        mine = powers(option)
        wider = (at for at, (other, theirs) in enumerate(ordered) if _goes_before(option, mine, other, theirs))
        ordered.insert(next(wider, len(ordered)), (option, mine))
    return [option for option, _ in ordered]


def _goes_before(option: Option, mine: Powers, other: Option, theirs: Powers) -> bool:
    """Whether both may work, in the same place, and the other opens more than this one, all of it included."""
    if Verdict.CLOSED in {option.verdict, other.verdict} or option.placement is not other.placement:
        return False
    return mine is not None and theirs is not None and mine < theirs
