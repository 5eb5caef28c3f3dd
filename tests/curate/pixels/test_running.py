"""Running sums are those of numpy, whatever is left over beside whole vectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.pixels.running import running_sum


@pytest.mark.parametrize("kind", ["uint8", "uint16", "uint32"])
@settings(max_examples=20, deadline=None)
@given(count=st.integers(0, 100), seed=st.integers(0, 99))
def test_running_sums_wrap_as_those_of_numpy(kind: str, count: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, np.iinfo(kind).max, count, kind, endpoint=True)
    room = np.zeros(count + 2, kind)
    running_sum(values, room[1:-1])
    np.testing.assert_array_equal(room, [0, *np.cumsum(values, dtype=kind), 0])
