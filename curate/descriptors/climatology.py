"""A climate map from the user's own monthly normals: a NetCDF file or Zarr store, classified where it is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from curate.catalog.errors import InputError
from curate.descriptors.frame import Frame
from curate.grid import turned

if TYPE_CHECKING:
    import xarray as xr

    from curate.descriptors.koppen import Codes

SUFFIXES = (".nc", ".nc4", ".netcdf", ".cdf", ".zarr")
TEMPERATURES: tuple[str | tuple[str, str], ...] = (  # the first that is there; two are daily minimum and maximum
    "tas", "tavg", "tmean", "temperature", "tmp", "t2m",
    ("tasmin", "tasmax"), ("tmin", "tmax"), ("tmn", "tmx"),
)  # fmt: skip
PRECIPITATIONS = ("pr", "prec", "precip", "precipitation", "ppt", "pre", "tp")
_LATITUDES, _LONGITUDES = ("lat", "latitude", "y"), ("lon", "longitude", "x")
_MONTHS = ("month", "time")


def is_climatology(name: str) -> bool:
    """Whether *name* is called like a NetCDF file or a Zarr store."""
    return name.rstrip("/").lower().endswith(SUFFIXES)


def open_climatology(name: str) -> tuple[Frame, Callable[[slice, slice], Codes]]:
    """The frame of the normals' grid, and what reads and classifies a window of it.

    Variables are found by their usual names (`TEMPERATURES`, `PRECIPITATIONS`), months on a dimension ``month`` or
    ``time`` of length 12; longitudes may run from 0 to 360, latitudes either way. Units are those of the variables'
    attribute ``units`` (`curate.descriptors.koppen.classify_dataset`).

    Raises:
        InputError: no such file, none that can be read, or no monthly normals on a grid of longitude and latitude;
            and, when a window is read, what `classify_dataset` raises.
    """
    from curate.descriptors.koppen import classify_dataset

    dataset, temperature, precipitation = _normals(_open(name), name)
    lat, lon = (np.asarray(dataset[axis].values, np.float64) for axis in ("lat", "lon"))
    turned_lon = turned(lon)
    north_up, rising = np.argsort(-lat, kind="stable"), np.argsort(turned_lon, kind="stable")
    try:
        frame = Frame.around(lat[north_up], turned_lon[rising])
    except InputError as error:
        raise InputError(f"Climatology {name} lies on no grid", error.why) from error

    def read(rows: slice, cols: slice) -> Codes:
        window = dataset.isel(lat=north_up[rows], lon=rising[cols]).load()
        try:
            codes = classify_dataset(window, temperature, precipitation)
        except InputError as error:
            raise InputError(f"Climatology {name}: {error.what}", error.why, error.do) from error
        return np.asarray(codes.transpose("lat", "lon").values)

    return frame, read


def _open(name: str) -> xr.Dataset:
    """The dataset, its values not read yet."""
    import xarray as xr

    path = Path(name)
    if "://" in name or not path.exists():
        do = "Copy it to a local disk first" if "://" in name else ""
        raise InputError(f"There is no climatology {name}", do=do)
    try:
        if path.is_dir():
            stored: xr.Dataset = xr.open_zarr(path)
            return stored
        with path.open("rb") as file:
            classic = file.read(3) == b"CDF"
        return xr.open_dataset(path, engine="scipy" if classic else "h5netcdf")
    except ImportError as error:
        raise InputError(f"Climatology {name} cannot be read", str(error), "pip install zarr") from error
    except (OSError, ValueError, KeyError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"Climatology {name} cannot be read", why) from error


def _normals(dataset: xr.Dataset, name: str) -> tuple[xr.Dataset, str | tuple[str, str], str]:
    """The dataset with dimensions month, lat and lon, and the names of its variables."""
    there = [t for t in TEMPERATURES if all(v in dataset for v in ((t,) if isinstance(t, str) else t))]
    rain = [p for p in PRECIPITATIONS if p in dataset]
    if not there or not rain:
        raise InputError(
            f"Climatology {name} has no {'precipitation' if there else 'temperature'}",
            f"its variables are {', '.join(map(str, dataset)) or 'none'}",
            "Call them tas (or tasmin and tasmax) and pr",
        )
    temperature, precipitation = there[0], rain[0]
    wanted = [temperature] if isinstance(temperature, str) else [*temperature]
    dataset = dataset[[*wanted, precipitation]]
    names: dict[Any, str] = {}
    for axis, known in (("month", _MONTHS), ("lat", _LATITUDES), ("lon", _LONGITUDES)):
        found = [d for d in dataset.dims if str(d).lower() in known]
        if len(found) != 1 or (axis != "month" and found[0] not in dataset.coords):
            raise InputError(
                f"Climatology {name} has no {axis} axis",
                f"its dimensions are {dict(dataset.sizes)}",
                "It needs month, lat and lon, the last two with their coordinates in degrees",
            )
        names[found[0]] = axis
    return dataset.rename({old: new for old, new in names.items() if old != new}), temperature, precipitation
