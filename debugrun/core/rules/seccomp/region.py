"""Sets of system call arguments, exactly: a cube fixes some bits of each of the six 64-bit arguments.

Every comparison of a profile is a union of cubes, and cubes are closed under intersection and (as unions) difference,
so what two rules share and what is left of one can be computed instead of guessed at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from debugrun.core.rules.seccomp.model import MAX_ARGUMENTS, UINT64_MAX, ArgMatch, ProfileError

#: For each argument (mask, value): the bits in the mask are as in the value, the others are free.
Cube = tuple[tuple[int, int], ...]

EVERYTHING: Cube = ((0, 0),) * MAX_ARGUMENTS
_BITS = 64
_MOST = 4096


def cubes_of(args: Sequence[ArgMatch]) -> list[Cube]:
    """Where all of the comparisons hold (no comparison: everywhere), as disjoint cubes.

    Raises ProfileError when that takes more cubes than a profile could sensibly spell out: each ordering or inequality
    of an argument takes up to 64, and several arguments multiply.
    """
    found = [EVERYTHING]
    for match in args:
        pieces = [_place(match.index, *pattern) for pattern in _patterns(match)]
        found = [both for cube in found for piece in pieces if (both := intersect(cube, piece)) is not None]
        if len(found) > _MOST:
            text = " and ".join(map(str, args))
            raise ProfileError("syscalls", f"has a condition that cannot be taken apart: {text}")
    return found


def matches_of(cube: Cube) -> tuple[ArgMatch, ...]:
    """The comparisons that describe a cube; none for everything."""
    return tuple(
        ArgMatch(index, "SCMP_CMP_EQ", value)
        if mask == UINT64_MAX
        else ArgMatch(index, "SCMP_CMP_MASKED_EQ", mask, value)
        for index, (mask, value) in enumerate(cube)
        if mask
    )


def intersect(one: Cube, other: Cube) -> Cube | None:
    """What two cubes share; None: nothing."""
    shared = []
    for (mask, value), (other_mask, other_value) in zip(one, other, strict=True):
        if (value ^ other_value) & mask & other_mask:
            return None
        shared.append((mask | other_mask, value | other_value))
    return tuple(shared)


def subtract(cubes: Iterable[Cube], removed: Cube) -> list[Cube]:
    """What is left of some cubes without another one.

    The pieces differ from `removed` in one bit and agree with it in all lower bits of that argument: so on a 32-bit
    architecture, where the comparison of the upper half is dropped, a piece never grows beyond `removed`. Raises
    ProfileError for too many pieces.
    """
    left: list[Cube] = []
    for cube in cubes:
        if intersect(cube, removed) is None:
            left.append(cube)
        else:
            left.extend(_pieces(cube, removed))
    if len(left) > _MOST:
        raise ProfileError(
            "syscalls", "refuses a call with conditions that cannot be taken apart around what is needed"
        )
    return left


def _pieces(cube: Cube, removed: Cube) -> Iterator[Cube]:
    current = cube
    for index, (mask, value) in enumerate(removed):
        for bit in (1 << position for position in range(_BITS)):
            if mask & bit and not current[index][0] & bit:
                yield _fixed(current, index, bit, ~value & bit)
                current = _fixed(current, index, bit, value & bit)


def _fixed(cube: Cube, index: int, bit: int, value: int) -> Cube:
    mask, known = cube[index]
    return (*cube[:index], (mask | bit, known | value), *cube[index + 1 :])


def _place(index: int, mask: int, value: int) -> Cube:
    return (*EVERYTHING[:index], (mask, value & mask), *EVERYTHING[index + 1 :])


def _patterns(match: ArgMatch) -> Iterator[tuple[int, int]]:
    """A comparison of one argument as disjoint (mask, value) patterns, from the highest bit down."""
    value = match.value
    operator = match.op.removeprefix("SCMP_CMP_")
    if operator == "MASKED_EQ":
        yield value, match.value_two & value
        return
    if operator in ("EQ", "LE", "GE"):
        yield UINT64_MAX, value
    if operator == "EQ":
        return
    for position in reversed(range(_BITS)):
        bit = 1 << position
        mask = UINT64_MAX & ~(bit - 1)
        above = not value & bit
        if operator == "NE" or above == (operator in ("GT", "GE")):
            yield mask, (value ^ bit) & mask
