"""Objects planted into images, and objects that move: small bright rectangles, as vessels or buildings might look.

At 10 m a vessel of 100 m is ten pixels long and a car is less than one, so what is learned here says whether features
keep small things apart, not how well ships or vehicles of the Earth are found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from train.evaluate.images import Images

Floats = npt.NDArray[np.floating]
MOST = 4  # objects an image
SIDE_PX = (6, 16)
CONTRAST = (2.5, 5.0)  # standard deviations of the training set, over what lies below


@dataclass(frozen=True)
class Boxes:
    """Objects of images: corners x0, y0, x1, y1 in pixels [n, MOST, 4], and which of them there are [n, MOST]."""

    corners: Floats
    there: npt.NDArray[np.bool_]

    def take(self, rows: npt.NDArray[np.int64]) -> Boxes:
        return Boxes(self.corners[rows], self.there[rows])


def place_boxes(count: int, size: int, seed: int) -> Boxes:
    """One to `MOST` boxes in each of *count* images of *size* pixels; of two that overlap the later is left out."""
    rng = np.random.default_rng((seed, 3))
    largest = min(SIDE_PX[1], size // 3)
    sides = rng.integers(min(SIDE_PX[0], largest - 1), largest, (count, MOST, 2))
    corner = np.floor(rng.random((count, MOST, 2)) * (size - sides))
    corners = np.concatenate([corner, corner + sides], 2)
    there = np.arange(MOST) < rng.integers(1, MOST + 1, (count, 1))
    for i in range(1, MOST):
        for j in range(i):
            there[:, i] &= ~((iou(corners[:, i, None], corners[:, j, None])[:, 0, 0] > 0) & there[:, j])
    return Boxes(corners, there)


def iou(first: Floats, second: Floats) -> Floats:
    """Intersection over union of boxes [..., n, 4] and [..., m, 4]: [..., n, m]."""
    a, b = first[..., :, None, :], second[..., None, :, :]
    wide = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    high = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    common = wide.clip(0) * high.clip(0)
    area = [(x[..., 2] - x[..., 0]) * (x[..., 3] - x[..., 1]) for x in (a, b)]
    return np.asarray(common / np.maximum(area[0] + area[1] - common, 1e-9))


class PlantedObjects:
    """*images* with bright rectangles where *boxes* say; an image may be shown several times (*rows*)."""

    def __init__(self, images: Images, boxes: Boxes, rows: npt.NDArray[np.int64], seed: int = 0) -> None:
        floats = [replace(s, scale=1.0, offset=0.0, scales=(), nodata=-32768) for s in images.config.sensors]
        self.images, self.boxes, self.rows = images, boxes, rows
        self.config = replace(images.config, sensors=tuple(floats))
        self.columns = {name: values[rows] for name, values in images.columns.items()}
        self.contrast = np.random.default_rng((seed, 4)).uniform(*CONTRAST, boxes.there.shape)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> npt.NDArray[Any]:
        return self.columns["chip_id"]

    def band_means(self) -> npt.NDArray[np.float64]:
        return self.images.band_means()[self.rows]

    def gather(self, chips: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        """Physical values with the objects in them, [B, c, H, W]."""
        size = self.config.chip_px
        added = painted(self.boxes.take(chips), self.contrast[chips], size)[:, None]  # [B, 1, H, W]
        found = {}
        for s in self.images.config.sensors:
            stored = self.images.gather(self.rows[chips])[s.prefix]
            scales = np.array(s.scales or (s.scale,) * len(s.bands), np.float32)[:, None, None]
            values = (
                stored * scales + np.float32(s.offset) + added * np.array(s.std, np.float32)[:, None, None]
            )
            found[s.prefix] = np.where(stored == s.nodata, np.float32(-32768), values).astype(np.float32)
        return found


def painted(boxes: Boxes, contrast: Floats, size: int) -> npt.NDArray[np.float32]:
    """By how much each pixel [n, size, size] is brighter."""
    x = np.arange(size) + 0.5
    x0, y0, x1, y1 = (boxes.corners[..., i, None] for i in range(4))  # [n, MOST, 1]
    across, down = (x > x0) & (x < x1), (x > y0) & (x < y1)  # [n, MOST, size]
    level = np.where(boxes.there, contrast, 0)
    brighter = np.einsum("nk,nky,nkx->nyx", level, down.astype(float), across.astype(float))
    return np.asarray(brighter, np.float32)


@dataclass(frozen=True)
class Sequences:
    """Objects on their way through frames: boxes of all frames one after the other, and whose they are."""

    boxes: Boxes  # of sequences × frames images, frame by frame
    identity: npt.NDArray[np.int64]  # [images, MOST], equal over the frames of a sequence
    frames: int


def move_boxes(count: int, size: int, frames: int, seed: int) -> Sequences:
    """*count* sequences of objects that move straight at up to 3 px a frame and leave nothing behind at the edge."""
    first = place_boxes(count, size, seed)
    rng = np.random.default_rng((seed, 5))
    speed = rng.uniform(-3, 3, (count, 1, MOST, 2))
    step = np.arange(frames)[None, :, None, None] * speed  # [n, frames, MOST, 2]
    corners = np.round(first.corners[:, None] + np.concatenate([step, step], 3))
    clipped = corners.clip(0, size)
    whole = (clipped == corners).all(3)  # an object that is cut by the edge counts as gone
    there = first.there[:, None] & np.logical_and.accumulate(whole, axis=1)
    identity = np.broadcast_to(np.arange(count * MOST).reshape(count, 1, MOST), there.shape)
    boxes = Boxes(clipped.reshape(-1, MOST, 4), there.reshape(-1, MOST))
    return Sequences(boxes, identity.reshape(-1, MOST).copy(), frames)
