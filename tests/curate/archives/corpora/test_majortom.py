"""Major TOM Core: cells of the grid as scenes, their pixels in Parquet rows."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from curate import stages
from curate.archives import open_archive
from curate.archives.majortom import GRID, MARGIN_M, SIDE_M, MajorTomArchive
from curate.catalog import Catalog
from curate.catalog.errors import InputError
from curate.chips import from_zone, to_zone
from curate.engine import Engine
from curate.gdal import opened
from curate.recipe import Period

S2, S1, DEM = "sentinel-2-l2a", "sentinel-1-rtc", "cop-dem-glo-30"
OPTICAL = "S2A_MSIL2A_20220706T085611_N0400_R007_T33NZA_20220706T153419"
RADAR = "S1A_IW_GRDH_1SDV_20220707T043413_20220707T043438_043931_053E87_rtc"
CELLS = ("0U_199R", "1U_199R")
EPSG = 32633
SIX = ("B05", "B06", "B07", "B8A", "B11", "B12")
ADDRESS = "https://huggingface.co/datasets/Major-TOM/{data}/resolve/main/images/part_00001.parquet"


def corner(cell: str, epsg: int = EPSG) -> tuple[float, float]:
    """Left and top of a cell's square."""
    west, south, _, _ = GRID.bounds(*GRID.parse(np.array([cell])))
    x, y = to_zone(epsg).transform(west, south)
    return float(x[0]) - MARGIN_M, float(y[0]) - MARGIN_M + SIDE_M


def row(cell: str, product: str, number: int, data: str, **more: Any) -> dict[str, Any]:
    """A row of the metadata table as it is published."""
    up, right = GRID.parse(np.array([cell]))
    return {
        "grid_cell": cell,
        "grid_row_u": int(up[0]),
        "grid_col_r": int(right[0]),
        "product_id": product,
        "timestamp": "2022-07-06 08:56:11",
        "cloud_cover": 12.5,
        "nodata": 0.0,
        "centre_lat": 0.04,
        "centre_lon": 17.9,
        "crs": f"EPSG:{EPSG}",
        "parquet_url": ADDRESS.format(data=data),
        "parquet_row": number,
        **more,
    }


def dataset(root: Path, data: str, rows: list[dict[str, Any]], bands: list[dict[str, bytes]]) -> Path:
    """A data set in its published layout: the table, and part files of one row per row group."""
    folder = root / data
    (folder / "images").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "metadata.parquet")
    with pq.ParquetWriter(
        folder / "images" / "part_00001.parquet", pa.schema([(name, pa.binary()) for name in bands[0]])
    ) as writer:
        for cells in bands:
            writer.write_table(pa.table({name: [content] for name, content in cells.items()}))
    return folder


@pytest.fixture
def corpus(tmp_path: Path, raster: Any) -> Path:
    root = tmp_path / "majortom"
    optical, radar, terrain = [], [], []
    for k, cell in enumerate(CELLS):
        left, top = corner(cell)
        steps = {band: 60 if band in ("B01", "B09") else 20 for band in ("B02", *SIX)}
        optical.append(
            {
                band: raster(EPSG, left, top, step, SIDE_M // step, value=1500 + 100 * k).bytes(tmp_path)
                for band, step in steps.items()
            }
        )
        radar.append(
            {
                band: raster(EPSG, left, top, 20, 534, "float32", 0.25, 0.2).bytes(tmp_path)
                for band in ("vv", "vh")
            }
        )
        terrain.append({"DEM": raster(EPSG, left, top, 30, 356, "float32", 400).bytes(tmp_path)})
    dataset(
        root, "Core-S2L2A", [row(cell, OPTICAL, k, "Core-S2L2A") for k, cell in enumerate(CELLS)], optical
    )
    dataset(
        root,
        "Core-S1RTC",
        [row(cell, RADAR, k, "Core-S1RTC", orbit_state="descending") for k, cell in enumerate(CELLS)],
        radar,
    )
    dataset(root, "Core-DEM", [row(cell, cell, k, "Core-DEM") for k, cell in enumerate(CELLS)], terrain)
    return root


def test_cells_are_scenes(corpus: Path, search: Any, metres_apart: Any) -> None:
    for prefix in ("", "majortom:"):
        optical = search(f"{prefix}{corpus}", S2).scenes.to_pylist()
        radar = search(f"{prefix}{corpus}", S1).scenes.to_pylist()
        terrain = search(f"{prefix}{corpus}", DEM, ("elevation",)).scenes.to_pylist()
    assert [len(rows) for rows in (optical, radar, terrain)] == [2, 2, 2]
    first, twin, ground = optical[0], radar[0], terrain[0]
    assert first["id"] == f"{OPTICAL}_{CELLS[0]}"
    assert first["datetime"] == dt.datetime(2022, 7, 6, 8, 56, 11, tzinfo=dt.UTC)
    assert (first["baseline"], first["offset"], first["relative_orbit"]) == ("04.00", -1000, 7)
    assert (first["platform"], first["cloud_cover"]) == ("sentinel-2a", 12.5)
    assert twin["datetime"] == dt.datetime(2022, 7, 7, 4, 34, 13, tzinfo=dt.UTC)
    assert (twin["platform"], twin["relative_orbit"], twin["orbit_state"]) == (
        "sentinel-1a",
        109,
        "descending",
    )
    assert {asset["unit"] for asset in twin["assets"]} == {"power"}
    assert (ground["id"], ground["datetime"]) == (CELLS[0], None)
    for scene in (first, twin, ground):
        assert scene["geometry"] == first["geometry"]  # so that pairing joins cell to cell
        for asset in scene["assets"]:
            with opened(asset["href"]) as source:
                bounds = shapely.box(*source.bounds)
            lonlat = shapely.transform(bounds, lambda p: np.column_stack(from_zone(EPSG).transform(*p.T)))
            assert metres_apart(scene["geometry"], shapely.to_wkb(lonlat)) < 0.01


def test_one_data_set_alone_tells_what_it_is(corpus: Path, search: Any) -> None:
    for data, sensor in (("Core-S2L2A", S2), ("Core-S1RTC", S1), ("Core-DEM", DEM)):
        (corpus / data).rename(corpus.parent / "renamed")
        archive = open_archive(str(corpus.parent / "renamed"))
        assert isinstance(archive, MajorTomArchive) and list(archive.tables) == [sensor]
        assert not archive.simulated
        (corpus.parent / "renamed").rename(corpus / data)


def test_area_period_and_clouds(corpus: Path, search: Any, reasons: Any) -> None:
    west, south, east, north = (float(side[0]) for side in GRID.bounds(*GRID.parse(np.array([CELLS[1]]))))
    inner = shapely.box(west, (south + north) / 2, east, north)
    found = search(corpus, S2, area=inner)
    assert (found.scenes["id"].to_pylist(), found.other) == ([f"{OPTICAL}_{CELLS[1]}"], 1)
    assert search(corpus, S2, period=Period(start=dt.date(2022, 7, 7))).other == 2
    found = search(corpus, S2, max_cloud_percent=12)
    assert len(found) == 0 and set(reasons(found).values()) == {"cloudier than 12 %"}
    assert len(search(corpus, "sentinel-2-l1c")) == 0


def test_the_way_to_a_catalog(corpus: Path, recipe: Any, tmp_path: Path) -> None:
    box = (17.90, 0.03, 17.93, 0.06)
    options = {"region": f"bbox:{','.join(map(str, box))}", "sensors.partners": (S1, DEM)}
    made = recipe(f"majortom:{corpus}", S1, **options)
    workspace = stages.start(made, tmp_path / "catalogs")
    stages.build(made, workspace, Engine(workers=1))
    catalog = Catalog.open(workspace.catalog)
    rows = catalog.table.to_pylist()
    assert len(rows) > 50
    assert {round(one["s1_dt_hours"], 2) for one in rows} == {19.63}
    assert {one["s2_offset"] for one in rows} == {-1000}
    assert {one["cell"] for one in rows} <= set(CELLS)
    statistics = catalog.statistics()
    assert 0.05 < statistics["s2"].mean[0] < 0.07  # (1500 to 1600 DN - 1000) / 10,000


def test_the_same_cell_once_more(corpus: Path, search: Any) -> None:
    table = pq.read_table(corpus / "Core-S2L2A" / "metadata.parquet").to_pylist()
    newer = OPTICAL.replace("N0400", "N0510").replace("20220706T153419", "20240101T000000")
    later = OPTICAL.replace("20220706T085611", "20220711T085611")
    table += [{**table[0], "product_id": newer}, {**table[0], "product_id": later}, table[1]]
    pq.write_table(pa.Table.from_pylist(table), corpus / "Core-S2L2A" / "metadata.parquet")
    found = search(corpus, S2)
    assert sorted(found.scenes["id"].to_pylist()) == sorted(
        [f"{newer}_{CELLS[0]}", f"{later}_{CELLS[0]}", f"{OPTICAL}_{CELLS[1]}"]
    )
    assert [one.reason for one in found.rejected] == ["older duplicate"] * 2


@pytest.mark.parametrize(("darkest", "offset"), [(300, 0), (1050, -1000), (3000, None)])
def test_a_product_of_no_baseline_tells_by_its_dark_pixels(
    tmp_path: Path, raster: Any, search: Any, darkest: int, offset: int | None
) -> None:
    """Major TOM has products of baseline 99.99, which says nothing of the offset."""
    left, top = corner(CELLS[0])
    bands = {
        band: raster(EPSG, left, top, 60, 178, value=darkest).bytes(tmp_path)
        for band in ("B01", "B02", "B11", "B12")
    }
    rows = [row(CELLS[0], OPTICAL.replace("N0400", "N9999"), 0, "Core-S2L2A")]
    found = search(dataset(tmp_path, "Core-S2L2A", rows, [bands]), S2)
    assert found.scenes["offset"].to_pylist() == ([] if offset is None else [offset])
    if offset is None:
        assert [one.reason for one in found.rejected] == [
            "reflectance offset unknown, dark pixels not decisive"
        ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"crs": None}, "coordinate reference system unknown"),
        ({"crs": "somewhere"}, "coordinate reference system unknown"),
        ({"product_id": "unheard of"}, "no name of a Sentinel product"),
        ({"product_id": None}, "no name of a Sentinel product"),
        ({"grid_cell": "12"}, "no name of a grid cell"),
        ({"grid_cell": None}, "no name of a grid cell"),
        ({"parquet_url": None}, "its Parquet file is not there"),
        ({"parquet_url": "https://x/images/part_09999.parquet"}, "its Parquet file is not there"),
        ({"parquet_row": None}, "its Parquet file is not there"),
    ],
)
def test_rows_that_are_no_scenes(corpus: Path, search: Any, change: dict[str, Any], reason: str) -> None:
    path = corpus / "Core-S2L2A" / "metadata.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    pq.write_table(pa.Table.from_pylist([{**rows[0], **change}, rows[1]], schema=table.schema), path)
    found = search(corpus, S2)
    assert found.scenes["id"].to_pylist() == [f"{OPTICAL}_{CELLS[1]}"]
    assert [one.reason for one in found.rejected] == [reason]


def test_a_row_that_is_not_in_its_file_costs_its_chips_only(
    corpus: Path, recipe: Any, tmp_path: Path
) -> None:
    path = corpus / "Core-S2L2A" / "metadata.parquet"
    rows = pq.read_table(path).to_pylist()
    pq.write_table(pa.Table.from_pylist([rows[0], {**rows[1], "parquet_row": 9}]), path)
    options = {"region": "bbox:17.90,0.085,17.92,0.095"}
    made = recipe(corpus, S1, **options)
    workspace = stages.start(made, tmp_path / "catalogs")
    summary = stages.build(made, workspace, Engine(workers=1))[-1]
    assert {one["s2_id"] for one in Catalog.open(workspace.catalog).table.to_pylist()} == {
        f"{OPTICAL}_{CELLS[0]}"
    }
    assert any("read" in reason for reason in summary.rejected)


@pytest.mark.parametrize("content", [b"", b"PAR1 but no more"])
def test_a_broken_table(corpus: Path, content: bytes) -> None:
    (corpus / "Core-S2L2A" / "metadata.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"metadata\.parquet cannot be read"):
        open_archive(f"majortom:{corpus}")


def test_what_is_no_majortom(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="is no Major TOM"):
            open_archive(f"majortom:{path}")
    pq.write_table(pa.table({"grid_cell": ["0U_0R"]}), tmp_path / "metadata.parquet")
    with pytest.raises(InputError, match="it lacks crs, parquet_url, parquet_row"):
        open_archive(f"majortom:{tmp_path}")


def test_served_over_http(corpus: Path, search: Any, recipe: Any, tmp_path: Path, file_server: Any) -> None:
    server = file_server(corpus)
    for sensor in (S2, S1):
        near, far = search(corpus, sensor).scenes, search(f"majortom:{server.url}", sensor).scenes
        assert far.drop_columns("assets") == near.drop_columns("assets")
    href = far["assets"][0].as_py()[0]["href"]
    assert href == f"{server.url}/Core-S1RTC/images/part_00001.parquet#row=0&column=vv"
    made = recipe(f"majortom:{server.url}", S1, region="bbox:17.90,0.03,17.92,0.04")
    workspace = stages.start(made, tmp_path / "catalogs")
    stages.build(made, workspace, Engine(workers=1))
    assert Catalog.open(workspace.catalog).table.num_rows > 10


def test_served_as_it_was_published(corpus: Path, search: Any, file_server: Any) -> None:
    published = corpus.parent / "published"
    for data in corpus.iterdir():
        (published / data.name / "resolve").mkdir(parents=True)
        data.rename(published / data.name / "resolve" / "main")
    server = file_server(published)
    (first, _) = search(f"majortom:{server.url}", S1).scenes["assets"].to_pylist()
    assert (
        first[0]["href"] == f"{server.url}/Core-S1RTC/resolve/main/images/part_00001.parquet#row=0&column=vv"
    )
    with opened(first[0]["href"]) as source:
        assert source.read(1).min() == 0.25


def test_a_table_without_its_parts_leads_to_their_addresses(corpus: Path, search: Any) -> None:
    images = corpus / "Core-S2L2A" / "images"
    images.rename(corpus / "elsewhere")
    (row_, _) = search(corpus / "Core-S2L2A", S2).scenes["assets"].to_pylist()
    assert row_[0]["href"] == ADDRESS.format(data="Core-S2L2A") + "#row=0&column=B02"


@pytest.mark.real
def test_a_real_cell_is_what_the_static_catalog_says(
    tmp_path: Path, real_items: Any, search: Any, metres_apart: Any
) -> None:
    """The sample holds the middle 480 px of the cell's 1,068."""
    bands = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
    (one,) = real_items(S2, bands, "Major-TOM Core cell 0U_199R")
    pixels = {path.stem: path.read_bytes() for path in one.folder.glob("*.tif")}
    dataset(tmp_path, "Core-S2L2A", [row("0U_199R", one.id, 0, "Core-S2L2A")], [pixels])
    (mine,) = search(tmp_path, S2, bands).scenes.to_pylist()
    for key in ("datetime", "offset", "baseline", "platform", "relative_orbit"):
        assert mine[key] == one.row[key], key
    left, bottom, right, top = one.item["properties"]["proj:bbox"]
    inset = 240 * 10.0  # published: 1068 px from (819627.364, 10340)
    window = shapely.box(left - inset, bottom - 3480, right + 3480, top + inset)
    lonlat = shapely.transform(window, lambda p: np.column_stack(from_zone(EPSG).transform(*p.T)))
    assert metres_apart(mine["geometry"], shapely.to_wkb(lonlat)) < 0.01
    assert shapely.covers(shapely.from_wkb(mine["geometry"]), one.geometry)
    centre = shapely.centroid(one.geometry)
    assert GRID.names(*GRID.at(np.array([centre.x]), np.array([centre.y]))).tolist() == ["0U_199R"]
    for mine_, theirs in zip(mine["assets"], one.row["assets"], strict=True):
        with opened(mine_["href"]) as ours, opened(theirs["href"]) as other:
            assert ours.transform == other.transform and ours.crs == other.crs
            assert (ours.read(1) == other.read(1)).all()
        assert (mine_["scale"], mine_["offset"], mine_["unit"]) == (
            theirs["scale"],
            theirs["offset"],
            theirs["unit"],
        )


@pytest.mark.parametrize("status", [401, 403, 503])
def test_a_server_that_refuses_is_not_taken_for_an_empty_one(
    corpus: Path, file_server: Any, status: int
) -> None:
    server = file_server(corpus)
    server.plan(kind="status", status=status, path="Core-S1RTC")
    with pytest.raises(InputError, match=rf"Core-S1RTC/metadata\.parquet cannot be read: HTTP {status}"):
        open_archive(f"majortom:{server.url}")
