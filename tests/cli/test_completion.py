"""What the shell is offered for the value of an option."""

from __future__ import annotations

from debugrun.cli.completion import complete_grants, complete_placements
from debugrun.core.ask.request import ceiling


def test_every_grant_and_placement_that_is_offered_is_taken() -> None:
    for grant in complete_grants(""):
        for placement in complete_placements(""):
            made = ceiling(grant, placement, recreate=True)
            assert (made.grant.value, made.via.value if made.via else None) == (grant, placement)
    assert complete_grants("un") == ["unconfined"]
    assert complete_placements("re") == ["recreate"]
