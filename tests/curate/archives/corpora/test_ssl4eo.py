"""SSL4EO-S12 folders: seasons at a place, in degrees, with Earth Engine's metadata beside the bands."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import shapely

from curate import stages
from curate.archives import open_archive
from curate.archives.ssl4eo import Ssl4eoArchive
from curate.catalog import Catalog
from curate.catalog.errors import InputError
from curate.engine import Engine
from curate.recipe import Period

S2, S1, L1C = "sentinel-2-l2a", "sentinel-1-grd", "sentinel-2-l1c"
PLACE = "0000200"
OPTICAL = "20200604T054639_20200604T054831_T43RCP"
RADAR = "S1A_IW_GRDH_1SDV_20200607T010800_20200607T010825_032904_03CFBA_D457"
LEFT, TOP, STEP = 73.2925, 30.4755, 1e-4
BANDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")
SAID = {
    "PRODUCT_ID": "S2B_MSIL2A_20200604T054639_N0214_R048_T43RCP_20200604T094332",
    "PROCESSING_BASELINE": "02.14",
    "SENSING_ORBIT_NUMBER": 48,
    "SENSING_ORBIT_DIRECTION": "DESCENDING",
    "CLOUDY_PIXEL_PERCENTAGE": 4.184628,
    "system:time_start": 1591250441044,
}


def scene(
    root: Path, kind: str, name: str, said: dict[str, Any] | None, raster: Any, place: str = PLACE
) -> Path:
    folder = root / kind / place / name
    for band in ("VV", "VH") if kind == "s1" else (*BANDS, *(["B10"] if kind == "s2c" else [])):
        value, dtype, spread = (-15, "float32", 10) if kind == "s1" else (500, "uint16", 97)
        raster(4326, LEFT, TOP, STEP, 264, dtype, value, spread).write(folder / f"{band}.tif")
    if said is not None:
        (folder / "metadata.json").write_text(json.dumps(said))
    return folder


@pytest.fixture
def corpus(tmp_path: Path, raster: Any) -> Path:
    root = tmp_path / "ssl4eo"
    scene(root, "s2a", OPTICAL, SAID, raster)
    scene(root, "s1", RADAR, {"orbitProperties_pass": "DESCENDING", "relativeOrbitNumber_start": 107}, raster)
    return root


def test_scenes_of_a_place(corpus: Path, search: Any) -> None:
    for prefix in ("", "ssl4eo:"):
        (optical,) = search(f"{prefix}{corpus}", S2).scenes.to_pylist()
        (radar,) = search(f"{prefix}{corpus}", S1).scenes.to_pylist()
    assert optical["id"] == f"{PLACE}_{OPTICAL}"
    assert optical["datetime"] == dt.datetime(2020, 6, 4, 6, 0, 41, 44_000, tzinfo=dt.UTC)
    assert (optical["baseline"], optical["offset"], optical["relative_orbit"]) == ("02.14", 0, 48)
    assert (optical["platform"], optical["orbit_state"]) == ("sentinel-2b", "descending")
    assert optical["cloud_cover"] == pytest.approx(4.184628)
    assert [Path(asset["href"]).name for asset in optical["assets"]] == ["B2.tif", "B12.tif"]
    assert radar["datetime"] == dt.datetime(2020, 6, 7, 1, 8, tzinfo=dt.UTC)
    assert (radar["platform"], radar["relative_orbit"], radar["orbit_state"]) == (
        "sentinel-1a",
        107,
        "descending",
    )
    assert {asset["unit"] for asset in radar["assets"]} == {"dB"}
    box = shapely.box(LEFT, TOP - 264 * STEP, LEFT + 264 * STEP, TOP)
    for row in (optical, radar):
        assert shapely.hausdorff_distance(shapely.from_wkb(row["geometry"]), box) < 1e-9
    assert not open_archive(str(corpus)).simulated


def test_area_period_and_clouds(corpus: Path, search: Any, reasons: Any) -> None:
    assert search(corpus, S2, area=shapely.box(0, 0, 1, 1)).other == 1
    assert search(corpus, S2, period=Period(end=dt.date(2020, 6, 3))).other == 1
    found = search(corpus, S2, max_cloud_percent=4)
    assert (len(found), list(reasons(found).values())) == (0, ["cloudier than 4 %"])


def test_the_way_to_a_catalog(corpus: Path, recipe: Any, tmp_path: Path) -> None:
    made = recipe(corpus, S1)
    workspace = stages.start(made, tmp_path / "catalogs")
    stages.build(made, workspace, Engine(workers=1))
    rows = Catalog.open(workspace.catalog).table.to_pylist()
    assert len(rows) > 50
    assert {round(row["s1_dt_hours"], 2) for row in rows} == {67.12}


def test_an_unknown_baseline_is_refused_unless_dark_pixels_tell(
    corpus: Path, raster: Any, search: Any, reasons: Any
) -> None:
    unknown = {"system:time_start": SAID["system:time_start"]}
    path = corpus / "s2a" / PLACE / OPTICAL
    (path / "metadata.json").write_text(json.dumps(unknown))
    (row,) = search(corpus, S2).scenes.to_pylist()
    assert row["offset"] == 0  # numbers of 500 and more: darker than any offset allows
    for band in path.glob("*.tif"):
        raster(4326, LEFT, TOP, STEP, 264, "uint16", 5000).write(band)
    (reason,) = reasons(search(corpus, S2)).values()
    assert reason.startswith("reflectance offset unknown")


def test_without_metadata_a_folder_of_earth_engine_has_no_time(
    corpus: Path, search: Any, reasons: Any
) -> None:
    (corpus / "s2a" / PLACE / OPTICAL / "metadata.json").unlink()
    assert list(reasons(search(corpus, S2)).values()) == ["acquisition time unknown"]
    (corpus / "s1" / PLACE / RADAR / "metadata.json").unlink()
    (row,) = search(corpus, S1).scenes.to_pylist()  # its folder is named after the product
    assert (row["relative_orbit"], row["orbit_state"]) == (107, "descending")


@pytest.mark.parametrize("content", [b"{ no", b"[1]", b"\xff", b"null"])
def test_broken_metadata(corpus: Path, search: Any, reasons: Any, content: bytes) -> None:
    (corpus / "s2a" / PLACE / OPTICAL / "metadata.json").write_bytes(content)
    assert reasons(search(corpus, S2)) == {f"{PLACE}_{OPTICAL}": "broken JSON beside the bands"}


def test_bands_that_are_missing_or_broken(corpus: Path, raster: Any, search: Any, reasons: Any) -> None:
    folder = corpus / "s2a" / PLACE / OPTICAL
    (folder / "B12.tif").unlink()
    assert list(reasons(search(corpus, S2)).values()) == ["bands missing"]
    (folder / "B2.tif").write_bytes(b"no raster")
    assert list(reasons(search(corpus, S2, ("B02",))).values()) == ["unreadable band"]
    raster(None, LEFT, TOP, STEP).write(folder / "B2.tif")
    assert list(reasons(search(corpus, S2, ("B02",))).values()) == ["coordinate reference system unknown"]
    raster(32643, 300_000, 3_400_000).write(folder / "B2.tif")
    assert list(reasons(search(corpus, S2, ("B02",))).values()) == [
        "its pixels are not in longitude and latitude"
    ]


def test_folders_that_are_no_places_are_left_alone(corpus: Path, raster: Any, search: Any) -> None:
    scene(corpus, "s2a", OPTICAL, SAID, raster, place="notes")
    assert len(search(corpus, S2)) == 1
    assert len(search(corpus, L1C)) == 0  # there is no folder s2c
    scene(corpus, "s2c", OPTICAL, {**SAID, "PROCESSING_BASELINE": "02.09"}, raster)
    (row,) = search(corpus, L1C, ("B02", "B10")).scenes.to_pylist()
    assert (row["baseline"], row["offset"], row["sensor"]) == ("02.09", 0, L1C)


@pytest.mark.parametrize("prefix", ["", "ssl4eo:"])
def test_version_1_1_is_refused_with_advice(tmp_path: Path, prefix: str) -> None:
    shard = tmp_path / "train" / "S2L2A" / "ssl4eos12_train_seasonal_data_000001.zarr.zip"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"PK")
    with pytest.raises(InputError, match=r"version 1\.1.*cannot be read.*version 1, unpacked"):
        open_archive(f"{prefix}{tmp_path}")


def test_what_is_no_ssl4eo(tmp_path: Path) -> None:
    (tmp_path / "s1" / "notes").mkdir(parents=True)
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="is no SSL4EO-S12"):
            open_archive(f"ssl4eo:{path}")


@pytest.mark.real
def test_real_chips_are_what_the_static_catalog_says(
    tmp_path: Path, real_items: Any, search: Any, metres_apart: Any
) -> None:
    """Names of folders and metadata as Earth Engine wrote them; bands of a real place of the corpus."""
    kinds = {
        S2: ("s2a", tuple(band.replace("B", "B0") if len(band) == 2 else band for band in BANDS)),
        L1C: ("s2c", ("B02", "B10")),
        S1: ("s1", ("VV", "VH")),
    }
    compared = 0
    for sensor, (kind, bands) in kinds.items():
        items = real_items(sensor, bands, "SSL4EO-S12")
        assert len(items) == 2
        for one in items:
            properties = one.item["properties"]
            moment = one.row["datetime"]
            said = {"system:time_start": moment.timestamp() * 1000, "PRODUCT_ID": one.id}
            if kind == "s1":
                said |= {"orbitProperties_pass": properties["sat:orbit_state"].upper()}
                said |= {
                    "relativeOrbitNumber_start": properties["sat:relative_orbit"],
                    "system:index": one.id,
                }
            else:
                said |= {"PROCESSING_BASELINE": properties["s2:processing_baseline"]}
                said |= {"CLOUDY_PIXEL_PERCENTAGE": properties["eo:cloud_cover"]}
            folder = tmp_path / kind / PLACE / one.id
            folder.mkdir(parents=True)
            (folder / "metadata.json").write_text(json.dumps(said))
            for path in one.folder.glob("*.tif"):
                name = path.stem.upper()
                shutil.copy(path, folder / f"{name.replace('B0', 'B') if kind != 's1' else name}.tif")
        ours = {
            row["id"].removeprefix(f"{PLACE}_"): row
            for row in search(tmp_path, sensor, bands).scenes.to_pylist()
        }
        for one in items:
            mine = ours[one.id]
            assert metres_apart(mine["geometry"], one.row["geometry"]) < 10
            for key in ("datetime", "offset", "platform", "relative_orbit", "baseline", "cloud_cover"):
                assert mine[key] == one.row[key], key
            assert [asset["unit"] for asset in mine["assets"]] == [
                asset["unit"] for asset in one.row["assets"]
            ]
            compared += 1
    assert compared == 6
    assert isinstance(open_archive(str(tmp_path)), Ssl4eoArchive)
