"""`docs/sensors.md`, made from the sensors' entries: ``python -m curate.sensor_tables > docs/sensors.md``."""

from __future__ import annotations

from curate.sensors import SENSORS, Band, Flag, Mask, Sensor

_INTRODUCTION = """# Sensors

This page is made from `curate/sensors.py` by `python -m curate.sensor_tables`; a test keeps the two equal.

A sensor is one entry there: where its bands lie in the spectrum, what a provider calls them, what their numbers mean
where an item does not say it, and how they are stored. What an item declares – scale, offset, no data, the unit of
backscatter – comes before what stands here. Its name is the collection's name at most providers; archives know the
other names. [Radiometry](radiometry.md) says what is decided scene by scene.

**Source**: value = number × scale + offset, in the unit given. **Assets**: keys, the first that an item has is taken.
Bands in bold are those of a recipe that names none. Several entries share a prefix; they cannot be in one recipe.
"""
_NOTES = {
    "sentinel-2-l2a": "The offset of −1000 is decided per scene. Bands from which dark pixels tell it: {dark}.",
    "sentinel-2-l1c": (
        "Reflectance at the top of the atmosphere. The offset of −1000 is decided per scene; dark pixels of {dark} "
        "tell it. There is no mask: s2cloudless (`pixels.cloud_detector`) can tell clouds from {cloud}."
    ),
    "sentinel-1-rtc": "γ⁰, terrain-corrected. Planetary Computer serves linear power.",
    "sentinel-1-grd": (
        "Only items that name the unit, and so are calibrated, are taken. Products in ground range, with calibration "
        "tables beside them, are refused: *backscatter not calibrated*."
    ),
    "sentinel-1-slc": (
        "Complex numbers; an item must declare the unit `complex`, and that is taken as calibrated: |z|² is the "
        "power. Products in slant range, as the providers have them, have no map projection and cannot be cut."
    ),
    "landsat-c2-l2": (
        "Landsat 8 and 9, Collection 2 Level 2; `lwir11` is surface temperature. Scenes of 4, 5 and 7 in the same "
        "collection are refused: *of another platform*."
    ),
    "hls2-s30": "Harmonised Landsat Sentinel-2, version 2, from Sentinel-2.",
    "hls2-l30": "Harmonised Landsat Sentinel-2, version 2, from Landsat. Band numbers are not those of `hls2-s30`.",
    "modis-09A1-061": "Best observation of 8 days; the time is the middle of the period.",
    "modis-43A4-061": "Reflectance as seen from above at local noon, from 16 days.",
    "sentinel-3-synergy-syn-l2-netcdf": (
        "Surface reflectance. The products are NetCDF in the swath's own geometry: described, and refused when "
        "they are cut, until they are geocoded."
    ),
    "sentinel-3-olci-1-efr-ntc": (
        "Radiance at the top of the atmosphere. The scale of each band stands inside the files: items that do not "
        "say it are refused. Swath geometry, as above."
    ),
    "esa-worldcover": "ESA WorldCover 2020 and 2021.",
}


def page() -> str:
    """The whole page."""
    return "\n".join([_INTRODUCTION, *(_section(sensor) for sensor in SENSORS.values())])


def _section(sensor: Sensor) -> str:
    note = _NOTES.get(sensor.name, "").format(
        dark="; ".join(", else ".join(dark.bands) for dark in sensor.dark),
        cloud=", ".join(sensor.cloud_bands),
    )
    stored = sensor.stored
    facts = [
        f"columns `{sensor.prefix}_…`",
        f"stored as {stored.dtype}, {stored.unit} × {1 / stored.scale:g}, no data {stored.nodata}",
        _mask(sensor.mask),
    ]
    lines = [f"## {sensor.name}", "", f"{note}\n" if note else "", "; ".join(facts) + ".", ""]
    lines += [
        "| band | nm | m | source unit | scale | offset | no data | assets |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [_row(band, sensor) for band in sensor.bands]
    return "\n".join(line for i, line in enumerate(lines) if line or i in (1, 4)) + "\n"


def _row(band: Band, sensor: Sensor) -> str:
    scale = sensor.source_scale if band.scale is None else band.scale
    nodata = sensor.source_nodata if band.nodata is None else band.nodata
    unit = band.unit or sensor.source_unit or "the item says"
    if band.stored:
        unit += f", stored × {1 / band.stored.scale:g}"
    cells = [
        f"**{band.name}**" if band in sensor.default else band.name,
        "" if band.wavelength_nm is None else f"{band.wavelength_nm:g}",
        f"{band.resolution_m:g}",
        unit,
        "the item says" if scale is None else f"{scale:g}",
        f"{sensor.source_offset if band.offset is None else band.offset:g}",
        "" if nodata is None else f"{nodata:g}",
        " ".join(f"`{key}`" for key in band.asset_keys),
    ]
    return f"| {' | '.join(cells)} |"


def _mask(mask: Mask | None) -> str:
    if mask is None:
        return "no mask"
    keys = " ".join(f"`{key}`" for key in mask.band.asset_keys)
    text = f"mask {mask.band.name} ({keys}), cloud: {_flags(mask.cloud)}"
    return f"{text}; no data: {_flags(mask.nodata)}" if mask.nodata else text


def _flags(flags: tuple[Flag, ...]) -> str:
    return ", ".join(_flag(flag) for flag in flags)


def _flag(flag: Flag) -> str:
    values = " or ".join(str(value) for value in flag.values)
    if flag.bits >= 16:
        return values
    if flag.bits == 1:
        return f"bit {flag.first}"
    return f"bits {flag.first}–{flag.first + flag.bits - 1} = {values}"


if __name__ == "__main__":
    print(page(), end="")
