"""What a scene's numbers mean: the reflectance offset of Sentinel-2, the unit of Sentinel-1.

`docs/radiometry.md` has the decisions as tables, and how often they are right.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
BASELINE_WITH_OFFSET = 4.0  # Sentinel-2 processing baseline 04.00, in operation since 2022-01-25
BASELINE_UNREAL = 90.0  # 99.99 stands for a reprocessing of someone's own, and says nothing
OFFSET_DN = -1000  # its BOA_ADD_OFFSET (Sentinel-2 Products Specification Document 14.9, section 4.11)
LOW_PERCENT = 0.5  # of a scene's valid pixels, that are darker than what `offset_by_dark` looks at
DARKEST_DN = 800  # with the offset, that many pixels below would have a reflectance below -0.02
NOISE_FLOOR_DB = -50.0  # stored for power of zero and less; Sentinel-1's noise floor lies 20 dB higher

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
    "complex": "complex",
    "complex amplitude": "complex",
}
_CODED = re.compile(
    r"(?P<factor>[12]0)\s*\*?\s*log10\s*\(\s*DN\s*\)\s*(?P<shift>[+-]\s*\d+(\.\d*)?)?", re.IGNORECASE
)
_CALIBRATED = re.compile(r"\b(sigma|gamma|beta)[\s_-]*(0|zero|naught|nought)\b", re.IGNORECASE)
_BASELINE = re.compile(  # 04.00, 2.6, N0400, 4; not 205, which may be 2.05 or 20.5
    r"(?P<major>\d{1,2})(\.(?P<minor>\d{1,2}))?|N?(?P<packed_major>\d{2})(?P<packed_minor>\d{2})",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Unknown:
    """A meaning that could not be settled, and why; the scene is refused."""

    reason: str


@dataclass(frozen=True)
class Offset:
    """The offset of a Sentinel-2 scene, decided."""

    dn: int  # to be added to the numbers before they are scaled
    source: str  # what decided: provider flag, baseline 04.00, declared, percentile
    doubtful: bool = False  # by a source that is known to be wrong at times


def reflectance_offset(
    baseline: str | float | None, applied: bool | None, declared: float | None, scale: float
) -> Offset | Unknown:
    """The offset of a Sentinel-2 scene, from its metadata alone.

    Args:
        baseline: processing baseline, "04.00" or "N0400".
        applied: the provider's flag that the offset has been removed already (Earth Search's
            ``earthsearch:boa_offset_applied``). Where it is true it decides: it describes the pixels. Where it is
            false beside a baseline of 04.00 and later the answer is doubtful: Earth Search has scenes with that
            flag whose offset was removed (Element84/earth-search issues 66 and 71).
        declared: offset in reflectance that the item declares for its band, or None.
        scale: reflectance per DN.

    A date decides nothing: reprocessed archives carry the offset on old acquisitions.
    """
    number = baseline_number(baseline)
    has_offset = None if number is None else number >= BASELINE_WITH_OFFSET
    named = "" if number is None else f"baseline {number:05.2f}"
    if applied is True:
        return Offset(0, "provider flag")
    if has_offset is False and not declared:
        return Offset(0, named)
    declared_dn = None if declared is None else round(declared / scale)
    if applied is False and has_offset:
        return Offset(OFFSET_DN, "provider flag", doubtful=True)
    if has_offset is None:
        if declared_dn is None:
            return Unknown("reflectance offset unknown")
        return Offset(declared_dn, "declared")
    expected = OFFSET_DN if has_offset else 0
    if declared_dn is not None and declared_dn != expected:
        return Unknown("baseline and declared reflectance offset disagree")
    return Offset(expected, named)


def baseline_number(baseline: str | float | None) -> float | None:
    """Baseline as a number; None where it is none, because then nothing is known."""
    found = _BASELINE.fullmatch(str(baseline).strip())
    if found is None:
        return None
    major, minor = found["major"] or found["packed_major"], found["minor"] or found["packed_minor"]
    number = float(f"{major}.{minor or 0}")
    return number if number < BASELINE_UNREAL else None


def offset_by_dark(lows: Sequence[tuple[float | None, float]], scale: float = 1e-4) -> int | None:
    """The offset that a scene's darkest pixels tell of; None where they are not decisive.

    Without the offset, water, shade and forest have a few hundred DN in some band; with it, they have 1000 and more.
    So a band that is darker than `DARKEST_DN` carries none. The reverse needs more: a uniform thin cloud or bright
    soil is as bright without the offset as a forest with it in one band, hardly ever in two distant ones.

    Args:
        lows: for each part of the spectrum the DN below which `LOW_PERCENT` of the valid pixels lie, None where it
            could not be had, and the reflectance of the scene's darkest pixels up to which it counts as dark.
        scale: reflectance per DN.
    """
    if any(low is not None and low < DARKEST_DN for low, _ in lows):
        return 0
    if lows and all(low is not None and low <= ceiling / scale - OFFSET_DN for low, ceiling in lows):
        return OFFSET_DN
    return None


def radar_unit(declared: str | None, default: str) -> str | Unknown:
    """Unit of a radar band's numbers after scale and offset: dB, power, amplitude or complex."""
    text = (declared or default).strip().lower()
    return _UNIT_NAMES.get(text) or Unknown("unit of backscatter unknown")


def coded_decibel(declared: str | None) -> tuple[str, float] | None:
    """Unit and scale of numbers that are declared by a formula for dB; None where it is none.

    ``dB = 20*log10(DN) - 83`` is an amplitude with the scale 10^(-83/20), with 10 before the logarithm a power.
    """
    found = _CODED.search(declared or "")
    if found is None:
        return None
    shift = float((found["shift"] or "0").replace(" ", ""))
    factor = float(found["factor"])
    return ("amplitude" if factor == 20 else "power"), 10 ** (shift / factor)


def described_unit(description: str | None) -> str | None:
    """Unit that an asset's description names; None unless it also says that the numbers are calibrated.

    Amplitudes of a GRD product are described as such and are not calibrated.
    """
    text = (description or "").lower()
    if not _CALIBRATED.search(text):
        return None
    words = set(re.findall(r"[a-z]+", text))
    for unit, names in (
        ("dB", {"db", "decibel", "decibels"}),
        ("amplitude", {"amplitude"}),
        ("power", {"power", "intensity", "linear"}),
    ):
        if words & names:
            return unit
    return None


def to_decibel(values: Floats, unit: str) -> Floats:
    """Backscatter in dB.

    Power of zero and less, and what lies below `NOISE_FLOOR_DB`, becomes that floor: the signal was too weak to
    measure, which is not the same as no data (NaN).

    Args:
        unit: of *values*: dB, power, amplitude; complex for |z|², which is a power.
    """
    if unit == "dB":
        return np.where(values == -np.inf, NOISE_FLOOR_DB, np.where(np.isinf(values), np.nan, values))
    factor = 20.0 if unit == "amplitude" else 10.0
    least = 10 ** (NOISE_FLOOR_DB / factor)
    known = np.where(np.isposinf(values), np.nan, values)
    decibel: Floats = factor * np.log10(np.maximum(known, least))  # maximum keeps NaN
    return decibel


def band_scaling(asset: dict[str, Any]) -> dict[str, Any]:
    """Scale, offset, nodata and unit that a STAC asset declares for its first band, None where it is silent.

    Reads the raster extension v1 (``raster:bands``) and STAC 1.1 (``bands`` with ``raster:scale``). What is no number
    counts as silence.
    """
    bands = asset.get("raster:bands") or asset.get("bands") or [{}]
    first = bands[0] if isinstance(bands, list) and isinstance(bands[0], dict) else {}

    def said(key: str) -> Any:
        return first[key] if key in first else asset.get(key)

    def either(key: str) -> Any:
        return said(f"raster:{key}") if f"raster:{key}" in first or f"raster:{key}" in asset else said(key)

    unit = said("unit")
    return {
        "scale": _number(either("scale")),
        "offset": _number(either("offset")),
        "nodata": _number(said("nodata"), finite=False),
        "unit": unit if isinstance(unit, str) else None,
    }


def _number(value: Any, *, finite: bool = True) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) or not finite else None
