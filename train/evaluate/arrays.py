"""Labelled images in arrays: So2Sat, GEO-Bench, and data sets of torchgeo."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.catalog import InputError
from train.data import DataConfig, Sensor
from train.evaluate.folders import fitted
from train.evaluate.images import check_values
from train.evaluate.labelled import DN, Labelled, official, sensor_of
from train.evaluate.labels import Labels, from_names

SO2SAT_S2 = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
SO2SAT_S1 = {"VH": 4, "VV": 5}  # intensities after the refined Lee filter, linear
LEAST_POWER = 1e-5  # -50 dB


class ImageArrays:
    """Images from arrays or HDF5 data sets: a function of positions gives physical values by sensor."""

    def __init__(
        self,
        read: Callable[[npt.NDArray[np.int64]], Mapping[str, npt.NDArray[Any]]],
        data: DataConfig,
        ids: Sequence[str],
    ) -> None:
        """*read* yields values [B, c, H, W] in the unit of each of *data*'s sensors, NaN where there is no data."""
        physical = [
            replace(sensor, scale=1.0, offset=0.0, scales=(), nodata=-32768) for sensor in data.sensors
        ]
        self.config = replace(data, sensors=tuple(physical))
        self._read, self._rows = read, np.arange(len(ids))
        names = np.array(ids, object)
        self.columns: dict[str, npt.NDArray[Any]] = {"chip_id": names, "place": names}
        check_values(self)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def ids(self) -> npt.NDArray[Any]:
        return self.columns["chip_id"]

    def take(self, rows: npt.NDArray[np.int64]) -> ImageArrays:
        fewer = object.__new__(ImageArrays)
        fewer.__dict__.update(self.__dict__)
        fewer.columns = {name: values[rows] for name, values in self.columns.items()}
        fewer._rows = self._rows[rows]
        return fewer

    def some(self, limit: int, seed: int) -> ImageArrays:
        if len(self) <= limit:
            return self
        return self.take(np.sort(np.random.default_rng(seed).permutation(len(self))[:limit]))

    def gather(self, chips: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        """Physical values by sensor, [B, c, px, px]; `nodata` where they are not finite."""
        found = {}
        for prefix, values in self._read(self._rows[chips]).items():
            images = np.stack(
                [fitted(np.asarray(image, np.float32), self.config.chip_px) for image in values]
            )
            found[prefix] = np.where(np.isfinite(images), images, np.float32(-32768))
        return found

    def band_means(self) -> npt.NDArray[np.float64]:
        rows = []
        for start in range(0, len(self), 256):
            found = self._read(self._rows[start : start + 256])
            parts = [np.nanmean(np.asarray(found[s.prefix], np.float64), (2, 3)) for s in self.config.sensors]
            rows.append(np.concatenate(parts, 1))
        return np.concatenate(rows)


def so2sat(path: str, data: DataConfig) -> Labelled:
    h5py = _h5py()
    try:
        file = h5py.File(path, "r")
        optical, radar, hot = file["sen2"], file["sen1"], np.asarray(file["label"])
    except (OSError, KeyError) as error:
        raise InputError(f"{path} is no file of So2Sat", str(error)) from error
    sensors = [s for s in data.sensors if "sentinel-2" in s.name or "sentinel-1" in s.name]
    _need(path, sensors, {"sentinel-2": SO2SAT_S2, "sentinel-1": tuple(SO2SAT_S1)})

    def read(rows: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        order = np.argsort(rows, kind="stable")  # HDF5 wants rising rows
        back = np.argsort(order, kind="stable")
        found = {}
        for sensor in sensors:
            if "sentinel-2" in sensor.name:
                values = optical[rows[order]][..., [SO2SAT_S2.index(b) for b in sensor.bands]]
            else:
                power = radar[rows[order]][..., [SO2SAT_S1[b] for b in sensor.bands]]
                values = 10 * np.log10(np.maximum(power, LEAST_POWER))
            found[sensor.prefix] = np.moveaxis(values, -1, 1)[back]
        return found

    ids = [f"{i:07d}" for i in range(len(hot))]
    classes = tuple(f"LCZ {i + 1}" for i in range(hot.shape[1]))
    labels = Labels("So2Sat", classes, (hot > 0.5).astype(np.int8), False)
    return Labelled(ImageArrays(read, replace(data, sensors=tuple(sensors)), ids), labels, [])


def geobench(path: str, data: DataConfig) -> Labelled:
    """GEO-Bench v1: a file a sample, a data set a band named "04 - Red", "8A - ...", "VV"; lists of ids as JSON."""
    h5py, folder = _h5py(), Path(path)
    try:
        parts = json.loads((folder / "default_partition.json").read_text(encoding="utf-8"))
        ids = [name for part in parts.values() for name in part]
        labels = _geobench_labels(folder, ids)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"Folder {folder} is no classification task of GEO-Bench", str(error)) from error
    with h5py.File(folder / f"{ids[0]}.hdf5", "r") as first:
        there = [_geobench_band(key) for key in first]
    sensors = [s for s in data.sensors if set(s.bands) <= set(there)]
    if not sensors:
        raise InputError(f"Folder {folder} has no sensor of the model", f"its bands are {', '.join(there)}")

    def read(rows: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        found: dict[str, list[Any]] = {s.prefix: [] for s in sensors}
        for row in rows:
            with h5py.File(folder / f"{ids[row]}.hdf5", "r") as file:
                keys = {_geobench_band(key): key for key in file}  # a date makes them differ
                for s in sensors:
                    scale = DN if s.unit == "reflectance" else 1.0
                    found[s.prefix].append(np.stack([np.asarray(file[keys[b]]) for b in s.bands]) * scale)
        return {prefix: np.stack(values) for prefix, values in found.items()}

    split = np.concatenate([[name] * len(part) for name, part in parts.items()])
    images = ImageArrays(read, replace(data, sensors=tuple(sensors)), ids)
    return Labelled(images, labels, official(split == "train", split == "test"))


def _geobench_labels(folder: Path, ids: Sequence[str]) -> Labels:
    """One class a sample from label_map.json, or several from label_stats.json, a number for each class."""
    if (folder / "label_map.json").exists():
        label_map = json.loads((folder / "label_map.json").read_text(encoding="utf-8"))
        shown = {name: label for label, names in label_map.items() for name in names}
        return from_names(folder.name, [shown[name] for name in ids])
    stats = json.loads((folder / "label_stats.json").read_text(encoding="utf-8"))
    hot = (np.array([stats[name] for name in ids]) > 0).astype(np.int8)
    return Labels(folder.name, tuple(map(str, range(hot.shape[1]))), hot, True)


def _geobench_band(key: str) -> str:
    """ "04 - Red" as B04, "8A - Vegetation Red Edge" as B8A, "VV" as it is; a date may follow after "_"."""
    head = key.split(" - ")[0].split("_")[0].strip().upper()
    return f"B{head}" if head[:1].isdigit() else head


def torchgeo(path: str, data: DataConfig) -> Labelled:
    name, _, root = path.partition(":")
    try:
        import torchgeo.datasets as all_of_them
    except ImportError as error:
        raise InputError("torchgeo is not installed", do="Install it with: pip install torchgeo") from error
    kind = getattr(all_of_them, name, None)
    if kind is None:
        raise InputError(f"torchgeo has no data set {name!r}")
    try:
        parts = {split: kind(root=root, split=split, download=False) for split in ("train", "test")}
    except Exception as error:  # each of its data sets raises what it likes
        raise InputError(f"torchgeo's {name} cannot be read from {root}", f"{error}") from error
    return from_torchgeo(name, parts, data)


def from_torchgeo(name: str, parts: Mapping[str, Any], data: DataConfig) -> Labelled:
    """Labelled images of torchgeo's samples {image, label}: Sentinel-2, with the band names that the class says."""
    s2 = sensor_of(data, "sentinel-2")
    first = parts["train"]
    bands = [*(getattr(first, "all_band_names", None) or getattr(first, "all_bands", None) or ())]
    if len(bands) != len(first[0]["image"]) or not set(s2.bands) <= set(bands):
        raise InputError(
            f"torchgeo's {name} does not name the bands of the model", f"it says {', '.join(bands)}"
        )
    at = [bands.index(band) for band in s2.bands]
    index = [(split, i) for split, part in parts.items() for i in range(len(part))]

    def read(rows: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        samples = [parts[index[row][0]][index[row][1]] for row in rows]
        return {s2.prefix: np.stack([np.asarray(sample["image"])[at] * DN for sample in samples])}

    shown = [np.asarray(parts[split][i]["label"]) for split, i in index]
    if shown[0].ndim:
        labels = Labels(name, tuple(map(str, range(len(shown[0])))), np.stack(shown).astype(np.int8), True)
    else:
        labels = from_names(name, [int(label) for label in shown])
    split = np.array([split for split, _ in index])
    images = ImageArrays(read, replace(data, sensors=(s2,)), [f"{s}-{i}" for s, i in index])
    return Labelled(images, labels, official(split == "train", split == "test"))


def _need(path: str, sensors: Sequence[Sensor], has: Mapping[str, tuple[str, ...]]) -> None:
    for sensor in sensors:
        bands = next(names for kind, names in has.items() if kind in sensor.name)
        if lacking := [band for band in sensor.bands if band not in bands]:
            raise InputError(f"{path} has no band {lacking[0]}", f"it has {', '.join(bands)}")


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            "HDF5 files need the package h5py", do="Install it with: pip install h5py"
        ) from error
    return h5py
