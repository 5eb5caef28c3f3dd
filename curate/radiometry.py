"""What a scene's numbers mean: the reflectance offset of Sentinel-2, the unit of Sentinel-1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BASELINE_WITH_OFFSET = 4.0  # Sentinel-2 processing baseline 04.00, in operation since 2022-01-25
OFFSET_DN = -1000  # its BOA_ADD_OFFSET (Sentinel-2 Products Specification Document 14.9, section 4.11)

_UNIT_NAMES = {
    "db": "dB",
    "decibel": "dB",
    "decibels": "dB",
    "power": "power",
    "linear": "power",
    "linear power": "power",
    "intensity": "power",
    "amplitude": "amplitude",
    "linear amplitude": "amplitude",
}


@dataclass(frozen=True)
class Unknown:
    """A meaning that could not be settled, and why; the scene is refused."""

    reason: str


def reflectance_offset(
    baseline: str | float | None, applied: bool | None, declared: float | None, scale: float
) -> int | Unknown:
    """Offset in DN to add to a Sentinel-2 scene's numbers before they are scaled.

    Args:
        baseline: processing baseline, "04.00".
        applied: the provider's flag that the offset has been removed already (Earth Search's
            ``earthsearch:boa_offset_applied``); it describes the pixels, so it decides.
        declared: offset in reflectance that the item declares for its band, or None.
        scale: reflectance per DN.

    A date decides nothing: reprocessed archives carry the offset on old acquisitions.
    """
    number = _number(baseline)
    has_offset = None if number is None else number >= BASELINE_WITH_OFFSET
    if applied is True or (has_offset is False and not declared):
        return 0
    declared_dn = None if declared is None else round(declared / scale)
    if applied is False and has_offset:
        return OFFSET_DN
    if has_offset is None:
        return Unknown("reflectance offset unknown") if declared_dn is None else declared_dn
    expected = OFFSET_DN if has_offset else 0
    if declared_dn is not None and declared_dn != expected:
        return Unknown("baseline and declared reflectance offset disagree")
    return expected


def _number(baseline: str | float | None) -> float | None:
    """Baseline as a number; None where it is none, because then nothing is known."""
    try:
        return float(baseline) if baseline is not None else None
    except ValueError:
        return None


def radar_unit(declared: str | None, default: str) -> str | Unknown:
    """Unit of a radar band's numbers after scale and offset: dB, power or amplitude."""
    text = (declared or default).strip().lower()
    return _UNIT_NAMES.get(text) or Unknown("unit of backscatter unknown")


def to_decibel(values: npt.NDArray[np.float64], unit: str) -> npt.NDArray[np.float64]:
    """Backscatter in dB; zero and negative power become NaN, they are no measurement."""
    if unit == "dB":
        return values
    factor = {"power": 10.0, "amplitude": 20.0}[unit]
    with np.errstate(divide="ignore", invalid="ignore"):
        decibel: npt.NDArray[np.float64] = factor * np.log10(values)
    return np.where(np.isfinite(decibel), decibel, np.nan)


def band_scaling(asset: dict[str, Any]) -> dict[str, Any]:
    """Scale, offset, nodata and unit that a STAC asset declares for its first band, None where it is silent.

    Reads the raster extension v1 (``raster:bands``) and STAC 1.1 (``bands`` with ``raster:scale``).
    """
    bands = asset.get("raster:bands") or asset.get("bands") or [{}]
    band = {**asset, **(bands[0] if isinstance(bands, list) and isinstance(bands[0], dict) else {})}
    nodata = band.get("nodata")
    return {
        "scale": band.get("raster:scale", band.get("scale")),
        "offset": band.get("raster:offset", band.get("offset")),
        "nodata": float(nodata) if nodata is not None else None,
        "unit": band.get("unit"),
    }
