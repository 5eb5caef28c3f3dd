"""What each sensor makes of a site: pixels into files, and the STAC item that describes them."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.archives.simulated import atmosphere, optics, orbits, radar, stac
from curate.archives.simulated.cog import write_cog
from curate.archives.simulated.dates import BASELINE_04, Acquisition
from curate.archives.simulated.fields import Field, block_mean, blur
from curate.archives.simulated.frames import Cut, Frame, lonlat_outline, mgrs_tile
from curate.archives.simulated.ground import Ground, cropped
from curate.archives.simulated.keys import generator, key
from curate.archives.simulated.landcover import WATER
from curate.sensors import SENSORS

Json = dict[str, Any]
DAY = "%Y%m%d"
SECOND = "%Y%m%dT%H%M%S"
SENSOR_BLUR_PX = 0.8  # modulation transfer of 0.05 at half the sampling frequency
# Dark signal and photons: a signal to noise ratio near 230 at a reflectance of 0.1
NOISE = (0.0003, 1e-6)
GRD_SCALE = 0.012  # amplitude = DN x scale
SCL_NAMES = {
    0: "no_data", 2: "dark_area_pixels", 3: "cloud_shadows", 4: "vegetation", 5: "not_vegetated", 6: "water",
    7: "unclassified", 8: "cloud_medium_probability", 9: "cloud_high_probability", 10: "thin_cirrus", 11: "snow",
}  # fmt: skip


def sentinel_2(ground: Ground, wanted: Acquisition, folder: Path) -> Json:
    """Reflectance in ten bands at 10 and 20 m and the scene classification at 20 m."""
    site, one, n = ground.site, wanted.one, ground.size_px
    window = slice(ground.pad_px, ground.pad_px + n)
    terrain, cover = cropped(ground.terrain, window, window), cropped(ground.cover, window, window)
    frame = ground.frame(ground.pad_px, ground.pad_px, n, n)
    sun = orbits.sun(one.when, site.lon, site.lat)
    scene = optics.view(site, ground.seed, terrain, cover, one.when, sun)
    names = (ground.seed, site.name, one.when.isoformat(), "sentinel-2")
    sky = atmosphere.make_sky(names, n, wanted.cloud, wanted.cirrus, sun)
    seen = atmosphere.through(scene, sky)
    rng = generator(*names)
    cut = radar.swath_cut(rng, frame, one.heading_deg) if wanted.corner else None
    valid = {factor: _valid(frame.coarser(factor), cut) for factor in (1, 2)}
    codes = atmosphere.classify(scene, seen, sky, cover.codes == WATER, valid[2])
    offset = 1000 if one.when >= BASELINE_04 else 0
    tile = mgrs_tile(frame)
    made = dt.timedelta(hours=10, seconds=key(site.name) % 40_000)
    start = one.when.replace(minute=one.when.minute - one.when.minute % 2, second=key(one.when) % 60)
    platform = f"S2{one.platform[-1].upper()}"
    name = f"{platform}_MSIL2A_{start:{SECOND}}_R{one.track:03d}_T{tile}_{one.when + made:{SECOND}}"
    home = stac.home_of(folder, name)
    assets = {}
    for number, band in enumerate(SENSORS["sentinel-2-l2a"].default):
        factor = round(band.resolution_m / 10)
        values = blur(seen[number], SENSOR_BLUR_PX) if factor == 1 else block_mean(seen[number], factor)
        noise = rng.standard_normal(values.shape, dtype=np.float32) * np.sqrt(
            NOISE[0] ** 2 + NOISE[1] * values
        )
        dn = _digitise(values + noise) + np.uint16(offset)
        dn[~valid[factor]] = 0
        grid = frame.coarser(factor)
        write_cog(home / f"{band.name}.tif", dn, frame.epsg, grid.transform, 0, band.name)
        assets[band.asset_keys[0]] = stac.asset(
            f"./{band.name}.tif",
            title=f"{band.name}, {band.resolution_m:.0f} m",
            band={
                "name": band.name, "data_type": "uint16", "nodata": 0, "unit": "reflectance",
                "raster:scale": 0.0001, "raster:offset": -0.1 if offset else 0.0,
            },
            epsg=frame.epsg, shape=dn.shape, transform=grid.transform, gsd=band.resolution_m,
            wavelength_nm=band.wavelength_nm,
        )  # fmt: skip
    grid = frame.coarser(2)
    write_cog(home / "SCL.tif", codes, frame.epsg, grid.transform, 0, "SCL")
    assets["scl"] = stac.asset(
        "./SCL.tif",
        title="Scene classification, 20 m",
        band=stac.classes("SCL", SCL_NAMES),
        epsg=frame.epsg, shape=codes.shape, transform=grid.transform, gsd=20,
    )  # fmt: skip
    data = codes != atmosphere.NO_DATA
    properties = _platform(one, "sentinel-2", "msi") | {
        "gsd": 10,
        "eo:cloud_cover": atmosphere.cloud_percent(codes),
        "eo:snow_cover": round(100 * float((codes == atmosphere.SNOW).sum()) / max(1, int(data.sum())), 4),
        "view:sun_elevation": round(sun[0], 4),
        "view:sun_azimuth": round(sun[1], 4),
        "s2:processing_baseline": "04.00" if offset else "03.01",
        "s2:mgrs_tile": tile,
        "s2:nodata_pixel_percentage": round(100 * float((~data).mean()), 4),
        "s2:product_type": "S2MSI2A",
    }
    if tile != "UPS":
        properties["grid:code"] = f"MGRS-{tile}"
    return stac.item(
        name=name, collection="sentinel-2-l2a", outline=lonlat_outline(frame.footprint(cut), frame.epsg),
        when=one.when, properties=properties, assets=assets,
    )  # fmt: skip


def sentinel_1(ground: Ground, wanted: Acquisition, folder: Path) -> Json:
    """VV and VH: gamma0 in linear power (RTC), or sigma0 as scaled amplitude (GRD, geocoded)."""
    site, one, n = ground.site, wanted.one, ground.size_px
    flattened = wanted.sensor == "sentinel-1-rtc"
    names = (ground.seed, site.name, one.when.isoformat(), wanted.sensor)
    rng = generator(*names)
    height, width = (n + int(v) for v in rng.integers(-n // 24, n // 16, 2))
    shift = rng.integers(-n // 24, n // 24 + 1, 2)
    lowest = ground.pad_px + (n - height) // 2, ground.pad_px + (n - width) // 2
    row = int(np.clip(lowest[0] + shift[0], 0, ground.canvas.height - height))
    column = int(np.clip(lowest[1] + shift[1], 0, ground.canvas.width - width))
    frame = ground.frame(row, column, height, width)
    rows, columns = slice(row, row + height), slice(column, column + width)
    cut = radar.swath_cut(rng, frame, one.heading_deg) if wanted.corner else None
    valid = _valid(frame, cut)
    powers = radar.backscatter(site, ground.seed, ground.terrain, ground.cover, one, flattened)
    start, end = one.when - dt.timedelta(seconds=12), one.when + dt.timedelta(seconds=13)
    orbit = orbits.absolute_orbit(one)
    stem = f"S1{one.platform[-1].upper()}_IW_GRDH_1SDV_{start:{SECOND}}_{end:{SECOND}}_{orbit:06d}"
    stem += f"_{key(site.name, orbit) % 2**24:06X}"
    name = f"{stem}_rtc" if flattened else f"{stem}_{key(site.name, stem) % 65536:04X}"
    home = stac.home_of(folder, name)
    assets = {}
    for band, power in zip(("vv", "vh"), powers, strict=True):
        values = radar.speckled(power[rows, columns], (*names, band))
        about: Json = {"name": band.upper()}
        if flattened:
            stored: npt.NDArray[Any] = radar.coarse_mantissa(values)
            stored[~valid] = -32768
            about |= {"data_type": "float32", "nodata": -32768, "unit": "power"}
        else:
            stored = np.clip(np.rint(np.sqrt(values) / GRD_SCALE), 1, 65_535).astype(np.uint16)
            stored[~valid] = 0
            about |= {
                "data_type": "uint16", "nodata": 0, "unit": "amplitude",
                "raster:scale": GRD_SCALE, "raster:offset": 0.0,
            }  # fmt: skip
        path = home / f"{band}.tif"
        write_cog(path, stored, frame.epsg, frame.transform, about["nodata"], band.upper())
        quantity = "gamma0, linear power" if flattened else "sigma0, amplitude"
        assets[band] = stac.asset(
            f"./{band}.tif", title=f"{band.upper()} {quantity}", band=about,
            epsg=frame.epsg, shape=stored.shape, transform=frame.transform, gsd=10,
        )  # fmt: skip
    properties = _platform(one, "sentinel-1", "c-sar") | {
        "gsd": 10,
        "start_datetime": _iso(start),
        "end_datetime": _iso(end),
        "sat:absolute_orbit": orbit,
        "sar:instrument_mode": "IW",
        "sar:frequency_band": "C",
        "sar:center_frequency": 5.405,
        "sar:polarizations": ["VV", "VH"],
        "sar:product_type": "RTC" if flattened else "GRD",
        "sar:observation_direction": "right",
        "sar:looks_equivalent_number": radar.LOOKS,
        "sar:pixel_spacing_range": 10,
        "sar:pixel_spacing_azimuth": 10,
        "view:incidence_angle": round(orbits.incidence_deg(one.cross_km), 3),
    }
    return stac.item(
        name=name, collection=wanted.sensor, outline=lonlat_outline(frame.footprint(cut), frame.epsg),
        when=one.when, properties=properties, assets=assets,
    )  # fmt: skip


def landsat(ground: Ground, wanted: Acquisition, folder: Path) -> Json:
    """Reflectance in six bands at 30 m; pixel corners at 15 m past multiples of 30 m, zones always northern."""
    site, one = ground.site, wanted.one
    window = slice(ground.pad_px - 2, ground.pad_px + ground.size_px)
    terrain, cover = cropped(ground.terrain, window, window), cropped(ground.cover, window, window)
    sun = orbits.sun(one.when, site.lon, site.lat)
    scene = optics.view(site, ground.seed, terrain, cover, one.when, sun)
    names = (ground.seed, site.name, one.when.isoformat(), "landsat")
    sky = atmosphere.make_sky(names, ground.size_px + 2, wanted.cloud, 0.0, sun)
    seen = atmosphere.through(scene, sky)
    rng = generator(*names)
    south = 32700 < ground.canvas.epsg < 32761
    frame = Frame(
        ground.canvas.epsg - 100 if south else ground.canvas.epsg,
        ground.canvas.left + (ground.pad_px - 2) * 10 + 5,
        ground.canvas.top - (ground.pad_px - 2) * 10 - 5 - (10_000_000 if south else 0),
        ground.size_px // 3,
        ground.size_px // 3,
        30,
    )
    row = orbits.wrs_row(site.lat)
    made = one.when + dt.timedelta(days=8 + key(site.name) % 9)
    name = f"LC08_L2SP_{one.track:03d}{row:03d}_{one.when:{DAY}}_{made:{DAY}}_02_T1"
    if (folder / name).exists() or ground.site.slug[0].isdigit():
        name += f"_{site.slug}"
    home = stac.home_of(folder, name)
    assets = {}
    source = {"blue": "B02", "green": "B03", "red": "B04", "nir08": "B8A", "swir16": "B11", "swir22": "B12"}
    for band in SENSORS["landsat-c2-l2"].default:
        fine = seen[optics.BANDS.index(source[band.name])]
        between = (fine[1:, 1:] + fine[1:, :-1] + fine[:-1, 1:] + fine[:-1, :-1]) / 4
        values = block_mean(between, 3)
        values = values + rng.standard_normal(values.shape, dtype=np.float32) * (0.0008 + 0.004 * values)
        dn = np.clip(np.rint((values + 0.2) / 4.4e-4) * 16, 16, 65_440).astype(
            np.uint16
        )  # steps of 16, as above
        file = f"{band.asset_keys[1]}.TIF"
        write_cog(home / file, dn, frame.epsg, frame.transform, 0, band.name)
        assets[band.asset_keys[0]] = stac.asset(
            f"./{file}",
            title=f"{band.name}, 30 m",
            band={
                "name": band.name, "data_type": "uint16", "nodata": 0, "unit": "reflectance",
                "raster:scale": 2.75e-5, "raster:offset": -0.2,
            },
            epsg=frame.epsg, shape=dn.shape, transform=frame.transform, gsd=30,
            wavelength_nm=band.wavelength_nm,
        )  # fmt: skip
    cloudy = (block_mean(sky.opacity, 3) > 0.22).mean()
    properties = _platform(one, "landsat", "oli") | {
        "gsd": 30,
        "eo:cloud_cover": round(100 * float(cloudy), 2),
        "view:sun_elevation": round(sun[0], 4),
        "view:sun_azimuth": round(sun[1], 4),
        "landsat:wrs_type": "2",
        "landsat:wrs_path": f"{one.track:03d}",
        "landsat:wrs_row": f"{row:03d}",
        "landsat:collection_number": "02",
        "landsat:correction": "L2SP",
    }
    del properties["sat:relative_orbit"]
    return stac.item(
        name=name, collection="landsat-c2-l2", outline=lonlat_outline(frame.footprint(), frame.epsg),
        when=one.when, properties=properties, assets=assets,
    )  # fmt: skip


def _digitise(values: Field) -> npt.NDArray[np.uint16]:
    """Reflectance x 10000, rounded to between one and two times its noise so that files stay small.

    Steps are 8 below 0.02, 16 below 0.12, 32 below 0.4 and 64 above.
    """
    table = np.array([8, 16, 32, 64], np.float32)
    step = table[np.digitize(values, (0.02, 0.12, 0.4))]
    return np.asarray(np.clip(np.rint(values * 10_000 / step) * step, 8, 60_000), np.uint16)


def _valid(frame: Frame, cut: Cut | None) -> npt.NDArray[np.bool_]:
    return cut.valid(frame) if cut else np.ones((frame.height, frame.width), bool)


def _platform(one: orbits.Pass, constellation: str, instrument: str) -> Json:
    return {
        "platform": one.platform,
        "constellation": constellation,
        "instruments": [instrument],
        "sat:orbit_state": one.orbit_state,
        "sat:relative_orbit": one.track,
    }


def _iso(when: dt.datetime) -> str:
    return when.isoformat().replace("+00:00", "Z")
