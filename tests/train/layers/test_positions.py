import math

import pytest

from train.layers import sincos_positions


def test_the_class_token_has_no_position():
    assert not sincos_positions(4, 16)[0].any()


def test_columns_come_before_rows_and_sines_before_cosines():
    grid, dim = 5, 16
    table = sincos_positions(grid, dim)
    for row in range(grid):
        for column in range(grid):
            expected = []
            for place in (column, row):
                angles = [place * 10000 ** (-i / (dim // 4)) for i in range(dim // 4)]
                expected += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
            found = table[1 + row * grid + column].tolist()
            assert found == pytest.approx(expected, abs=1e-7)


def test_a_width_that_cannot_be_quartered_is_refused():
    with pytest.raises(ValueError, match="multiple of 4"):
        sincos_positions(4, 18)
