"""A folder of images as a set of images: TIFF or NumPy files, one an image, or one folder an image with a file a band.

`train` has no GDAL. GeoTIFFs are read by tifffile (extra `[eval]`), arrays by NumPy: NAME.npy of shape [bands, rows,
columns]. Band names come from the TIFF's own descriptions, from the names of band files (..._B02.tif), or from the
user; images hold the model's bands in any order, and others, which are left out. Images smaller than the model's chips
are continued by reflection, larger ones are cut at their middle: pixels keep their size on the ground.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.catalog import InputError
from train.data import DataConfig, Sensor
from train.evaluate.images import check_values

SUFFIXES = (".tif", ".tiff", ".npy")
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Stored:
    """How a folder stores one sensor: physical value = stored × scale + offset, in the unit the model reads."""

    folder: Path
    bands: tuple[str, ...] | None = None  # in the files' order; None: the files say
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None
    paths: Mapping[str, Path] | None = None  # of the images by name, where they do not lie in `folder` itself


class ImageFolder:
    """Images of one or several sensors; files of one name in several folders are one image."""

    def __init__(
        self, folders: Mapping[str, Stored], data: DataConfig, names: Sequence[str] | None = None
    ) -> None:
        """Find the images.

        Args:
            names: of the images that are wanted, without suffix; by default all, in alphabetical order.

        Raises:
            InputError: the model lacks a sensor, a folder an image or a band, or values are in another unit.
        """
        own = {sensor.prefix: sensor for sensor in data.sensors}
        for prefix in folders:
            if prefix not in own:
                raise InputError(f"The model has no sensor {prefix!r}", f"it has {', '.join(own)}")
        self.folders = dict(folders)
        self.paths = {
            prefix: _files(stored.folder) if stored.paths is None else dict(stored.paths)
            for prefix, stored in folders.items()
        }
        common = sorted(set.intersection(*(set(found) for found in self.paths.values())))
        chosen = list(names) if names is not None else common
        lacking = [name for name in chosen if name not in set(common)]
        if lacking or not chosen:
            first = next(iter(folders.values())).folder
            raise InputError(
                f"Folder {first} lacks image {lacking[0]!r}"
                if lacking
                else f"Folder {first} holds no images",
                f"images are {', '.join(SUFFIXES)} files or folders of band files",
            )
        sensors = [
            replace(
                own[prefix], scale=stored.scale, offset=stored.offset, scales=(),
                nodata=np.nan if stored.nodata is None else stored.nodata,  # type: ignore[arg-type]
            )
            for prefix, stored in folders.items()
        ]  # fmt: skip
        self.config = replace(data, sensors=tuple(sensors))
        self.columns: dict[str, Array] = {
            "chip_id": np.array(chosen, object),
            "place": np.array(chosen, object),
        }
        self.split = "all"
        check_values(self)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def ids(self) -> Array:
        return self.columns["chip_id"]

    def take(self, rows: Array) -> ImageFolder:
        """The images at *rows*."""
        fewer = object.__new__(ImageFolder)
        fewer.__dict__.update(self.__dict__)
        fewer.columns = {name: values[rows] for name, values in self.columns.items()}
        return fewer

    def some(self, limit: int, seed: int) -> ImageFolder:
        """At most *limit* of these images, drawn with *seed*, in their order."""
        if len(self) <= limit:
            return self
        return self.take(np.sort(np.random.default_rng(seed).permutation(len(self))[:limit]))

    def gather(self, chips: npt.NDArray[np.int64]) -> dict[str, Array]:
        """Stored numbers by sensor, [B, c, px, px], in the model's band order.

        Raises:
            InputError: a file cannot be read, or lacks a band.
        """
        side = self.config.chip_px
        return {
            sensor.prefix: np.stack([fitted(self._read(sensor, str(self.ids[i])), side) for i in chips])
            for sensor in self.config.sensors
        }

    def band_means(self) -> npt.NDArray[np.float64]:
        """Mean of each image's bands over its pixels with data, physical units: [n, bands]."""
        rows = []
        for i in range(len(self)):
            parts = []
            for sensor in self.config.sensors:
                values = (
                    self._read(sensor, str(self.ids[i])).astype(np.float64).reshape(len(sensor.bands), -1)
                )
                known = np.isfinite(values) & (values != sensor.nodata)
                sums = np.where(known, values, 0).sum(1) / np.maximum(known.sum(1), 1)
                parts.append(np.where(known.any(1), sums * sensor.scale + sensor.offset, np.nan))
            rows.append(np.concatenate(parts))
        return np.stack(rows)

    def _read(self, sensor: Sensor, name: str) -> Array:
        path = self.paths[sensor.prefix][name]
        values, bands = _read_bands(path, sensor.bands) if path.is_dir() else _read_image(path)
        bands = _named(path, values, bands, self.folders[sensor.prefix].bands, sensor)
        return values[[bands.index(band) for band in sensor.bands]]


def fitted(values: Array, side: int) -> Array:
    """An image [c, H, W] of *side* × *side* pixels: cut at its middle, continued by reflection where it ends."""
    height, width = values.shape[1:]
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    values = values[:, top : top + side, left : left + side]
    lacking = [side - n for n in values.shape[1:]]
    return (
        np.pad(values, ((0, 0), *((n // 2, n - n // 2) for n in lacking)), "symmetric")
        if any(lacking)
        else values
    )


def _files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}")
    found = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES:
            found[path.stem] = path
        elif path.is_dir() and any(p.suffix.lower() in SUFFIXES for p in path.iterdir()):
            found[path.name] = path
    return found


def _read_image(path: Path) -> tuple[Array, tuple[str, ...] | None]:
    """Values [c, H, W] and the names that the file gives its bands, None where it gives none."""
    if path.suffix.lower() == ".npy":
        return np.load(path), None
    tifffile = tiff_reader()
    try:
        with tifffile.TiffFile(path) as file:
            page, values = file.pages[0], file.asarray()
            text = page.tags[42112].value if 42112 in page.tags else ""  # GDAL's metadata
            planar = page.planarconfig == 1 and values.ndim == 3
    except Exception as error:  # tifffile raises whatever the broken part happens to raise
        raise InputError(f"Image {path} cannot be read", f"{type(error).__name__}: {error}") from error
    values = values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0) if planar else values
    named = re.findall(r'<Item name="DESCRIPTION" sample="(\d+)"[^>]*>([^<]*)<', str(text))
    bands = tuple(name for _, name in sorted(named, key=lambda pair: int(pair[0])))
    return values, bands if len(bands) == len(values) else None


def _read_bands(folder: Path, wanted: tuple[str, ...]) -> tuple[Array, tuple[str, ...]]:
    """Bands of one image from its files NAME_BAND.tif or BAND.tif, coarser ones repeated to the finest grid."""
    found = {}
    for path in sorted(folder.iterdir()):
        band = path.stem.rsplit("_", 1)[-1].upper()
        if path.suffix.lower() in SUFFIXES and band in {w.upper() for w in wanted}:
            found[band] = _read_image(path)[0][0]
    lacking = [band for band in wanted if band.upper() not in found]
    if lacking:
        raise InputError(
            f"Image {folder} has no file of band {lacking[0]}", f"it has {', '.join(found) or 'none'}"
        )
    side = max(values.shape[0] for values in found.values())
    grown = []
    for band in wanted:
        values = found[band.upper()]
        factor, rest = divmod(side, values.shape[0])
        if rest:
            raise InputError(
                f"Band {band} of image {folder} has {values.shape[0]} rows", f"which do not divide {side}"
            )
        grown.append(values.repeat(factor, 0).repeat(factor, 1))
    return np.stack(grown), wanted


def _named(
    path: Path, values: Array, said: tuple[str, ...] | None, given: tuple[str, ...] | None, sensor: Sensor
) -> tuple[str, ...]:
    """The names of the image's bands.

    Raises:
        InputError: nobody names them, the file contradicts the user, or one that the model reads is missing.
    """
    if values.ndim != 3:
        raise InputError(
            f"Image {path} has {values.ndim} dimensions", "it should have bands, rows and columns"
        )
    bands = given or said
    if bands is None and len(values) == len(sensor.bands) == 1:
        bands = sensor.bands
    if bands is None:
        raise InputError(
            f"Image {path} does not name its {len(values)} bands",
            do="Name them in the file's order with --bands",
        )
    if said is not None and given is not None and said != given:
        raise InputError(
            f"Bands of image {path} are {', '.join(said)}",
            f"--bands says {', '.join(given)}",
            "Leave out --bands",
        )
    if len(bands) != len(values):
        raise InputError(f"Image {path} has {len(values)} bands", f"--bands names {len(bands)}")
    lacking = [band for band in sensor.bands if band not in bands]
    if lacking:
        raise InputError(
            f"Image {path} has no band {lacking[0]}",
            f"it has {', '.join(bands)}; the model reads {', '.join(sensor.bands)} of {sensor.prefix}",
        )
    return tuple(bands)


def tiff_reader() -> Any:
    """The module tifffile.

    Raises:
        InputError: it is not installed.
    """
    try:
        import tifffile
    except ImportError as error:
        raise InputError(
            "TIFF images need the package tifffile",
            do="Install it with: pip install 'curate-and-train[eval]'",
        ) from error
    return tifffile


def parse_folders(
    images: Sequence[str],
    data: DataConfig,
    bands: str | None,
    scale: float,
    offset: float,
    nodata: float | None,
) -> dict[str, Stored]:
    """Folders from "s2=FOLDER", or "FOLDER" where the model has one sensor.

    Raises:
        InputError: no prefix where there are several sensors, or settings of one sensor for several folders.
    """
    make = partial(Stored, scale=scale, offset=offset, nodata=nodata)
    names = None if bands is None else tuple(part.strip() for part in bands.split(","))
    found: dict[str, Stored] = {}
    for text in images:
        prefix, equals, folder = text.partition("=")
        if not equals and len(data.sensors) > 1:
            raise InputError(
                f"--images {text} does not say of which sensor it is",
                do=f"Write --images {data.sensors[0].prefix}={text}",
            )
        found[prefix if equals else data.sensors[0].prefix] = make(Path(folder if equals else text), names)
    if len(found) > 1 and (names or (scale, offset, nodata) != (1.0, 0.0, None)):
        raise InputError(
            "--bands, --scale, --offset and --nodata are of one sensor", do="Embed one sensor at a time"
        )
    return found
