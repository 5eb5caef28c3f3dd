"""Labelled images of public data sets, from the folders that a user has of them.

    eurosat:FOLDER        EuroSAT, 13 bands: FOLDER/CLASS/CLASS_1.tif, or FOLDER/CLASS_1.tif (Helber et al. 2019)
    bigearthnet:FOLDER    BigEarthNet v2 (metadata.parquet, BigEarthNet-S2/, BigEarthNet-S1/) or v1 (a folder a patch
                          with NAME_labels_metadata.json); multi-label
    so2sat:FILE.h5        So2Sat LCZ42: sen2, sen1 and label of one split
    geobench:FOLDER       a classification task of GEO-Bench: default_partition.json, ID.hdf5, and label_map.json or
                          label_stats.json
    torchgeo:NAME:FOLDER  a data set of torchgeo, where that is installed; its band names are needed
    folder:FOLDER         images and labels.csv (first column the file, then `label`, or `labels` with bars between)

Sensors that a model reads and a data set lacks are left out. How numbers become reflectance or decibels is part of each
data set's definition here, and `check_values` refuses what does not come out as the model's unit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from curate.catalog import InputError
from train.data import DataConfig
from train.evaluate.arrays import geobench, so2sat, torchgeo
from train.evaluate.folders import ImageFolder, Stored
from train.evaluate.images import narrowed
from train.evaluate.labelled import DN, Labelled, official, sensor_of
from train.evaluate.labels import from_names, from_sets, read_label_file

EUROSAT_BANDS = (
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A",
)  # fmt: skip


def open_labelled(text: str, data: DataConfig, sensors: Sequence[str] | None = None) -> Labelled:
    """The data set of "NAME:PATH" for a model with configuration *data*.

    Raises:
        InputError: there is no such data set, or it does not fit the model.
    """
    name, colon, path = text.partition(":")
    if name not in READERS or not colon:
        raise InputError(
            f"There is no data set {text!r}", do=f"Write NAME:PATH with one of {', '.join(READERS)}"
        )
    return READERS[name](path, narrowed(data, sensors))


def _eurosat(path: str, data: DataConfig) -> Labelled:
    folder = Path(path)
    found = sorted(folder.glob("*.tif")) or sorted(folder.glob("*/*.tif"))
    if not found:
        raise InputError(f"Folder {folder} holds no images of EuroSAT", "no *.tif and no CLASS/*.tif")
    paths = {p.stem: p for p in found}
    s2 = sensor_of(data, "sentinel-2")
    images = ImageFolder({s2.prefix: Stored(folder, EUROSAT_BANDS, DN, 0.0, 0.0, paths)}, data)
    return Labelled(images, from_names("EuroSAT", [str(n).rsplit("_", 1)[0] for n in images.ids]), [])


def _bigearthnet(path: str, data: DataConfig) -> Labelled:
    folder = Path(path)
    if (folder / "metadata.parquet").exists():
        return _bigearthnet_v2(folder, data)
    notes = sorted(folder.glob("*/*_labels_metadata.json"))
    if not notes:
        raise InputError(
            f"Folder {folder} is no BigEarthNet",
            "it has neither metadata.parquet nor */*_labels_metadata.json",
        )
    read = [json.loads(note.read_text(encoding="utf-8")) for note in notes]
    s2 = sensor_of(data, "sentinel-2")
    stored = {
        s2.prefix: Stored(folder, None, DN, 0.0, None, {note.parent.name: note.parent for note in notes})
    }
    images = ImageFolder(stored, data, [note.parent.name for note in notes])
    return Labelled(images, from_sets("BigEarthNet", [fields["labels"] for fields in read]), [])


def _bigearthnet_v2(folder: Path, data: DataConfig) -> Labelled:
    """Patches in BigEarthNet-S2/SCENE/PATCH/PATCH_BAND.tif; the official splits."""
    import pyarrow.parquet as pq

    rows = pq.read_table(folder / "metadata.parquet").to_pylist()
    stored, present = {}, None
    for kind, top, column in (
        ("sentinel-2", "BigEarthNet-S2", "patch_id"),
        ("sentinel-1", "BigEarthNet-S1", "s1_name"),
    ):
        sensor = next((s for s in data.sensors if kind in s.name), None)
        if sensor is None or not (folder / top).is_dir():
            continue
        where = {r["patch_id"]: folder / top / r[column].rsplit("_", 2 if top[-1] == "2" else 3)[0] / r[column]
                 for r in rows}  # fmt: skip
        scale = DN if kind == "sentinel-2" else 1.0
        stored[sensor.prefix] = Stored(folder / top, None, scale, 0.0, None, where)
        here = {name for name, place in where.items() if place.is_dir()}
        present = here if present is None else present & here
    kept = [r for r in rows if r["patch_id"] in (present or ())]
    if not kept:
        raise InputError(f"Folder {folder} holds no patches that its metadata names")
    images = ImageFolder(stored, data, [r["patch_id"] for r in kept])
    images.columns["place"] = np.array([r["patch_id"].rsplit("_", 2)[0] for r in kept], object)
    labels = from_sets("BigEarthNet v2", [r["labels"] for r in kept])
    split = np.array([{"validation": "val"}.get(r["split"], r["split"]) for r in kept])
    return Labelled(images, labels, official(split == "train", split == "test"))


def _folder(path: str, data: DataConfig) -> Labelled:
    folder = Path(path)
    shown = read_label_file(folder / "labels.csv")
    stored = {s.prefix: _described(folder / s.prefix) for s in data.sensors if (folder / s.prefix).is_dir()}
    stored = stored or {data.sensors[0].prefix: _described(folder)}
    images = ImageFolder(stored, data, sorted(shown))
    values = [shown[str(name)] for name in images.ids]
    several = max(map(len, values)) > 1
    labels = from_sets(folder.name, values) if several else from_names(folder.name, [v[0] for v in values])
    return Labelled(images, labels, [])


def _described(folder: Path) -> Stored:
    """How a folder stores its images, as its sensor.json says: bands, scale, offset, nodata."""
    note = folder / "sensor.json"
    fields = json.loads(note.read_text(encoding="utf-8")) if note.exists() else {}
    if fields.get("bands"):
        fields["bands"] = tuple(fields["bands"])
    try:
        return Stored(folder, **fields)
    except TypeError as error:
        raise InputError(
            f"{note} says what nobody asks", str(error), "Keys: bands, scale, offset, nodata"
        ) from error


READERS: Mapping[str, Callable[[str, DataConfig], Labelled]] = {
    "eurosat": _eurosat,
    "bigearthnet": _bigearthnet,
    "so2sat": so2sat,
    "geobench": geobench,
    "torchgeo": torchgeo,
    "folder": _folder,
}
