"""A site's truth, from which every product is made."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TypeVar

import numpy as np

from curate.archives.simulated.frames import Frame
from curate.archives.simulated.landcover import Cover
from curate.archives.simulated.places import Site
from curate.archives.simulated.terrain import Terrain

T = TypeVar("T")


@dataclass(frozen=True)
class Ground:
    """A site's truth, from which all its products are made."""

    site: Site
    seed: int
    canvas: Frame
    pad_px: int  # from the canvas to the Sentinel-2 frame
    terrain: Terrain
    cover: Cover

    @property
    def size_px(self) -> int:
        return self.canvas.width - 2 * self.pad_px

    def frame(self, row: int, column: int, height: int, width: int) -> Frame:
        """A window of the canvas as a frame."""
        return Frame(
            self.canvas.epsg, self.canvas.left + column * 10, self.canvas.top - row * 10, width, height, 10
        )


def cropped(record: T, rows: slice, columns: slice) -> T:
    """A copy of a dataclass with every field of pixels cut to a window."""
    if isinstance(record, np.ndarray):
        return record[..., rows, columns]  # type: ignore[return-value]
    if is_dataclass(record) and not isinstance(record, type):
        parts = {f.name: cropped(getattr(record, f.name), rows, columns) for f in fields(record)}
        return replace(record, **parts)
    return record
