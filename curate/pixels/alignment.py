"""Whether the sensors of a pair lie on each other: phase correlation of edges on a sample of chips.

Optical and radar images have little in common but where things end. So the gradients of both are compared: of the band
nearest to 842 nm, where water, soil and plants differ most, and of the first radar band in dB. The normalised
cross-power spectrum (Kuglin and Hines 1975, The phase correlation image alignment method) is weighted by a Gaussian,
which makes the peak a Gaussian too, whose place follows from its neighbours to a fraction of a pixel.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy import fft, ndimage

from curate.catalog.files import write_text
from curate.catalog.reader import Catalog
from curate.catalog.schema import SensorInfo
from curate.catalog.shards import open_shard, pixels

Floats = npt.NDArray[np.float64]
SAMPLE = 128  # chips
REACH_PX = 8  # shifts that are looked for; less in small chips
CLEAR = 6.0  # deviations of the surface by which a peak must stand out
_SMOOTH_PX = 1.5  # before gradients are taken, against speckle
_PEAK_PX = 1.5  # deviation of the peak
_NIR_NM = 842.0


@dataclass(frozen=True)
class Alignment:
    """How far one sensor lies from the anchor, in pixels: rows downwards, columns to the right."""

    sensor: str  # prefix
    bands: tuple[str, str]  # of the anchor and of the sensor
    chips: int  # that were looked at
    clear: int  # whose own correlation has a clear peak
    median_px: tuple[float, float] | None  # over those; None where there are none
    spread_px: tuple[float, float] | None  # half of the range from the 16th to the 84th percentile
    together_px: tuple[float, float] | None  # of all chips' spectra added up; None without a clear peak

    def said(self, resolution_m: float) -> str:
        """One sentence for a person."""
        of = (
            f"{self.sensor} to the anchor by edges of {self.bands[1]} and {self.bands[0]}, {self.chips} chips"
        )
        if self.together_px is None:
            return f"Alignment of {of}: no clear peak."
        down, right = self.together_px
        text = f"Alignment of {of}: {down:+.2f} px down, {right:+.2f} px right ({resolution_m:g} m a pixel)"
        if self.median_px is None or self.spread_px is None:
            return f"{text}; no chip alone has a clear peak."
        (y, x), (sy, sx) = self.median_px, self.spread_px
        return f"{text}; median of {self.clear} clear chips {y:+.2f} ± {sy:.2f}, {x:+.2f} ± {sx:.2f}."


def align(catalog: Catalog, sample: int = SAMPLE) -> list[Alignment]:
    """Alignment of every optical or radar sensor with the anchor, on chips spread evenly over the catalog."""
    table = catalog.table.filter(pc.is_valid(catalog.table["shard"]))
    if not table.num_rows:
        return []
    picked = np.unique(
        np.linspace(0, table.num_rows - 1, min(sample, table.num_rows)).round().astype(np.int64)
    )
    rows = table.select(["shard", "shard_row"]).take(pa.array(picked))
    anchor, *others = catalog.meta.sensors
    found = []
    for other in others:
        if other.unit == "m":
            continue  # terrain: its edges are not those of the image
        bands = [_edge_band(info) for info in (anchor, other)]
        first, second = (
            _images(catalog, rows, info, band) for info, band in zip((anchor, other), bands, strict=True)
        )
        names = anchor.band_names[bands[0]], other.band_names[bands[1]]
        found.append(compare(first, second, other.prefix, names))
    return found


def compare(first: Floats, second: Floats, sensor: str, bands: tuple[str, str]) -> Alignment:
    """How far *second* lies from *first*; images (n, rows, columns), NaN where no data is."""
    spectra = _cross_power(first, second)
    each, sharp = peaks(spectra)
    clear = sharp >= CLEAR
    low, middle, high = np.percentile(each[clear], [16, 50, 84], axis=0) if clear.any() else [None] * 3
    (together,), (stands_out,) = peaks(spectra.sum(0)[None])
    return Alignment(
        sensor,
        bands,
        len(first),
        int(clear.sum()),
        None if middle is None else _pair(middle),
        None if low is None else _pair((high - low) / 2),
        _pair(together) if stands_out >= CLEAR else None,
    )


def peaks(spectra: npt.NDArray[np.complex128]) -> tuple[Floats, Floats]:
    """Shift of each pair in pixels, (n, 2) as rows and columns, and by how many deviations its peak stands out."""
    surface = fft.irfft2(spectra, axes=(1, 2), s=(spectra.shape[1],) * 2)
    side = surface.shape[1]
    reach = min(REACH_PX, side // 4)
    near = np.arange(-reach, reach + 1)
    window = surface[:, near[:, None], near[None]]
    inner = window[:, 1:-1, 1:-1].reshape(len(window), -1)
    y, x = np.divmod(inner.argmax(1), len(near) - 2)
    y, x, chip = y + 1, x + 1, np.arange(len(window))
    peak = window[chip, y, x]
    sharp = (peak - surface.mean((1, 2))) / np.maximum(surface.std((1, 2)), 1e-300)
    fractions = [
        _vertex(window[chip, y - dy, x - dx], peak, window[chip, y + dy, x + dx])
        for dy, dx in ((1, 0), (0, 1))
    ]
    return np.stack([near[y] + fractions[0], near[x] + fractions[1]], axis=1), sharp


def _vertex(before: Floats, at: Floats, after: Floats) -> Floats:
    """Where between -0.5 and 0.5 the maximum of a Gaussian through three values lies."""
    low = 1e-6 * np.abs(at) + 1e-300
    a, b, c = (np.log(np.maximum(values, low)) for values in (before, at, after))
    bend = a - 2 * b + c
    found: Floats = np.clip(np.where(bend < 0, 0.5 * (a - c) / np.where(bend < 0, bend, 1), 0), -0.5, 0.5)
    return found


def _cross_power(first: Floats, second: Floats) -> npt.NDArray[np.complex128]:
    """Normalised cross-power spectra of the images' edges, weighted by a Gaussian."""
    one, other = (fft.rfft2(_edges(images), axes=(1, 2)) for images in (first, second))
    product = np.conj(one) * other
    side = first.shape[1]
    f = np.hypot(fft.fftfreq(side)[:, None], fft.rfftfreq(side)[None])
    weight = np.exp(-2 * (np.pi * _PEAK_PX * f) ** 2)
    weighted: npt.NDArray[np.complex128] = product / np.maximum(np.abs(product), 1e-300) * weight
    return weighted


def _edges(images: Floats) -> Floats:
    """Length of the gradient of smoothed images, of mean 0, faded out at the rim."""
    middle = np.nanmedian(images.reshape(len(images), -1), axis=1)[:, None, None]
    smooth = ndimage.gaussian_filter(np.where(np.isnan(images), middle, images), (0, _SMOOTH_PX, _SMOOTH_PX))
    rows, columns = np.gradient(smooth, axis=(1, 2))
    edges = np.hypot(rows, columns)
    edges -= edges.mean((1, 2), keepdims=True)
    fade = np.hanning(images.shape[1] + 2)[1:-1]
    faded: Floats = edges * fade[:, None] * fade[None]
    return faded


def _edge_band(info: SensorInfo) -> int:
    """The band nearest to the near infrared; the first of a radar."""
    known = [abs(band.wavelength_nm - _NIR_NM) if band.wavelength_nm else np.inf for band in info.bands]
    return int(np.argmin(known))


def _images(catalog: Catalog, rows: pa.Table, info: SensorInfo, band: int) -> Floats:
    images = []
    for name, row in zip(rows["shard"].to_pylist(), rows["shard_row"].to_pylist(), strict=True):
        shard = open_shard(catalog.chips_folder / name)
        stored = pixels(shard, info.prefix, len(info.bands), catalog.meta.chip_px)[row, band]
        images.append(np.where(stored == info.nodata, np.nan, stored * info.scales[band] + info.offset))
    return np.stack(images)


def _pair(values: Any) -> tuple[float, float]:
    return round(float(values[0]), 3), round(float(values[1]), 3)


def alignment_file(catalog: Path, statistics: str) -> Path:
    """Where the alignment of a catalog lies: beside its statistics."""
    return (catalog.parent / statistics).with_name("alignment.json")


def write_alignment(catalog: Catalog, found: list[Alignment]) -> None:
    """Write what was found as JSON beside the catalog's statistics."""
    path = alignment_file(catalog.path, catalog.meta.statistics)
    content = {one.sensor: asdict(one) for one in found}
    write_text(
        path, json.dumps({"resolution_m": catalog.meta.resolution_m, "sensors": content}, indent=1) + "\n"
    )


def read_alignment(path: Path) -> list[Alignment]:
    """What was found, or nothing where it was not looked for."""
    if not path.exists():
        return []
    loaded: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["sensors"]
    return [Alignment(**{key: _frozen(value) for key, value in one.items()}) for one in loaded.values()]


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
