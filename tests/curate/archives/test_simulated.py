"""The simulated archive: true in format, place, climate and time; plausible in its values."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
import shapely
from rio_cogeo.cogeo import cog_validate

from curate.archives.simulated import frames, optics, orbits, radar, simulate, stac
from curate.archives.simulated.climate import symbols_at
from curate.archives.simulated.dates import BASELINE_04, plan
from curate.archives.simulated.landcover import BUILT, CROP, SNOW, TREE, WATER
from curate.archives.simulated.places import choose_sites, named_places
from curate.archives.simulated.site import Task, lay_ground
from curate.catalog.errors import InputError
from curate.sensors import SENSORS

PX = 180
EUROPE = shapely.box(-25, 34, 60, 72)
# One town on a river, one Alpine site, one field of Landes: three named places around these points
AREA = shapely.union_all(
    [shapely.Point(*xy).buffer(0.2) for xy in ((-0.75, 41.60), (7.75, 46.02), (9.70, 52.36))]
)


def digests(folder: Path) -> dict[str, str]:
    files = [p for p in folder.rglob("*") if p.suffix.lower() in (".tif", ".json") and p.is_file()]
    return {str(p.relative_to(folder)): hashlib.blake2b(p.read_bytes()).hexdigest() for p in files}


def items_of(path: Path) -> list[pystac.Item]:
    return list(pystac.Catalog.from_file(str(path)).get_items(recursive=True))


def read(asset: pystac.Asset) -> np.ndarray:
    with rasterio.open(asset.get_absolute_href()) as file:
        return file.read(1)


def place(name: str):
    return next(site for site in named_places() if site.name == name)


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    return simulate(AREA, tmp_path_factory.mktemp("one"), sites=3, workers=1, size_px=PX)


@pytest.fixture(scope="module")
def items(archive) -> list[pystac.Item]:
    return items_of(archive)


@pytest.fixture(scope="module")
def ground():
    return lay_ground(Task(place("Hannover"), 0, 720, 1))


@pytest.fixture(scope="module")
def powers(ground):
    scenes = [a.one for a in plan(ground.site, 0) if a.sensor == "sentinel-1-rtc"]
    return radar.backscatter(ground.site, 0, ground.terrain, ground.cover, scenes[0], flattened=True)


def of(items: list[pystac.Item], collection: str) -> list[pystac.Item]:
    return [item for item in items if item.collection_id == collection]


class TestCatalog:
    def test_says_everywhere_that_it_is_simulated(self, archive, items) -> None:
        catalog = pystac.Catalog.from_file(str(archive))
        assert catalog.extra_fields["curate:simulated"] is True
        collections = list(catalog.get_collections())
        assert {c.id for c in collections} == set(stac.COLLECTIONS) <= set(SENSORS)
        for collection in collections:
            assert collection.extra_fields["curate:simulated"] is True
            assert "simulated" in collection.title and "SIMULATED" in collection.description
        assert all(item.properties["curate:simulated"] for item in items)

    def test_is_self_contained_stac_1_1(self, archive) -> None:
        for path in archive.parent.rglob("*.json"):
            content = json.loads(path.read_text())
            if content.get("type") not in ("Catalog", "Collection", "Feature"):
                continue
            assert content["stac_version"] == "1.1.0"
            for link in content["links"]:
                assert not link["href"].startswith(("/", "http", "file")), link
                assert (path.parent / link["href"]).exists(), (path, link)
                assert link["rel"] != "self"

    def test_items_describe_their_files(self, items) -> None:
        assert len({item.id for item in items}) == len(items)
        for item in items:
            footprint = shapely.geometry.shape(item.geometry)
            assert footprint.is_valid and item.bbox is not None
            for asset in item.assets.values():
                with rasterio.open(asset.get_absolute_href()) as file:
                    band = asset.extra_fields["bands"][0]
                    assert file.crs.to_epsg() == int(asset.extra_fields["proj:code"].split(":")[1])
                    assert list(file.shape) == asset.extra_fields["proj:shape"]
                    assert list(file.transform)[:6] == pytest.approx(
                        asset.extra_fields["proj:transform"], abs=1e-12
                    )
                    assert file.dtypes[0] == band["data_type"]
                    assert file.nodata == band.get("nodata")

    def test_items_have_the_bands_and_keys_of_the_sensors(self, items) -> None:
        for item in items:
            sensor = SENSORS[item.collection_id]
            wanted = {band.asset_keys[0] for band in sensor.default} | (
                {"scl"} if sensor.kind == "optical" and sensor.name != "landsat-c2-l2" else set()
            )
            assert set(item.assets) == wanted
            for band in sensor.default:
                asset = item.assets[band.asset_keys[0]]
                if band.wavelength_nm:
                    assert asset.extra_fields["bands"][0]["eo:center_wavelength"] == pytest.approx(
                        band.wavelength_nm / 1000, abs=1e-3
                    )
                if sensor.name.startswith("sentinel"):
                    assert asset.extra_fields["gsd"] == band.resolution_m

    def test_files_are_valid_cloud_optimized_geotiffs(self, items) -> None:
        chosen = {(item.collection_id, key): asset for item in items for key, asset in item.assets.items()}
        for asset in chosen.values():
            valid, errors, _ = cog_validate(asset.get_absolute_href())
            assert valid, errors
            with rasterio.open(asset.get_absolute_href()) as file:
                assert file.compression.value == "DEFLATE"

    def test_large_files_have_overviews(self, tmp_path) -> None:
        from curate.archives.simulated.cog import write_cog

        write_cog(
            tmp_path / "a.tif",
            np.ones((720, 720), np.uint16),
            32632,
            rasterio.Affine(10, 0, 0, 0, -10, 0),
            0,
            "a",
        )
        assert cog_validate(tmp_path / "a.tif", strict=True)[0]
        with rasterio.open(tmp_path / "a.tif") as file:
            assert file.overviews(1) == [2]

    def test_footprint_is_where_the_data_are(self, items) -> None:
        cut = 0
        for item in of(items, "sentinel-2-l2a") + of(items, "sentinel-1-rtc"):
            asset = item.assets.get("blue") or item.assets["vv"]
            with rasterio.open(asset.get_absolute_href()) as file:
                data = file.read(1) != file.nodata
                square = np.prod(file.shape) * 100
            share = shapely.geometry.shape(item.geometry).area
            whole = shapely.box(*item.bbox).area
            assert data.mean() > 0.5
            cut += data.mean() < 0.999
            projected = shapely.transform(
                shapely.geometry.shape(item.geometry),
                lambda xy, code=asset.extra_fields["proj:code"]: np.stack(
                    frames.pyproj.Transformer.from_crs(4326, code, always_xy=True).transform(*xy.T), -1
                ),
            )
            assert projected.area / square == pytest.approx(data.mean(), abs=0.01)
            assert share <= whole
        assert cut >= 1


class TestDeterminism:
    def test_workers_do_not_matter(self, archive, tmp_path) -> None:
        other = simulate(AREA, tmp_path / "two", sites=3, workers=2, size_px=PX)
        assert digests(other.parent) == digests(archive.parent)

    def test_seed_matters(self, archive, tmp_path) -> None:
        one = shapely.Point(-0.75, 41.60).buffer(0.1)
        other = simulate(one, tmp_path / "one", sites=1, seed=1, workers=1, size_px=60)
        again = simulate(one, tmp_path / "again", sites=1, seed=2, workers=1, size_px=60)
        assert set(digests(other.parent).values()).isdisjoint(
            v for k, v in digests(again.parent).items() if k.endswith("elevation.tif")
        )

    def test_rerun_does_nothing_and_a_lost_site_is_made_again(self, tmp_path) -> None:
        area = shapely.union_all([shapely.Point(*xy).buffer(0.1) for xy in ((-0.75, 41.60), (9.70, 52.36))])
        seen: list[tuple[int, int]] = []

        def again(**options) -> Path:
            seen.clear()
            return simulate(
                area,
                tmp_path,
                sites=2,
                workers=1,
                size_px=60,
                progress=lambda d, n: seen.append((d, n)),
                **options,
            )

        path = again()
        assert seen == [(1, 2), (2, 2)]
        before = digests(tmp_path)
        stamp = path.stat().st_mtime_ns
        again()
        assert seen == [] and path.stat().st_mtime_ns == stamp
        shutil.rmtree(tmp_path / "sites" / "hannover")
        (tmp_path / "sites" / ".zaragoza.1.part").mkdir()
        again()
        assert seen == [(2, 2)] and digests(tmp_path) == before
        assert not list((tmp_path / "sites").glob(".*"))
        again(seed=5)
        assert len(seen) == 2 and digests(tmp_path) != before

    def test_a_run_killed_before_the_catalog_is_finished_later(self, tmp_path) -> None:
        area = shapely.Point(9.70, 52.36).buffer(0.1)
        path = simulate(area, tmp_path, sites=1, workers=1, size_px=60)
        before = digests(tmp_path)
        path.unlink()
        simulate(area, tmp_path, sites=1, workers=1, size_px=60)
        assert digests(tmp_path) == before


class TestPlaces:
    def test_europe_has_each_main_climate_three_times(self) -> None:
        for count in (18, 20):
            sites = choose_sites(EUROPE, count, 0)
            assert len(sites) == count
            main = Counter(site.koppen[0] for site in sites)
            assert all(main[letter] >= 3 for letter in "BCDE"), main
            assert sum(site.overcast for site in sites) == 1

    def test_climate_is_the_real_one(self) -> None:
        for site in choose_sites(EUROPE, 20, 0):
            assert symbols_at(site.lon, site.lat) == site.koppen
        assert list(symbols_at([2.35, 37.6, -30.0], [48.85, 55.75, 40.0])) == ["Cfb", "Dfb", "Ocean"]

    def test_every_continent_has_places(self) -> None:
        boxes = {
            "Africa": (-18, -35, 40, 30), "Asia": (61, -10, 180, 75), "North America": (-170, 15, -50, 75),
            "South America": (-82, -56, -34, 12), "Oceania": (112, -48, 180, -10), "Antarctica": (-180, -90, 180, -60),
        }  # fmt: skip
        for name, box in boxes.items():
            found = [
                site for site in named_places() if shapely.contains_xy(shapely.box(*box), site.lon, site.lat)
            ]
            assert len(found) >= (3 if name == "Antarctica" else 8), name
        assert len([s for s in named_places() if shapely.contains_xy(EUROPE, s.lon, s.lat)]) >= 24

    def test_places_lie_in_the_area_and_apart(self) -> None:
        area = shapely.box(8, 47, 12, 50)
        sites = choose_sites(area, 12, 3)
        assert len(sites) == 12
        assert all(shapely.contains_xy(area, site.lon, site.lat) for site in sites)
        for one in sites:
            for other in sites:
                km = math.hypot(
                    (one.lon - other.lon) * 111 * math.cos(math.radians(48.5)), (one.lat - other.lat) * 111
                )
                assert one is other or km > 14
        assert sites == choose_sites(area, 12, 3)
        assert [s.name for s in sites] != [s.name for s in choose_sites(area, 12, 4)]

    def test_a_small_area_gets_at_least_one(self) -> None:
        area = shapely.Point(13.011, 50.011).buffer(0.004)
        (site,) = choose_sites(area, 5, 0)
        assert area.contains(shapely.Point(site.lon, site.lat))

    def test_ocean_is_an_input_error(self, tmp_path) -> None:
        with pytest.raises(InputError, match="land"):
            simulate(shapely.box(-40, 30, -35, 35), tmp_path)


class TestFrames:
    @pytest.mark.parametrize(
        "name", ["Hannover", "Bergen", "Mato Grosso", "Viti Levu", "McMurdo Dry Valleys"]
    )
    def test_sentinel_2_grid_lies_as_real_tiles_do(self, name) -> None:
        site = place(name)
        frame = frames.canvas(site.lon, site.lat, 720, 60)
        left, top = frame.left + 600, frame.top - 600
        assert left % 60 == 0
        assert top % 60 == (40 if site.lat < 0 else 0)

    def test_zones_follow_the_norwegian_exception_and_the_poles(self) -> None:
        spots = ((5.3, 60.4), (15, 78), (13, 53), (179.9, -16), (0, 85), (0, -85))
        assert [frames.local_epsg(*xy) for xy in spots] == [32632, 32633, 32633, 32760, 32661, 32761]

    def test_tile_names_are_real_ones(self) -> None:
        def tile(lon: float, lat: float) -> str:
            return frames.mgrs_tile(frames.canvas(lon, lat, 720, 60))

        assert [tile(13.4, 52.5), tile(2.35, 48.6), tile(-122.4, 37.6), tile(27.5, -8.6)] == [
            "33UUU", "31UDP", "10SEG", "35LNL",
        ]  # fmt: skip

    def test_footprint_at_the_antimeridian_is_split(self) -> None:
        site = place("Chukotka")
        frame = frames.canvas(179.99, site.lat, 720, 0)
        outline = frames.lonlat_outline(frame.footprint(), frame.epsg)
        assert outline.geom_type == "MultiPolygon"
        west, _, east, _ = frames.lonlat_bbox(outline)
        assert west > 179 and east < -179


class TestOrbits:
    def test_tracks_are_the_real_ones(self) -> None:
        day = dt.timedelta(days=12)
        start = dt.datetime(2021, 7, 1, tzinfo=dt.UTC)

        def tracks(find, lon, lat) -> set[int]:
            return {p.track for p in find(lon, lat, start, start + day)}

        assert tracks(orbits.sentinel_2, 13.4, 52.5) == {22, 65}  # Berlin
        assert {51} <= tracks(orbits.sentinel_2, 2.35, 48.86) <= {8, 51}  # Paris
        assert {117, 44} & tracks(orbits.sentinel_1, 11.6, 48.1)  # Munich, ascending
        assert {88, 37} <= tracks(orbits.sentinel_1, 5.0, 52.2)  # Utrecht
        (path,) = {p.track for p in orbits.landsat_8(13.4, 52.5, start, start + 2 * day)}
        assert (path, orbits.wrs_row(52.5)) == (193, 23)

    def test_times_are_those_of_real_products(self) -> None:
        around = dt.datetime(2021, 7, 1, tzinfo=dt.UTC), dt.datetime(2021, 9, 1, tzinfo=dt.UTC)
        for p in orbits.sentinel_2(13.3, 48.3, *around):  # S2A_MSIL2A_20170613T101031, track 22
            if (p.platform, p.track) == ("sentinel-2a", 22):
                days = (p.when - dt.datetime(2017, 6, 13, 10, 15, tzinfo=dt.UTC)) / dt.timedelta(days=1)
                assert abs(days / 10 - round(days / 10)) * 10 < 0.01
        grd = dt.datetime(2020, 6, 7, 1, 8, tzinfo=dt.UTC)  # S1A, absolute orbit 32904, track 107
        (real,) = [
            p
            for p in orbits.sentinel_1(73.31, 30.46, grd - dt.timedelta(hours=1), grd + dt.timedelta(hours=1))
            if p.platform == "sentinel-1a"
        ]
        assert real.track == 107 and not real.ascending and abs(real.when - grd) < dt.timedelta(minutes=2)
        assert orbits.absolute_orbit(real) == 32904

    def test_sun_stands_where_it_should(self) -> None:
        noon = dt.datetime(2021, 6, 21, 12, 2, tzinfo=dt.UTC)
        elevation, azimuth = orbits.sun(noon, 0.0, 51.48)
        assert elevation == pytest.approx(61.96, abs=0.2) and azimuth == pytest.approx(180, abs=1.5)

    @pytest.mark.parametrize(
        "site", [s for s in named_places() if s.name in ("Hannover", "Varanger", "Pampas")]
    )
    def test_dates_are_planned_as_promised(self, site) -> None:
        for seed in range(4):
            scenes = plan(site, seed)
            optical = [s.one.when for s in scenes if s.sensor == "sentinel-2-l2a"]
            rtc = [s.one.when for s in scenes if s.sensor == "sentinel-1-rtc"]
            grd = [s.one for s in scenes if s.sensor == "sentinel-1-grd"]
            assert len(optical) == 5
            assert sum(when >= BASELINE_04 for when in optical) == 2
            limit = dt.timedelta(days=3)
            paired = [any(abs(o - r) <= limit for r in rtc) for o in optical]
            assert sum(paired) in (3, 4)
            assert sum(all(abs(o - r) > limit for o in optical) for r in rtc) == 1
            assert len({(when.month % 12) // 3 for when in optical}) >= 3
            assert all(not p.ascending for p in grd)
            assert all(
                any(abs(p.when - o) <= limit for o, near in zip(optical, paired, strict=True) if near)
                for p in grd
            )
            assert 1 <= sum(s.sensor == "landsat-c2-l2" for s in scenes) <= 2
            for scene in scenes:
                if scene.one.platform == "sentinel-1b":
                    assert scene.one.when < orbits.SENTINEL_1B_LOST


class TestOptics:
    def test_baseline_offset_and_nodata_agree(self, items) -> None:
        baselines = set()
        for item in of(items, "sentinel-2-l2a"):
            baseline = item.properties["s2:processing_baseline"]
            baselines.add(baseline)
            assert baseline == ("04.00" if item.datetime >= BASELINE_04 else "03.01")
            scl = read(item.assets["scl"])
            for key, asset in item.assets.items():
                if key == "scl":
                    continue
                band = asset.extra_fields["bands"][0]
                assert band["raster:offset"] == (-0.1 if baseline == "04.00" else 0.0)
                dn = read(asset)
                assert (dn == 0).mean() == pytest.approx((scl == 0).mean(), abs=0.02)
                assert (dn[dn > 0] * 1e-4 + band["raster:offset"]).min() > 0
        assert baselines == {"03.01", "04.00"}

    def test_same_surface_has_the_same_reflectance_before_and_after_the_change(
        self, tmp_path, ground
    ) -> None:
        from dataclasses import replace

        from curate.archives.simulated import products

        (first, *_) = [a for a in plan(ground.site, 0) if a.sensor == "sentinel-2-l2a"]
        clear = replace(first, cloud=0.0, cirrus=0.0, corner=False)
        values = []
        for name, limit in (("before", first.one.when + dt.timedelta(1)), ("after", first.one.when)):
            (tmp_path / name).mkdir()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(products, "BASELINE_04", limit)
                item = products.sentinel_2(ground, clear, tmp_path / name)
            band = item["assets"]["red"]["bands"][0]
            with rasterio.open(tmp_path / name / item["id"] / "B04.tif") as file:
                values.append(file.read(1) * band["raster:scale"] + band["raster:offset"])
        assert np.abs(values[0] - values[1]).max() < 1e-6

    def test_cloud_cover_is_the_share_in_the_scene_classification(self, items) -> None:
        covers = []
        for item in of(items, "sentinel-2-l2a"):
            scl = read(item.assets["scl"])
            assert set(np.unique(scl)) <= {0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}
            share = 100 * np.isin(scl, (8, 9, 10)).sum() / (scl > 0).sum()
            assert item.properties["eo:cloud_cover"] == pytest.approx(share, abs=1e-3)
            covers.append(share)
        assert min(covers) < 1 and max(covers) > 95
        assert any(3 < cover < 60 for cover in covers)

    def test_classes_have_spectra_of_their_own(self, ground) -> None:
        when = dt.datetime(2022, 5, 10, 10, 30, tzinfo=dt.UTC)
        scene = optics.view(ground.site, 0, ground.terrain, ground.cover, when, orbits.sun(when, 9.7, 52.4))
        ndvi, codes = optics.vegetation_index(scene.reflectance), ground.cover.codes
        assert np.median(ndvi[codes == TREE]) > 0.7
        assert np.median(ndvi[codes == WATER]) < 0
        assert 0 < np.median(ndvi[codes == BUILT]) < 0.45
        crops = ndvi[codes == CROP]
        assert np.quantile(crops, 0.9) - np.quantile(crops, 0.1) > 0.3  # green and bare fields side by side

    def test_plants_are_greener_in_summer(self, ground) -> None:
        medians = []
        for month in (1, 7):
            when = dt.datetime(2022, month, 10, 10, 30, tzinfo=dt.UTC)
            scene = optics.view(
                ground.site, 0, ground.terrain, ground.cover, when, orbits.sun(when, 9.7, 52.4)
            )
            medians.append(np.median(optics.vegetation_index(scene.reflectance)[ground.cover.codes == TREE]))
        assert medians[1] > medians[0] + 0.1


class TestRadar:
    def test_water_is_darker_than_forest_and_towns_are_brightest(self, powers, ground) -> None:
        codes = ground.cover.codes
        for power in powers:
            means = {code: power[codes == code].mean() for code in (WATER, TREE, CROP, BUILT)}
            assert means[WATER] < means[CROP] < means[BUILT]
            assert means[WATER] < means[TREE] < means[BUILT]
        vv, vh = powers
        assert (vv > vh).mean() > 0.99

    def test_speckle_has_the_stated_looks(self) -> None:
        drawn = radar.coarse_mantissa(radar.speckled(np.full((600, 600), 0.1, np.float32), ("test",)))
        assert drawn.mean() == pytest.approx(0.1, rel=0.01)
        assert drawn.mean() ** 2 / drawn.var() == pytest.approx(radar.LOOKS, rel=0.05)
        pairs = np.corrcoef(drawn[:, 1:].ravel(), drawn[:, :-1].ravel())[0, 1]
        assert 0.2 < pairs < 0.6

    def test_units_are_as_stated(self, items) -> None:
        for item in of(items, "sentinel-1-rtc") + of(items, "sentinel-1-grd"):
            for asset in item.assets.values():
                band = asset.extra_fields["bands"][0]
                stored = read(asset)
                value = stored[stored != band["nodata"]].astype(float)
                if band["unit"] == "amplitude":
                    value = (value * band["raster:scale"]) ** 2
                assert value.min() > 0
                assert -30 < 10 * np.log10(value.mean()) < 3
        assert of(items, "sentinel-1-grd")

    def test_slopes_facing_the_radar_are_bright_unless_flattened(self) -> None:
        site = place("Zermatt")
        ground = lay_ground(Task(site, 0, 360, 1))
        (one, *_) = [a.one for a in plan(site, 0) if a.sensor == "sentinel-1-rtc"]
        spread = [
            np.log10(radar.backscatter(site, 0, ground.terrain, ground.cover, one, flat)[0]).std()
            for flat in (True, False)
        ]
        assert spread[1] > 1.3 * spread[0]

    def test_frames_snap_to_the_sentinel_2_grid_and_differ_from_it(self, items) -> None:
        optical = {item.properties["proj:code"]: item for item in of(items, "sentinel-2-l2a")}
        for item in of(items, "sentinel-1-rtc"):
            other = optical[item.properties["proj:code"]].properties["proj:transform"]
            mine = item.properties["proj:transform"]
            assert (mine[2] - other[2]) % 10 == 0 and (mine[5] - other[5]) % 10 == 0
        assert any(item.properties["proj:shape"] != [PX, PX] for item in of(items, "sentinel-1-rtc"))


class TestMaps:
    def test_land_cover_lies_on_the_global_lattice(self, items) -> None:
        for item in of(items, "esa-worldcover"):
            a, _, c, _, e, f = item.properties["proj:transform"]
            assert a == 1 / 12_000 and e == -1 / 12_000
            for value in ((c + 180) * 12_000, (90 - f) * 12_000):
                assert value == pytest.approx(round(value), abs=1e-6)

    def test_maps_agree_with_the_scenes(self, items) -> None:
        """Water on the map is dark in the near infrared of a clear scene at the same place."""
        shift = 0
        for item in of(items, "sentinel-2-l2a"):
            if item.properties["eo:cloud_cover"] > 3 or item.properties["eo:snow_cover"] > 3:
                continue
            (cover,) = [
                i
                for i in of(items, "esa-worldcover")
                if shapely.box(*i.bbox).contains(shapely.Point(*_centre(item)))
            ]
            with (
                rasterio.open(item.assets["nir"].get_absolute_href()) as nir,
                rasterio.open(cover.assets["map"].get_absolute_href()) as codes,
                rasterio.vrt.WarpedVRT(
                    codes, crs=nir.crs, transform=nir.transform, width=nir.width, height=nir.height
                ) as warped,
            ):
                same, values = warped.read(1), nir.read(1)
            wet, dry = (same == WATER) & (values > 0), (same != WATER) & (same > 0) & (values > 0)
            assert (same > 0).mean() > 0.98
            if wet.sum() > 200:
                assert np.median(values[wet]) < 0.5 * np.median(values[dry])
                shift += 1
        assert shift

    @pytest.mark.parametrize(
        ("name", "absent", "common"),
        [
            ("Évora", SNOW, CROP),
            ("Tamanrasset", TREE, 60),
            ("Kisangani", SNOW, TREE),
            ("Bunger Hills", CROP, SNOW),
            ("Rovaniemi", SNOW, TREE),
        ],
    )
    def test_land_cover_follows_the_climate(self, name, absent, common) -> None:
        codes = lay_ground(Task(place(name), 0, 360, 1)).cover.codes
        assert (codes == absent).mean() < 0.02
        assert (codes == common).mean() > 0.2

    def test_elevation_is_that_of_the_place(self, items) -> None:
        for item in of(items, "cop-dem-glo-30"):
            elevation = read(item.assets["data"])
            high = max(site.elevation_m for site in named_places() if site.slug in item.id)
            assert abs(np.median(elevation) - high) < 0.3 * high + 60


def _centre(item: pystac.Item) -> tuple[float, float]:
    west, south, east, north = item.bbox
    return (west + east) / 2, (south + north) / 2


@pytest.mark.parametrize("name", ["Chukotka", "Viti Levu", "McMurdo Dry Valleys", "Manaus"])
def test_hard_places_can_be_simulated(tmp_path, name) -> None:
    site = place(name)
    path = simulate(shapely.Point(site.lon, site.lat).buffer(0.01), tmp_path, sites=1, workers=1, size_px=120)
    made = items_of(path)
    assert {item.collection_id for item in made} >= {
        "sentinel-2-l2a",
        "sentinel-1-rtc",
        "cop-dem-glo-30",
        "esa-worldcover",
    }
    for item in of(made, "landsat-c2-l2"):
        assert 32600 < int(item.properties["proj:code"].split(":")[1]) < 32661
        assert (
            item.properties["proj:transform"][2] % 30 == 15
            and item.properties["proj:transform"][5] % 30 == 15
        )
