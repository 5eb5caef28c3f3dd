"""Random fields and curves with a power-law spectrum."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy import ndimage

Field = npt.NDArray[np.floating[Any]]  # (rows, columns), float32 in memory


def spectral(
    rng: np.random.Generator, size: int, beta: float, longest_px: float, shortest_px: float = 2.0
) -> Field:
    """A Gaussian random field of zero mean and unit variance, periodic, shape (size, size).

    Power falls with spatial frequency as f^-beta between the wavelengths given and is flat below; beta 2 looks
    like clouds and soil, 3 to 4 like relief (Turcotte 1997, Fractals and Chaos in Geology, ch. 7).
    """
    noise = rng.standard_normal((size, size), dtype=np.float32)
    spectrum = scipy.fft.rfft2(noise)
    rows = np.fft.fftfreq(size).astype(np.float32)[:, None]
    columns = np.fft.rfftfreq(size).astype(np.float32)[None, :]
    frequency = np.sqrt(rows**2 + columns**2)
    gain = np.maximum(frequency, 1 / longest_px) ** np.float32(-beta / 2)
    gain *= np.exp(-((frequency * shortest_px / 2) ** 4))
    gain[0, 0] = 0
    field: Field = scipy.fft.irfft2(spectrum * gain, s=(size, size))
    return np.asarray(field / field.std(), np.float32)


def ranks(field: Field, step: int = 4) -> Field:
    """The field brought to a uniform distribution over [0, 1] by its own quantiles."""
    values = np.sort(field[::step, ::step], axis=None)
    low, high = float(values[0]), float(values[-1])
    table = np.searchsorted(values, np.linspace(low, high, 8192)) / len(values)
    return table.astype(np.float32)[_bins(field, low, high, 8192)]


def blur(field: Field, sigma_px: float) -> Field:
    """Gaussian smoothing."""
    if sigma_px > 10:  # the same at a quarter of the resolution
        rows, columns = field.shape
        padded = np.pad(field, ((0, -rows % 4), (0, -columns % 4)), mode="edge")
        coarse = ndimage.gaussian_filter(block_mean(padded, 4), sigma_px / 4, mode="nearest", truncate=2.6)
        fine = ndimage.zoom(coarse, 4, order=1, grid_mode=True, mode="nearest")
        return np.asarray(fine[:rows, :columns], np.float32)
    return np.asarray(ndimage.gaussian_filter(field, sigma_px, mode="nearest", truncate=2.6), np.float32)


def block_mean(field: Field, factor: int) -> Field:
    """Means over squares of factor x factor pixels."""
    rows, columns = field.shape[0] // factor, field.shape[1] // factor
    cut = field[: rows * factor, : columns * factor]
    return np.asarray(cut.reshape(rows, factor, columns, factor).mean((1, 3)), np.float32)


def smoothstep(values: Field, low: float, high: float) -> Field:
    """0 below *low*, 1 above *high*, smooth between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def curve_distance(
    rng: np.random.Generator,
    x: Field,
    y: Field,
    through: tuple[float, float],
    direction_rad: float,
    sway_m: float,
    wavelength_m: float,
    wiggle: float,
) -> tuple[Field, Field]:
    """Signed distance (m) from a swaying line through a point, and the place along it (m).

    Distance is across the line over the secant of its slope: exact for a straight line, good near a bent one.
    The sway is a sum of sines whose amplitude falls with wavelength to the power *wiggle*.
    """
    cos, sin = np.float32(np.cos(direction_rad)), np.float32(np.sin(direction_rad))
    along = (x - through[0]) * cos + (y - through[1]) * sin
    across = (y - through[1]) * cos - (x - through[0]) * sin
    reach = 14_000.0
    places = np.linspace(-reach, reach, 14_001)
    sway = np.zeros_like(places)
    for octave in range(5):
        phase = rng.uniform(0, 2 * np.pi)
        wave = wavelength_m / 2**octave * rng.uniform(0.8, 1.25)
        sway += sway_m * 2 ** (-wiggle * octave) * np.sin(2 * np.pi * places / wave + phase)
    sway -= np.interp(0.0, places, sway)
    slope = np.gradient(sway, places)
    bins = _bins(along, -reach, reach, len(places))
    secant = np.sqrt(1 + slope**2)
    return (across - sway.astype(np.float32)[bins]) / secant.astype(np.float32)[bins], along


def _bins(values: Field, low: float, high: float, count: int) -> npt.NDArray[np.int16]:
    """Index of the nearest of *count* numbers that are evenly spaced from *low* to *high*."""
    scale = (count - 1) / (high - low)
    bins: npt.NDArray[np.int16] = np.clip((values - low) * scale + 0.5, 0, count - 1).astype(np.int16)
    return bins
