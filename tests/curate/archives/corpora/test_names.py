"""Names of products and tiles: what they hold, and what is none."""

from __future__ import annotations

import ast
import csv
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from curate.archives.names import product_properties, tile_corner


def test_a_whole_sentinel_2_name() -> None:
    assert product_properties("S2A_MSIL2A_20220706T085611_N0400_R007_T33NZA_20220706T153419") == {
        "platform": "sentinel-2a",
        "datetime": "2022-07-06T08:56:11+00:00",
        "s2:processing_baseline": "04.00",
        "sat:relative_orbit": 7,
        "s2:mgrs_tile": "33NZA",
    }


@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("S2B_MSIL2A_20170924T93020", "2017-09-24T09:30:20+00:00"),  # a zero is missing
        ("S2B_MSIL2A_20180204T94160", "2018-02-04T09:42:00+00:00"),  # second 60
    ],
)
def test_names_of_bigearthnet_with_odd_clocks(name: str, time: str) -> None:
    assert product_properties(name) == {"platform": "sentinel-2b", "datetime": time}


@pytest.mark.parametrize(
    ("name", "track", "state"),
    [
        ("S1A_IW_GRDH_1SDV_20170613T165043_20170613T165108_017018_01C579_7EEC", 146, "ascending"),
        ("S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48", 146, "ascending"),  # by the clock alone
        ("S1A_IW_GRDH_1SDV_20200607T010800_20200607T010825_032904_03CFBA_D457", 107, "descending"),
        ("S1C_IW_GRDH_1SDV_20250607T010800", None, None),
    ],
)
def test_orbits_of_sentinel_1(name: str, track: int | None, state: str | None) -> None:
    said = product_properties(name)
    assert said is not None
    assert (said["sat:relative_orbit"], said["sat:orbit_state"]) == (track, state)


@pytest.mark.parametrize(
    "name", ["", "S2A", "LC08_L2SP_1", "S2A_MSIL2A_20171399T101010", "S1A_IW_GRDH_1SDV_2017"]
)
def test_what_is_no_product(name: str) -> None:
    assert product_properties(name) is None


@pytest.mark.parametrize(
    ("tile", "corner"),
    [
        ("33UUP", (32633, 300_000, 5_400_000)),
        ("29SNB", (32629, 499_980, 4_200_000)),
        ("01CEH", (32701, 499_980, 800_020)),
    ],
)
def test_corners_of_tiles(tile: str, corner: tuple[int, int, int]) -> None:
    assert tile_corner(tile) == corner


@pytest.mark.parametrize("tile", ["00UUP", "61UUP", "33UAP"])
def test_tiles_that_are_not_there(tile: str) -> None:
    with pytest.raises(ValueError, match=r"zone|substring"):
        tile_corner(tile)


@pytest.mark.real
def test_corners_of_all_land_tiles(real_data: Path) -> None:
    table = pq.read_table(
        real_data / "tables" / "s2_mgrs_grid_land.parquet", columns=["tile", "epsg", "utm_bounds"]
    )
    assert table.num_rows > 20_000
    for row in table.to_pylist():
        west, _, _, north = ast.literal_eval(row["utm_bounds"])
        assert tile_corner(row["tile"]) == (row["epsg"], west, north)


@pytest.mark.real
def test_tracks_of_real_products_by_number_and_by_clock(real_data: Path) -> None:
    rows = [
        row
        for row in csv.DictReader((real_data / "tables" / "treesatai_products.csv").open())
        if row["product_id"].startswith("S1")
    ]
    assert len(rows) > 100 and len({row["platform"] for row in rows}) == 2
    for row in rows:
        for name in (row["product_id"], row["product_id"][:32]):
            said = product_properties(name)
            assert said is not None
            assert str(said["sat:relative_orbit"]) == row["relative_orbit"]
            assert said["sat:orbit_state"] == row["orbit_state"]
