"""BigEarthNet folders of both versions: listed by name, read in place, paired and cut."""

from __future__ import annotations

import datetime as dt
import json
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from pyproj import CRS

from curate import stages
from curate.archives import open_archive
from curate.archives.bigearthnet import FLAGGED, NO_NAME, BigEarthNetArchive
from curate.catalog import Catalog
from curate.catalog.errors import InputError
from curate.engine import Engine
from curate.recipe import Period

S2, S1 = "sentinel-2-l2a", "sentinel-1-grd"
OPTICAL = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
STEP = {
    band: 60 if band in ("B01", "B09") else 10 if band in ("B02", "B03", "B04", "B08") else 20
    for band in OPTICAL
}
PLACES = ((87, 48), (88, 48))  # columns and rows in tile 33UUP


def v1_json(folder: Path, name: str, left: float, top: float, epsg: int = 32633) -> None:
    said = {
        "labels": ["Pastures"],
        "coordinates": {"ulx": left, "uly": top, "lrx": left + 1200, "lry": top - 1200},
        "projection": CRS.from_epsg(epsg).to_wkt("WKT1_GDAL"),
        "tile_source": "S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE",
        "acquisition_date": "2017-06-13 10:10:31",
    }
    (folder / f"{name}_labels_metadata.json").write_text(json.dumps(said))


def make(root: Path, version: int, raster: Any) -> Path:
    """Two pairs of patches beside each other."""
    for col, row in PLACES:
        left, top = 300_000 + 1200.0 * col, 5_400_000 - 1200.0 * row
        if version == 1:
            name = f"S2A_MSIL2A_20170613T101031_{col}_{row}"
            optical = root / "BigEarthNet-v1.0" / name
        else:
            scene = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
            name = f"{scene}_{col:02d}_{row:02d}"
            optical = root / "BigEarthNet-S2" / scene / name
        for band, step in STEP.items():
            raster(32633, left, top, step, 1200 // step, value=500).write(optical / f"{name}_{band}.tif")
        if version == 1:
            v1_json(optical, name, left, top)
        name = f"S1A_IW_GRDH_1SDV_20170613T165043_33UUP_{col}_{row}"
        radar = (
            root
            / ("BigEarthNet-S1-v1.0" if version == 1 else f"BigEarthNet-S1/{name.rsplit('_', 3)[0]}")
            / name
        )
        for band in ("VV", "VH"):
            raster(32633, left, top, dtype="float32", value=-15, spread=10).write(
                radar / f"{name}_{band}.tif"
            )
    return root


def table(rows: list[dict[str, Any]], path: Path) -> None:
    schema = pa.schema(
        [("patch_id", pa.string()), ("s1_name", pa.string()), ("contains_cloud_or_shadow", pa.bool_())]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


@pytest.fixture(params=[1, 2])
def corpus(request: pytest.FixtureRequest, tmp_path: Path, raster: Any) -> Path:
    return make(tmp_path / f"v{request.param}", request.param, raster)


def test_patches_are_scenes(corpus: Path, search: Any, metres_apart: Any) -> None:
    for prefix in ("", "bigearthnet:"):
        optical, radar = search(f"{prefix}{corpus}", S2, OPTICAL), search(f"{prefix}{corpus}", S1)
        assert (len(optical), len(radar)) == (2, 2)
        assert optical.rejected == radar.rejected == []
    first, twin = optical.scenes.to_pylist()[0], radar.scenes.to_pylist()[0]
    assert first["datetime"] == dt.datetime(2017, 6, 13, 10, 10, 31, tzinfo=dt.UTC)
    assert twin["datetime"] == dt.datetime(2017, 6, 13, 16, 50, 43, tzinfo=dt.UTC)
    assert (first["platform"], first["relative_orbit"], first["offset"]) == ("sentinel-2a", 22, 0)
    assert (twin["platform"], twin["relative_orbit"], twin["orbit_state"]) == (
        "sentinel-1a",
        146,
        "ascending",
    )
    assert {asset["unit"] for asset in twin["assets"]} == {"dB"}
    for scene in (first, twin):
        for asset in scene["assets"]:
            with rasterio.open(asset["href"]) as source:
                box = shapely.to_wkb(shapely.transform(shapely.box(*source.bounds), to_lonlat))
            assert Path(asset["href"]).stem.endswith(f"_{asset['band']}")
            assert metres_apart(scene["geometry"], box) < 0.01
        assert shapely.from_wkb(scene["geometry"]).bounds == tuple(scene["bbox"].values())


def to_lonlat(points: Any) -> Any:
    from curate.chips import from_zone

    return np.column_stack(from_zone(32633).transform(points[:, 0], points[:, 1]))


def test_area_and_period(corpus: Path, search: Any) -> None:
    west = shapely.from_wkb(search(corpus, S2).scenes["geometry"][0].as_py())
    inner = shapely.buffer(shapely.centroid(west), 1e-4)
    found = search(corpus, S2, area=inner)
    assert (len(found), found.other, found.rejected) == (1, 1, [])
    assert search(corpus, S2, period=Period(start=dt.date(2017, 6, 14))).other == 2
    assert len(search(corpus, S2, period=Period(end=dt.date(2017, 6, 13)))) == 2


def test_the_way_to_a_catalog(corpus: Path, recipe: Any, tmp_path: Path) -> None:
    made = recipe(f"bigearthnet:{corpus}", S1)
    workspace = stages.start(made, tmp_path / "catalogs")
    stages.build(made, workspace, Engine(workers=1))
    catalog = Catalog.open(workspace.catalog)
    catalog.require_pixels()
    rows = catalog.table.to_pylist()
    assert len(rows) >= 50  # 240 m chips in two patches of 1200 m that touch
    assert {round(row["s1_dt_hours"], 3) for row in rows} == {6.67}
    assert {row["s2_valid"] for row in rows} == {1.0}
    assert catalog.meta.source["simulated"] is False


def test_strange_names_are_counted(corpus: Path, search: Any, reasons: Any) -> None:
    sensor_folders = [path for path in corpus.iterdir() if path.is_dir()]
    for folder in sensor_folders:
        inside = folder if "v1.0" in folder.name else next(folder.iterdir())
        (inside / "notes").mkdir()
        (inside / "S1A_IW_GRDH_1SDV_20170613T165043_33UAP_1_1").mkdir()  # no such square in that zone
    for sensor in (S2, S1):
        found = search(corpus, sensor)
        assert len(found) == 2
        assert set(reasons(found).values()) == {NO_NAME}
        assert set(reasons(found)) == {"notes", "S1A_IW_GRDH_1SDV_20170613T165043_33UAP_1_1"}


def test_a_missing_sensor_is_no_scene(corpus: Path, search: Any) -> None:
    for path in corpus.iterdir():
        if "S1" in path.name:
            shutil.rmtree(path)
    assert len(search(corpus, S1)) == 0 and len(search(corpus, S2)) == 2
    assert len(search(corpus, "landsat-c2-l2", ("red",))) == 0


def test_a_band_that_the_corpus_lacks_is_a_reason(corpus: Path, search: Any, monkeypatch: Any) -> None:
    from curate.archives import bigearthnet

    monkeypatch.setitem(bigearthnet._BANDS, S2, ("B02",))
    found = search(corpus, S2, ("B02", "B12"))
    assert len(found) == 0
    assert {one.reason for one in found.rejected} == {"bands missing"}


def test_a_missing_file_costs_its_chips_only(corpus: Path, recipe: Any, tmp_path: Path) -> None:
    gone = next(path for path in sorted(corpus.rglob("*_B8A.tif")) if "_87_" in path.name)
    gone.unlink()
    made = recipe(corpus, S1)
    workspace = stages.start(made, tmp_path / "catalogs")
    summary = stages.build(made, workspace, Engine(workers=1))[-1]
    rows = Catalog.open(workspace.catalog).table.to_pylist()
    assert rows and all("_88_" in row["s2_id"] for row in rows)
    assert any("read" in reason for reason in summary.rejected)


def test_version_1_without_json_takes_the_place_from_a_band(tmp_path: Path, raster: Any, search: Any) -> None:
    corpus = make(tmp_path / "v1", 1, raster)
    with_json = search(corpus, S2).scenes
    for path in corpus.rglob("*.json"):
        path.unlink()
    without = search(corpus, S2).scenes
    assert without["geometry"] == with_json["geometry"]
    assert without["relative_orbit"].null_count == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{ not json", "broken JSON beside the bands"),
        ("{}", "broken JSON beside the bands"),
        ("[1]", "broken JSON beside the bands"),
        (
            '{"projection": "nowhere", "coordinates": {"ulx": 1, "uly": 2}}',
            "coordinate reference system unknown",
        ),
        ('{"projection": null, "coordinates": {"ulx": 1, "uly": 2}}', "coordinate reference system unknown"),
    ],
)
def test_version_1_with_broken_json(
    tmp_path: Path, raster: Any, search: Any, reasons: Any, content: str, reason: str
) -> None:
    corpus = make(tmp_path / "v1", 1, raster)
    next(corpus.rglob("*_87_48_labels_metadata.json")).write_text(content)
    found = search(corpus, S2)
    assert len(found) == 1
    assert reasons(found) == {"S2A_MSIL2A_20170613T101031_87_48": reason}


def test_version_1_with_nothing_in_its_folder(tmp_path: Path, raster: Any, search: Any, reasons: Any) -> None:
    corpus = make(tmp_path / "v1", 1, raster)
    folder = next(corpus.rglob("S2A*_87_48"))
    shutil.rmtree(folder)
    folder.mkdir()
    assert reasons(search(corpus, S2)) == {folder.name: "neither JSON nor bands in its folder"}
    raster(None, 0, 0).write(folder / f"{folder.name}_B02.tif")
    assert reasons(search(corpus, S2)) == {folder.name: "coordinate reference system unknown"}


def test_one_name_for_two_tiles(tmp_path: Path, raster: Any, search: Any) -> None:
    corpus = make(tmp_path / "v1", 1, raster)
    folder = next(corpus.rglob("S2A*_87_48"))
    v1_json(folder, folder.name, 404_400, 5_342_400, epsg=32634)
    lon = sorted(box["xmin"] for box in search(corpus, S2).scenes["bbox"].to_pylist())
    assert lon[1] - lon[0] == pytest.approx(6, abs=0.1)


def test_patches_that_the_corpus_calls_cloudy(tmp_path: Path, raster: Any, search: Any, reasons: Any) -> None:
    corpus = make(tmp_path / "v2", 2, raster)
    names = search(corpus, S2).scenes["id"].to_pylist()
    table([{"patch_id": names[0], "contains_cloud_or_shadow": True}], corpus / "metadata.parquet")
    assert len(search(corpus, S2)) == 2
    found = search(corpus, S2, max_cloud_percent=50)
    assert found.scenes["id"].to_pylist() == names[1:] and reasons(found) == {names[0]: FLAGGED}
    assert len(search(corpus, S1, max_cloud_percent=50)) == 2


@pytest.mark.parametrize("content", [b"", b"PAR1 but not really", b"{}"])
def test_a_broken_table(tmp_path: Path, raster: Any, search: Any, content: bytes) -> None:
    corpus = make(tmp_path / "v2", 2, raster)
    (corpus / "metadata.parquet").write_bytes(content)
    assert len(search(corpus, S2)) == 2  # it is not needed
    with pytest.raises(InputError, match=r"metadata\.parquet cannot be read"):
        search(corpus, S2, max_cloud_percent=50)


def test_version_2_behind_http(
    tmp_path: Path, raster: Any, search: Any, recipe: Any, file_server: Any
) -> None:
    corpus = make(tmp_path / "v2", 2, raster)
    pairs = zip(
        search(corpus, S2).scenes["id"].to_pylist(), search(corpus, S1).scenes["id"].to_pylist(), strict=True
    )
    table([{"patch_id": one, "s1_name": two} for one, two in pairs], corpus / "metadata.parquet")
    url = file_server(corpus).url
    for sensor in (S2, S1):
        near, far = search(corpus, sensor).scenes, search(f"bigearthnet:{url}", sensor).scenes
        assert far.drop_columns("assets") == near.drop_columns("assets")
        assets = zip(near["assets"].to_pylist(), far["assets"].to_pylist(), strict=True)
        for here, there in (
            (a["href"], b["href"]) for one, two in assets for a, b in zip(one, two, strict=True)
        ):
            assert there == here.replace(str(corpus), url)
    made = recipe(f"bigearthnet:{url}", S1)
    workspace = stages.start(made, tmp_path / "catalogs")
    stages.build(made, workspace, Engine(workers=1))
    assert Catalog.open(workspace.catalog).table.num_rows >= 50


def test_an_address_without_the_table(tmp_path: Path, file_server: Any) -> None:
    with pytest.raises(InputError, match=r"metadata\.parquet cannot be read"):
        open_archive(f"bigearthnet:{file_server(tmp_path).url}")


def test_only_an_absent_second_table_may_lack(
    tmp_path: Path, raster: Any, search: Any, file_server: Any
) -> None:
    corpus = make(tmp_path / "v2", 2, raster)
    names = search(corpus, S2).scenes["id"].to_pylist()
    table([{"patch_id": names[0]}], corpus / "metadata.parquet")
    second = corpus / "metadata_for_patches_with_snow_cloud_or_shadow.parquet"
    server = file_server(corpus)
    assert search(f"bigearthnet:{server.url}", S2).scenes["id"].to_pylist() == names[:1]
    table([{"patch_id": names[1]}], second)
    assert search(f"bigearthnet:{server.url}", S2).scenes["id"].to_pylist() == names
    for status, do in ((403, "Download it again"), (503, "Try again later")):
        server.plan(kind="status", status=status, path=second.name)
        with pytest.raises(InputError, match=f"{second.name} cannot be read: HTTP {status}. {do}"):
            open_archive(f"bigearthnet:{server.url}")


def test_what_is_no_bigearthnet(tmp_path: Path) -> None:
    (tmp_path / "else").mkdir()
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="is no BigEarthNet"):
            open_archive(f"bigearthnet:{path}")


REAL = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")


def real_tree(root: Path, items: list[Any], version: int) -> None:
    """Real chips in the corpus's layout; those of version 2 keep their names, version 1's are renamed for it."""
    for one in items:
        radar = one.id.startswith("S1")
        name = one.id
        if version == 1:
            folder = root / ("BigEarthNet-S1-v1.0" if radar else "BigEarthNet-v1.0") / name
        elif radar:
            folder = root / "BigEarthNet-S1" / name.rsplit("_", 3)[0] / name
        else:
            folder = root / "BigEarthNet-S2" / name.rsplit("_", 2)[0] / name
        folder.mkdir(parents=True)
        for path in one.folder.glob("*.tif"):
            shutil.copy(path, folder / f"{name}_{path.stem.upper()}.tif")
        if version == 1 and not radar:
            properties = one.item["properties"]
            left, _, _, top = properties["proj:bbox"]
            v1_json(folder, name, left, top, int(properties["proj:code"].split(":")[1]))


@pytest.mark.real
@pytest.mark.parametrize("version", [1, 2])
def test_real_patches_are_what_the_static_catalog_says(
    version: int, tmp_path: Path, real_items: Any, search: Any, metres_apart: Any
) -> None:
    text = {1: "BigEarthNet patch", 2: "N9999_R022_T33UUP"}[version]
    optical = real_items(S2, REAL, text)
    radar = [
        one for one in real_items(S1, ("VV", "VH"), "BigEarthNet") if "_33UUP_" in one.id or version == 1
    ]
    assert len(optical) == {1: 12, 2: 1}[version] and len(radar) == {1: 8, 2: 5}[version]
    real_tree(tmp_path, [*optical, *radar], version)
    for sensor, bands, items in ((S2, REAL, optical), (S1, ("VV", "VH"), radar)):
        found = search(tmp_path, sensor, bands)
        assert found.rejected == []
        ours = {row["id"]: row for row in found.scenes.to_pylist()}
        assert set(ours) == {one.id for one in items}
        for one in items:
            mine, theirs = ours[one.id], one.row
            assert metres_apart(mine["geometry"], theirs["geometry"]) < 1
            assert (mine["datetime"], mine["offset"]) == (theirs["datetime"], theirs["offset"])
            assert mine["platform"] == theirs["platform"]
            assert theirs["orbit_state"] in (None, mine["orbit_state"])
            assert [asset["unit"] for asset in mine["assets"]] == [
                asset["unit"] for asset in theirs["assets"][: len(bands)]
            ]
            for asset in mine["assets"]:
                assert Path(asset["href"]).is_file()
        if sensor == S1:
            known = [one for one in items if one.row["relative_orbit"] is not None]
            assert known and all(ours[one.id]["relative_orbit"] == one.row["relative_orbit"] for one in known)


@pytest.mark.real
def test_real_pairs_become_a_catalog(tmp_path: Path, real_items: Any, recipe: Any) -> None:
    items = [*real_items(S2, REAL, "BigEarthNet patch"), *real_items(S1, ("VV", "VH"), "BigEarthNet")]
    real_tree(tmp_path / "ben", items, 1)
    made = recipe(tmp_path / "ben", S1)
    workspace = stages.start(made, tmp_path / "catalogs")
    stages.build(made, workspace, Engine(workers=1))
    rows = Catalog.open(workspace.catalog).table.to_pylist()
    pairs = {(row["s2_id"], row["s1_id"]) for row in rows}
    assert len(pairs) == 4
    assert all(two.split("_")[-2:] == one.split("_")[-2:] for two, one in pairs)


@pytest.mark.real
@pytest.mark.slow
def test_the_whole_corpus_is_listed_in_time(
    tmp_path: Path, real_data: Path, file_server: Any, search: Any
) -> None:
    """All 590,326 pairs of the published table, named as version 2 names them."""
    source = pq.read_table(
        real_data / "tables" / "bigearthnet_pairs_590k.parquet",
        columns=["s1_name", "s2_name", "tile", "col", "row"],
    )
    parts = pc.extract_regex(
        source["s2_name"].combine_chunks().cast(pa.string()), r"^(?P<start>.*T)(?P<clock>\d+)_\d+_\d+$"
    )
    padded = {
        key: pc.utf8_lpad(source[key].combine_chunks().cast(pa.string()), width=2, padding="0")
        for key in ("col", "row")
    }
    clock = pc.utf8_lpad(parts.field("clock"), width=6, padding="0")
    scene = pc.binary_join_element_wise(
        pc.binary_join_element_wise(parts.field("start"), clock, "").cast(pa.string()),
        "N9999_R022",
        pc.binary_join_element_wise("T", source["tile"].combine_chunks().cast(pa.string()), ""),
        padded["col"],
        padded["row"],
        "_",
    )
    names = pa.table({"patch_id": scene, "s1_name": source["s1_name"].combine_chunks().cast(pa.string())})
    pq.write_table(
        names.append_column("contains_cloud_or_shadow", pa.nulls(len(names), pa.bool_())),
        tmp_path / "metadata.parquet",
    )
    archive = f"bigearthnet:{file_server(tmp_path).url}"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    optical, radar = search(archive, S2, REAL), search(archive, S1)
    seconds = time.monotonic() - started
    peak_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"\n590,326 pairs listed in {seconds:.1f} s, {peak_mb:,.0f} MB more at the peak")
    assert (len(optical), len(radar)) == (590_326, 590_326)
    assert seconds < 90
    assert peak_mb < 4_000
    few = next(optical.tables(1000))
    place = pc.index_in(few["id"], value_set=names["patch_id"].combine_chunks()).to_pylist()
    true = pq.read_table(
        real_data / "tables" / "bigearthnet_pairs_590k.parquet", columns=["lon", "lat"]
    ).take(place)
    centres = shapely.get_coordinates(shapely.centroid(shapely.from_wkb(few["geometry"].to_pylist())))
    assert (
        np.abs(centres - np.column_stack([true["lon"], true["lat"]])).max() < 2e-4
    )  # the table's are float32


def test_the_archive_is_not_simulated(corpus: Path) -> None:
    archive = open_archive(str(corpus))
    assert isinstance(archive, BigEarthNetArchive) and not archive.simulated
