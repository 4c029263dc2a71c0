"""How much of a host a sidecar may take."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from debugrun.core.rules import share


@given(st.integers(min_value=0, max_value=1 << 16))
def test_a_sidecar_leaves_a_quarter_and_has_a_processor_at_least(count: int) -> None:
    found = share.processors(count)
    if count <= 1:  # none can be limited, or the limit would be the host
        assert found == 0.0
        assert share.quota(found) == 0
    else:
        assert 1.0 <= found <= max(1.0, 0.75 * count) < count
        assert share.quota(found) == found * share.PERIOD
