"""Change between two dates: pairs of images with masks, from folders, or planted into one set of images.

A planted change pastes a soft-edged blob of another image, of another class of surface, into the later date; both dates
have noise of their own. It tells whether a model can find change, not how well it finds that of the Earth.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from train.evaluate.images import Images
from train.evaluate.targets import Targets

AREA = (0.05, 0.25)  # share of an image that changes
NOISE = 0.1  # of each date, in standard deviations of the training set
UNCHANGED = 0.2  # share of pairs without any change


class PlantedChange:
    """The later date of *images*: the same ones with blobs of others in them."""

    def __init__(self, images: Images, seed: int = 0, noise: float = NOISE) -> None:
        self.images, self.seed, self.noise = images, seed, noise
        floats = [replace(s, scale=1.0, offset=0.0, scales=(), nodata=-32768) for s in images.config.sensors]
        self.config = replace(images.config, sensors=tuple(floats))
        self.columns = images.columns
        n, rng = len(images), np.random.default_rng((seed, 0))
        self._other = (np.arange(n) + 1 + rng.integers(max(n - 1, 1), size=n)) % n
        self.masks = blobs(len(images), images.config.chip_px, seed)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def ids(self) -> npt.NDArray[Any]:
        return self.images.ids

    def band_means(self) -> npt.NDArray[np.float64]:
        """Of the images without change, which is what normalisation is checked with."""
        return self.images.band_means()

    def some(self, limit: int, seed: int) -> Any:
        return self.images.some(limit, seed)  # type: ignore[attr-defined]

    def gather(self, chips: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        """Physical values of the later date, [B, c, H, W]."""
        return self._dated(chips, 1)

    def before(self) -> Images:
        """The earlier date: the images as they are, with noise of their own."""
        earlier = object.__new__(PlantedChange)
        earlier.__dict__.update(self.__dict__)
        earlier.gather = lambda chips: self._dated(chips, 0)  # type: ignore[method-assign]
        return earlier

    def targets(self) -> Targets:
        """Where something changed."""
        return Targets("planted change", self.masks.astype(np.int64), ("no change", "change"))

    def _dated(self, chips: npt.NDArray[np.int64], date: int) -> dict[str, npt.NDArray[Any]]:
        here, there = self.images.gather(chips), self.images.gather(self._other[chips])
        found = {}
        for s in self.images.config.sensors:
            scales = np.array(s.scales or (s.scale,) * len(s.bands), np.float32)[:, None, None]
            a, b = (
                np.where(x[s.prefix] == s.nodata, np.nan, x[s.prefix] * scales + s.offset).astype(np.float32)
                for x in (here, there)
            )
            mask = self.masks[chips][:, None]
            mixed = np.where(mask & np.isfinite(b), b, a) if date else a
            std = np.array(s.std, np.float32)[:, None, None]
            streams = [np.random.default_rng((self.seed, 1, date, int(i))) for i in chips]
            noise = np.stack([stream.standard_normal(a.shape[1:]) for stream in streams])
            mixed = mixed + self.noise * std * noise.astype(np.float32)
            found[s.prefix] = np.where(np.isfinite(mixed), mixed, np.float32(-32768)).astype(np.float32)
        return found


def blobs(count: int, size: int, seed: int) -> npt.NDArray[np.bool_]:
    """Masks [count, size, size] of smooth blobs that cover a share of the image within `AREA`; some cover nothing."""
    rng = np.random.default_rng((seed, 2))
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.standard_normal((count, size, size))) * frequency**-2
    spectrum[..., 0, 0] = 0
    field = np.fft.irfft2(spectrum, s=(size, size))
    share = rng.uniform(*AREA, count) * (rng.random(count) >= UNCHANGED)
    rank = field.reshape(count, -1).argsort(1).argsort(1).reshape(field.shape)
    return np.asarray(rank >= size**2 * (1 - share[:, None, None]))
