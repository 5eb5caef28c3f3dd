"""Files in the form of every map that the documentation names: grid, projection, numbers, nodata and name."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from pyproj import Transformer
from rasterio.transform import Affine

from curate.chips import ChipPlaces, Lattice
from curate.descriptors.thematic import in_common, open_map
from curate.legends import COMMON, legend

SINUSOIDAL = "+proj=sinu +R=6371007.181 +units=m +no_defs"
MODIS_M = 463.312716528
SIZE, COUNT = 1200.0, 4
# name of the file, legend, projection, side of a pixel, type, nodata, year in the name
FORMS = {
    "WorldCover 2020": (
        "ESA_WorldCover_10m_2020_v100_N45E006_Map.tif", "worldcover", "EPSG:4326", 1 / 12000, "uint8", 0, 2020,
    ),
    "WorldCover 2021": (
        "ESA_WorldCover_10m_2021_v200_N45E006_Map.tif", "worldcover", "EPSG:4326", 1 / 12000, "uint8", 0, 2021,
    ),
    "CORINE": ("U2018_CLC2018_V2020_20u1.tif", "corine", "EPSG:3035", 100.0, "int8", -128, 2018),
    "Copernicus Global Land Cover": (
        "PROBAV_LC100_global_v3.0.1_2019-nrt_Discrete-Classification-map_EPSG-4326.tif", "cgls", "EPSG:4326",
        1 / 1008, "uint8", 255, 2019,
    ),
    "Esri / Impact Observatory": ("32T_20210101-20220101.tif", "io", "EPSG:32632", 10.0, "uint8", 0, 2021),
    "MODIS MCD12Q1": (
        "MCD12Q1.A2021001.h18v04.061.2022217040006_LC_Type1.tif", "mcd12-igbp", SINUSOIDAL, MODIS_M, "uint8",
        255, 2021,
    ),
    "GLCNMO": ("gm_lc_v3_1_2.tif", "glcnmo", "EPSG:4326", 1 / 240, "uint8", None, None),
}  # fmt: skip


def places() -> ChipPlaces:
    """Chips near 8.9° E, 45.1° N, where all the forms have a tile."""
    lattice = Lattice(32632, SIZE)
    x, y = Transformer.from_crs(4326, 32632, always_xy=True).transform(8.7, 45.1)
    ix, iy = lattice.index(np.array([x]), np.array([y]))
    i, j = (side.ravel() for side in np.meshgrid(ix + np.arange(COUNT), iy + np.arange(COUNT)))
    left, top = lattice.left_top(i, j)
    lon, lat = Transformer.from_crs(32632, 4326, always_xy=True).transform(left + SIZE / 2, top - SIZE / 2)
    return ChipPlaces(lattice, np.zeros(i.size, np.int64), i, j, np.array(lon), np.array(lat))


def written(folder: Path, form: str, chips: ChipPlaces) -> tuple[Path, np.ndarray]:
    """A file of the form with every number of its legend in it, and how the chips' points every 10 m read it."""
    name, key, crs, step, dtype, nodata, _ = FORMS[form]
    known = legend(key)
    numbers = [*known.numbers, *known.nodata, *([] if nodata is None else [nodata])]
    numbers = np.array(sorted({n for n in numbers if np.iinfo(dtype).min <= n <= np.iinfo(dtype).max}))
    forward = Transformer.from_crs(32632, crs, always_xy=True)
    corners = shapely.get_coordinates(chips.squares())
    x, y = forward.transform(corners[:, 0], corners[:, 1])
    left, top = (np.floor(x.min() / step) - 3) * step, (np.ceil(y.max() / step) + 3) * step
    if form.startswith("WorldCover"):  # a tile is known by its place
        left, top, shape = 6.0, 48.0, (36000, 36000)
    else:
        shape = (int((top - y.min()) / step) + 4, int((x.max() - left) / step) + 4)
    random = np.random.default_rng(0)
    row, col = int((top - y.max()) / step), int((x.min() - left) / step)
    tall, wide = int((y.max() - y.min()) / step) + 3, int((x.max() - x.min()) / step) + 3
    patch = max(1, round(120 / (step * (1 if step > 1 else 100_000))))
    coarse = random.choice(numbers, (tall // patch + 1, wide // patch + 1))
    codes = np.kron(coarse, np.ones((patch, patch), int))[:tall, :wide].astype(dtype)
    path = folder / name
    with rasterio.open(
        path, "w", driver="GTiff", height=shape[0], width=shape[1], count=1, dtype=dtype, crs=crs,
        transform=Affine(step, 0, left, 0, -step, top), nodata=nodata, tiled=True, compress="deflate",
        sparse_ok=True,
    ) as file:  # fmt: skip
        file.write(codes, 1, window=rasterio.windows.Window(col, row, wide, tall))
    west, north = chips.lattice.left_top(chips.ix, chips.iy)
    steps = np.arange(5.0, SIZE, 10.0)
    px = west[:, None, None] + steps[None, None, :] + 0 * steps[None, :, None]
    py = north[:, None, None] - steps[None, :, None] + 0 * steps[None, None, :]
    mx, my = forward.transform(px, py)
    read = codes[((top - my) / step).astype(int) - row, ((mx - left) / step).astype(int) - col]
    expected = np.zeros((len(chips), len(known.codes) + 1))
    for number in numbers.tolist():
        column = known.numbers.get(number, -1) if number != nodata else -1
        expected[:, column] += (read == number).mean((1, 2))
    return path, expected


@pytest.mark.parametrize("form", FORMS)
def test_a_map_of_this_form_is_counted_by_its_legend(form: str, tmp_path: Path) -> None:
    chips = places()
    path, expected = written(tmp_path, form, chips)
    key, year = FORMS[form][1], FORMS[form][-1]
    land = open_map(str(path), [], key)
    found = land.fractions(chips)
    assert found.sum(1) == pytest.approx(1.0, abs=1e-6)
    assert (expected > 0).sum(1).max() >= 2
    assert np.abs(found - expected).max() < 0.03  # points every 10 m
    assert np.abs(found - expected).mean() < 0.003
    assert land.years == (() if year is None else (year,))
    common = in_common(found, land.legend)
    assert common.shape[1] == len(COMMON) + 1
    assert np.allclose(open_map(str(path), [], key, classes="common").fractions(chips), common, atol=1e-6)


def test_a_virtual_mosaic_of_tiles_is_read_as_they_are(tmp_path: Path) -> None:
    chips = places()
    path, _ = written(tmp_path, "CORINE", chips)
    with rasterio.open(path) as file:
        codes, grid, half = file.read(1), file.transform, file.width // 2
        profile = file.profile
    sources = []
    for n, (first, last) in enumerate(itertools.pairwise((0, half, codes.shape[1]))):
        part = codes[:, first:last]
        kept = profile | {"width": part.shape[1], "transform": grid @ Affine.translation(first, 0)}
        with rasterio.open(tmp_path / f"part{n}.tif", "w", **kept) as file:
            file.write(part, 1)
        sources.append(
            f'<SimpleSource><SourceFilename relativeToVRT="1">part{n}.tif</SourceFilename><SourceBand>1</SourceBand>'
            f'<SrcRect xOff="0" yOff="0" xSize="{part.shape[1]}" ySize="{part.shape[0]}"/>'
            f'<DstRect xOff="{first}" yOff="0" xSize="{part.shape[1]}" ySize="{part.shape[0]}"/></SimpleSource>'
        )
    vrt = tmp_path / "mosaic.vrt"
    vrt.write_text(
        f'<VRTDataset rasterXSize="{codes.shape[1]}" rasterYSize="{codes.shape[0]}"><SRS>EPSG:3035</SRS>'
        f"<GeoTransform>{', '.join(map(repr, grid.to_gdal()))}</GeoTransform>"
        f'<VRTRasterBand dataType="Int8" band="1"><NoDataValue>-128</NoDataValue>{"".join(sources)}'
        "</VRTRasterBand></VRTDataset>"
    )
    whole = open_map(str(path), [], "corine").fractions(chips)
    assert np.array_equal(open_map(str(vrt), [], "corine").fractions(chips), whole)
