"""The map's plane: every chip is in it, at its place, whatever the region; many chips become few points."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from curate.catalog.page import packed, unpacked
from curate.report import frame
from curate.report.frame import Frame

REGIONS = {
    "europe": ((-10, 40), (35, 70)),
    "fiji": ((176, 184), (-20, -15)),
    "antarctica": ((-180, 180), (-88, -65)),
    "globe": ((-180, 180), (-60, 75)),
    "one site": ((9.0, 9.02), (48.0, 48.02)),
}


def chips(name: str, number: int = 500) -> tuple[np.ndarray, np.ndarray]:
    (west, east), (south, north) = REGIONS[name]
    chance = np.random.default_rng(0)
    lon = (chance.uniform(west, east, number) + 180) % 360 - 180
    return lon, chance.uniform(south, north, number)


@pytest.mark.parametrize("name", REGIONS)
def test_every_chip_is_in_view_and_comes_back(name: str) -> None:
    lon, lat = chips(name)
    around = Frame.around(lon, lat)
    left, top, width, height = around.to_json()["view"]
    found = frame.points(around, lon, lat, np.arange(500) % 7, 10_000)
    cell = around.side / found.steps
    x, y = (found.x + 0.5) * cell, (found.y + 0.5) * cell
    assert (x > left).all() and (x < left + width).all() and (y > top).all() and (y < top + height).all()
    back = Transformer.from_pipeline(
        f"+proj=pipeline +step +inv {around.projection} +step +proj=unitconvert +xy_in=rad +xy_out=deg"
    )
    east, north = back.transform(around.left + x, around.bottom + around.side - y)
    apart = np.hypot((east[:, None] - lon + 180) % 360 - 180, north[:, None] - lat).min(1)
    assert apart.max() < (0.2 if name == "antarctica" else 0.01)
    assert found.count.sum() == 500


def test_globes_have_straight_meridians_and_continents_do_not() -> None:
    assert Frame.around(*chips("globe")).azimuthal is None
    assert Frame.around(*chips("europe")).azimuthal is not None
    lon, _ = Frame.around(*chips("fiji")).azimuthal or (0, 0)
    assert abs(lon) > 175


@given(st.integers(1, 3000), st.integers(50, 400), st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_no_chip_is_lost_in_a_crowd(number: int, most: int, number_of_kinds: int) -> None:
    lon, lat = chips("europe", number)
    kind = np.arange(number) % number_of_kinds
    found = frame.points(Frame.around(lon, lat), lon, lat, kind, most)
    np.testing.assert_array_equal(np.bincount(found.kind, found.count), np.bincount(kind[:: found.every]))
    assert len(found.x) <= most


@given(
    st.lists(st.integers(0, 2**32 - 1), max_size=50), st.sampled_from(["<u1", "<u2", "<u4"]), st.booleans()
)
@settings(max_examples=50, deadline=None)
def test_arrays_come_back_from_their_bytes(numbers: list[int], kind: str, differences: bool) -> None:
    values = (np.array(numbers, np.int64) % 2 ** (8 * np.dtype(kind).itemsize)).astype(kind)
    back = unpacked(packed(values, differences=differences))
    assert back.dtype == values.dtype
    np.testing.assert_array_equal(back, values)


@pytest.mark.parametrize("name", REGIONS)
def test_outlines_fit_their_bytes(name: str) -> None:
    around = Frame.around(*chips(name))
    for paths in (frame.coast(around), frame.graticule(around)):
        lengths, places = unpacked(paths["lengths"]), unpacked(paths["places"])
        assert lengths.sum() * 2 == len(places)
        assert len(places) < 400_000
    assert len(frame.coast(Frame.around(*chips("europe")))["places"]["data"]) > 10_000


def test_a_grid_of_too_many_cells_is_made_coarser() -> None:
    lon, lat = chips("globe", 60_000)
    cells = frame.cells(Frame.around(lon, lat), lon, lat, 10.0)
    assert cells["number"] <= 20_000 and cells["spacing_km"] > cells["of"] == 10.0


def test_kinds_are_the_combinations_that_occur() -> None:
    columns = [pa.chunked_array([["a", "b", "a", None]]), pa.chunked_array([["x", "x", "y", "y"]])]
    kind, table = frame.kinds(columns)
    assert [table[i] for i in kind] == [["a", "x"], ["b", "x"], ["a", "y"], ["", "y"]]
    assert len(table) == 4
