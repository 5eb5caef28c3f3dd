"""Spectral descriptor: what a chip's pixels look like in its anchor scene, from overviews.

Spectral entropy is the mean over the reflective bands of the Shannon entropy, in bits, of the band's histogram in
the chip: H = −Σ p log₂ p over `BINS` bins of equal width from reflectance 0 to 1, what lies beyond in the last bins
(Shannon 1948, doi 10.1002/j.1538-7305.1948.tb01338.x). It is an image-level diversity of the kind that arXiv
2604.21104 found to go with the quality of pretraining; that paper's own formula may differ.

Indices are those of the chip's mean reflectances: NDVI = (nir − red) / (nir + red) (Rouse et al. 1974), NDWI =
(green − nir) / (green + nir) (McFeeters 1996, doi 10.1080/01431169608948714), NDBI = (swir − nir) / (swir + nir) (Zha
et al. 2003, doi 10.1080/01431160304987); unknown where the sum is not positive.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.catalog.errors import InputError
from curate.catalog.schema import DescriptorInfo
from curate.chips import ChipPlaces
from curate.descriptors.candidates import Candidates
from curate.descriptors.zones import Sums, labels, read, strips, windows_over
from curate.gdal import opened
from curate.grid import Floats, Ints
from curate.recipe import Recipe
from curate.sensors import Band, Sensor
from curate.sensors import sensor as sensor_named
from curate.workspace import Workspace, read_near

BINS = 100  # of the histogram: a hundredth of reflectance each
_EDGE = 1e-6  # of a bin: what lies on an edge but for rounding belongs to the bin above
PIXELS_A_SIDE = 30  # an overview is read that has at least so many along a chip's side, where there is one
_WAVELENGTHS_NM = {"green": (530, 590), "red": (630, 690), "nir": (760, 900), "swir": (1550, 1700)}
INDICES = {"ndvi": ("nir", "red"), "ndwi": ("green", "nir"), "ndbi": ("swir", "nir")}  # (a − b) / (a + b)


@dataclass(frozen=True)
class Spectral:
    """Figures of the anchor's bands."""

    sensor: str
    bands: tuple[str, ...]
    workspace: Workspace  # whose scenes name the files

    @cached_property
    def columns(self) -> tuple[DescriptorInfo, ...]:
        """Mean and spread of each band, indices that the bands allow, and entropy."""
        found = []
        for band in self._bands:
            unit = band.unit or self._sensor.source_unit
            found.append(DescriptorInfo(f"spectral_{band.name}_mean", f"Mean of band {band.name}.", unit))
            meaning = f"Standard deviation of band {band.name}, of the overview's pixels."
            found.append(DescriptorInfo(f"spectral_{band.name}_std", meaning, unit))
        for index, (a, b) in self._indices.items():
            meaning = f"{index.upper()} of the mean reflectances of {a.name} and {b.name}."
            found.append(DescriptorInfo(f"spectral_{index}", meaning))
        if self._reflective:
            meaning = "Shannon entropy of the bands' histograms, mean over the bands."
            found.append(DescriptorInfo("spectral_entropy", meaning, "bits"))
        return tuple(found)

    def describe(self, candidates: Candidates) -> dict[str, Floats]:
        """Figures of each candidate from its own scene; NaN where that has no data there or cannot be read."""
        values = {column.name: np.full(len(candidates), np.nan) for column in self.columns}
        assets = self._assets(candidates)
        scenes, number = np.unique(np.asarray(candidates.scene, dtype=str), return_inverse=True)
        for i, scene in enumerate(scenes.tolist()):
            rows = np.flatnonzero(number == i)
            used, place = np.unique(candidates.place[rows], return_inverse=True)
            found = self._scene(assets.get(scene, {}), candidates.places.take(used))
            for name, figures in found.items():
                values[name][rows] = figures[place]
        return values

    def _scene(self, assets: dict[str, dict[str, Any]], places: ChipPlaces) -> dict[str, Floats]:
        """Figures of places in one scene."""
        means: dict[str, Floats] = {}
        found: dict[str, Floats] = {}
        entropies = []
        for band in self._bands:
            figures = self._band(assets.get(band.name), band, places)
            means[band.name] = found[f"spectral_{band.name}_mean"] = figures.mean
            found[f"spectral_{band.name}_std"] = figures.spread
            if band in self._reflective:
                entropies.append(figures.entropy)
        for index, (a, b) in self._indices.items():
            total = means[a.name] + means[b.name]
            share = np.full(len(places), np.nan)
            np.divide(means[a.name] - means[b.name], total, out=share, where=total > 0)
            found[f"spectral_{index}"] = share
        if entropies:
            found["spectral_entropy"] = np.mean(entropies, axis=0)  # NaN where a band is missing
        return found

    def _band(self, asset: dict[str, Any] | None, band: Band, places: ChipPlaces) -> _Figures:
        """One band's figures, in one reading for all places."""
        from rasterio.errors import RasterioError

        figures = _Figures(len(places))
        if asset is None:
            return figures
        try:
            with opened(asset["href"], "Band") as source:
                factor = _factor(source, places.lattice.size_m)
                for window in windows_over(source, places, factor):
                    for strip in strips(window, factor):
                        numbers = read(source, strip, factor)
                        value = self._physical(numbers, asset, band, source.nodata)
                        figures.add(labels(source, places, strip, factor).ravel(), value.ravel())
        except (InputError, RasterioError, OSError):
            return _Figures(len(places))  # unknown: the column's nulls are counted
        return figures

    def _physical(
        self, numbers: npt.NDArray[Any], asset: dict[str, Any], band: Band, file_nodata: float | None
    ) -> Floats:
        """Values in the band's unit, NaN where there is no data."""
        usual = self._sensor.source_nodata if band.nodata is None else band.nodata
        fill = next((value for value in (asset["nodata"], file_nodata, usual) if value is not None), None)
        values = numbers * asset["scale"] + asset["offset"]
        unknown = np.zeros(numbers.shape, bool) if fill is None else numbers == fill
        if band.lowest is not None:
            unknown |= values < band.lowest
        return np.where(unknown, np.nan, values)

    def _assets(self, candidates: Candidates) -> dict[str, dict[str, dict[str, Any]]]:
        """Assets by scene and band."""
        table = read_near(self.workspace.scenes, candidates.bounds_deg, ["id", "sensor", "assets"])
        ids = pa.array(np.unique(np.asarray(candidates.scene, dtype=str)), pa.string())
        mine = pc.and_(pc.equal(table["sensor"], self._sensor.name), pc.is_in(table["id"], ids))
        return {
            row["id"]: {
                asset["band"]: asset | {"href": self.workspace.absolute(asset["href"])}
                for asset in row["assets"]
            }
            for row in table.filter(mine).to_pylist()
        }

    @property
    def _sensor(self) -> Sensor:
        return sensor_named(self.sensor)

    @property
    def _bands(self) -> tuple[Band, ...]:
        return tuple(self._sensor.band(name) for name in self.bands)

    @property
    def _reflective(self) -> tuple[Band, ...]:
        return tuple(band for band in self._bands if (band.unit or self._sensor.source_unit) == "reflectance")

    @property
    def _indices(self) -> dict[str, tuple[Band, Band]]:
        """The two bands of each index that the bands allow: of several in a range, the one with the finest pixels."""
        chosen: dict[str, Band] = {}
        for colour, (low, high) in _WAVELENGTHS_NM.items():
            fit = [b for b in self._reflective if b.wavelength_nm and low <= b.wavelength_nm <= high]
            if fit:
                chosen[colour] = min(fit, key=lambda b: b.resolution_m)
        return {
            index: (chosen[a], chosen[b]) for index, (a, b) in INDICES.items() if a in chosen and b in chosen
        }


class _Figures(Sums):
    """Mean, spread and histogram of a band in each chip."""

    def __init__(self, chips: int) -> None:
        super().__init__(chips)
        self._histogram = np.zeros((chips, BINS))

    def add(self, label: Ints, values: Floats) -> None:
        super().add(label, values)
        good = (label >= 0) & np.isfinite(values)
        place = np.clip(np.floor(values[good] * BINS + _EDGE), 0, BINS - 1).astype(np.int64)
        flat = np.bincount(label[good] * BINS + place, minlength=self._histogram.size)
        self._histogram += flat.reshape(self._histogram.shape)

    @property
    def entropy(self) -> Floats:
        """Bits; NaN where there is no pixel."""
        return entropy(self._histogram)


def entropy(histogram: Floats) -> Floats:
    """Shannon entropy, bits, of each row of counts; NaN for a row of zeros."""
    total = histogram.sum(axis=1, keepdims=True)
    share = np.divide(histogram, total, out=np.full(histogram.shape, np.nan), where=total > 0)
    log = np.log2(share, out=np.zeros(share.shape), where=share > 0)
    bits: Floats = np.abs((share * log).sum(axis=1))  # of -0.0 too
    return bits


def _factor(source: Any, size_m: float) -> int:
    """Pixels of the file, along a side, to one that is read: an overview's, where the chip stays fine enough.

    Only overviews that divide the image into whole pixels count; where there is none, powers of two.
    """
    metres = 111_320.0 if source.crs is not None and source.crs.is_geographic else 1.0
    largest = size_m / (PIXELS_A_SIDE * abs(source.transform.e) * metres)
    known = source.overviews(1) or [2, 4, 8, 16, 32]
    fit = [k for k in known if k <= largest and source.width % k == 0 and source.height % k == 0]
    return max(fit, default=1)


def open_descriptor(recipe: Recipe, workspace: Workspace) -> Spectral:
    """The descriptor of the recipe's anchor.

    Raises:
        InputError: the anchor is no optical sensor.
    """
    from curate.building import bands_of

    anchor = recipe.sensors.anchor
    if sensor_named(anchor).kind != "optical":
        raise InputError(
            f"Sensor {anchor} has no reflectance",
            "the spectral descriptor is of an optical anchor",
            "Leave spectral out of descriptors.further",
        )
    return Spectral(anchor, bands_of(recipe, anchor), workspace)
