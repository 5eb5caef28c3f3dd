"""Regions by name, code, box and file."""

from __future__ import annotations

from pathlib import Path

import geopandas
import pytest
import shapely

from curate.catalog.errors import InputError
from curate.regions import region


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("europe", "eu"),
        ("eu", "eu"),
        ("Europe", "eu"),
        ("africa", "af"),
        ("asia", "as"),
        ("north-america", "na"),
        ("na", "na"),
        ("NA", "nam"),  # Namibia
        ("south-america", "sa"),
        ("oceania", "oc"),
        ("antarctica", "an"),
        ("global", "global"),
        ("DE", "deu"),
        ("deu", "deu"),
        ("FR", "fra"),  # -99 in Natural Earth's first column
        ("NO", "nor"),
    ],
)
def test_names_and_codes(text: str, slug: str) -> None:
    found = region(text)
    assert found.slug == slug
    assert shapely.is_valid(found.area)
    assert shapely.area(found.area) > 0


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        (
            "europe",
            [(13.4, 52.5), (-22, 64.1), (37.6, 55.8)],
            [(82.9, 55.0), (-4, 15), (-52.3, 4.9), (55.5, -21.1)],
        ),
        ("asia", [(82.9, 55.0), (139.7, 35.7), (-175, 66.5)], [(37.6, 55.8), (13.4, 52.5)]),
        ("south-america", [(-47.9, -15.8), (-53, 4.0)], [(-99, 19.4)]),
        ("antarctica", [(0, -80), (90, -75), (-179, -87)], [(0, -50)]),
        ("africa", [(31.2, 30.0)], [(-3.7, 40.4)]),
    ],
)
def test_continents_hold_what_they_should(name: str, inside: list, outside: list) -> None:
    area = region(name).area
    assert all(shapely.contains_xy(area, *point) for point in inside)
    assert not any(shapely.contains_xy(area, *point) for point in outside)


def test_a_box() -> None:
    found = region("bbox:10,45,12.5,47")
    assert found.area.bounds == (10, 45, 12.5, 47)
    assert found.slug == "bbox_10_45_12p5_47"


def test_a_box_across_the_antimeridian_has_two_parts() -> None:
    area = region("bbox:178,-20,-178,-15").area
    assert area.area == pytest.approx(4 * 5)
    assert shapely.contains_xy(area, [179, -179, 0], [-17, -17, -17]).tolist() == [True, True, False]
    assert region("bbox:178,-20,-180,-15").area.bounds == (178, -20, 180, -15)


@pytest.mark.parametrize(
    "text",
    [
        "bbox:1,2,3",
        "bbox:a,b,c,d",
        "bbox:1,2,3,4,5",
        "bbox:10,10,10,20",
        "bbox:10,20,20,10",
        "bbox:0,0,181,1",
        "bbox:0,-91,1,1",
        "bbox:nan,0,1,1",
        "bbox:180,0,-180,5",
        "atlantis",
        "ZZ",
        "",
        "nowhere.gpkg",
    ],
)
def test_what_is_no_region_is_said_to_be_none(text: str) -> None:
    with pytest.raises(InputError) as error:
        region(text)
    assert text in str(error.value)


def test_a_vector_file_in_any_projection(tmp_path: Path) -> None:
    shape = shapely.box(10, 45, 11, 46)
    frame = geopandas.GeoDataFrame(geometry=[shape], crs=4326).to_crs(32632)
    for name in ("My Area.gpkg", "area.parquet"):
        path = tmp_path / name
        frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_file(path)
        found = region(str(path))
        assert shapely.symmetric_difference(found.area, shape).area < 0.01
    assert region(str(tmp_path / "My Area.gpkg")).slug == "my_area"


def test_vector_files_that_hold_no_area(tmp_path: Path) -> None:
    points, nowhere, broken = tmp_path / "p.geojson", tmp_path / "n.parquet", tmp_path / "b.geojson"
    geopandas.GeoDataFrame(geometry=[shapely.Point(1, 2)], crs=4326).to_file(points)
    geopandas.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)]).to_parquet(nowhere)
    broken.write_text("{")
    for path, why in (
        (points, "no area"),
        (nowhere, "no coordinate reference system"),
        (broken, "cannot be read"),
    ):
        with pytest.raises(InputError, match=why):
            region(str(path))
