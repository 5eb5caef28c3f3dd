"""What a further descriptor is given, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.catalog.schema import DescriptorInfo
from curate.chips import ChipPlaces
from curate.grid import Floats, Ints


@dataclass(frozen=True)
class Candidates:
    """Candidate chips of one zone: each is a place at one time, shown by one scene of the anchor."""

    places: ChipPlaces
    place: Ints  # of each candidate, a position in `places`
    chip_id: npt.NDArray[Any]  # text
    time: npt.NDArray[np.datetime64]  # UTC, of the anchor's scene
    scene: npt.NDArray[Any]  # its STAC item id

    def __len__(self) -> int:
        return len(self.place)

    @property
    def bounds_deg(self) -> Floats:
        """West, south, east and north of all chips, degrees, with a margin of at least a chip."""
        lon, lat = self.places.lon, self.places.lat
        margin = self.places.lattice.size_m / 55_000
        wide = margin / max(0.01, float(np.cos(np.radians(np.abs(lat).max()))))
        low, high = lat.min() - margin, lat.max() + margin
        if np.ptp(lon) > 180 or lon.min() - wide < -180 or lon.max() + wide > 180:
            return np.array([-180.0, low, 180.0, high])
        return np.array([lon.min() - wide, low, lon.max() + wide, high])


class Descriptor(Protocol):
    """A further descriptor. Adding one is a file with such a class, and an entry in `curate.descriptors.further`.

    It travels to the workers, so it holds settings and paths, no open files. What it says of a chip must not depend
    on the chips beside it.
    """

    @property
    def columns(self) -> tuple[DescriptorInfo, ...]:
        """The columns that it adds to the pool."""
        ...

    def describe(self, candidates: Candidates) -> dict[str, Floats]:
        """The values of each column, shape (candidates,) or (candidates, size); NaN where unknown."""
        ...


def as_column(values: Floats, info: DescriptorInfo) -> pa.Array:
    """Values of a column as Arrow, null where they are NaN; of lists, where any number is."""
    small = np.ascontiguousarray(values, np.float32)
    unknown = np.isnan(small)
    if not info.size:
        return pa.array(small, pa.float32(), mask=unknown)
    return pa.FixedSizeListArray.from_arrays(
        pa.array(small.ravel()), info.size, mask=pa.array(unknown.any(axis=1))
    )
