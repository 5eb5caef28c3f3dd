"""Labels of images: one class each, or any number of them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.catalog import InputError, read_meta

PRESENT = 0.05  # share of a chip from which on a land cover counts as present
KOPPEN, DOMINANT, COVERS = "koppen", "landcover", "landcovers"
CATALOG_LABELS = (DOMINANT, KOPPEN, COVERS)


@dataclass(frozen=True)
class Labels:
    """Which classes each image shows, as 0 and 1 [n, classes]; rows of zeros are unlabelled where not *several*."""

    name: str
    classes: tuple[str, ...]
    hot: npt.NDArray[np.int8]
    several: bool  # any number of classes an image

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Images that have a label."""
        return np.asarray(self.hot.any(1))

    @property
    def single(self) -> npt.NDArray[np.int64]:
        """The class of each image, for labels of one class each."""
        return np.asarray(self.hot.argmax(1), np.int64)

    def take(self, rows: npt.NDArray[Any]) -> Labels:
        return Labels(self.name, self.classes, self.hot[rows], self.several)


def from_names(name: str, values: Iterable[Any], classes: Sequence[str] | None = None) -> Labels:
    """Labels of one class each from its name, None where there is none."""
    text = np.array([str(v) if v is not None and v == v else "" for v in values])
    names = tuple(classes) if classes is not None else tuple(np.unique(text[text != ""]).tolist())
    hot = (
        (text[:, None] == np.array(names, str)[None]).astype(np.int8)
        if names
        else np.zeros((len(text), 0), np.int8)
    )
    return Labels(name, names, hot, False)


def from_sets(name: str, values: Sequence[Sequence[str]], classes: Sequence[str] | None = None) -> Labels:
    """Labels of any number of classes each."""
    names = (
        tuple(classes) if classes is not None else tuple(sorted({label for each in values for label in each}))
    )
    hot = np.array([[c in set(each) for c in names] for each in values], np.int8).reshape(
        len(values), len(names)
    )
    return Labels(name, names, hot, True)


def label_columns(catalog: Path) -> list[str]:
    """Columns that `catalog_labels` reads."""
    return ["lc_dominant_name", "koppen_symbol", *(f"lc_{code}" for code in read_meta(catalog).landcover)]


def catalog_labels(name: str, catalog: Path, columns: Mapping[str, npt.NDArray[Any]]) -> Labels:
    """The catalog's own descriptors as labels: dominant land cover, Köppen main class, or all land covers present.

    Raises:
        InputError: there is no such label.
    """
    meta = read_meta(catalog)
    if name == DOMINANT:
        return from_names(
            "dominant land cover", columns["lc_dominant_name"], sorted(set(meta.landcover.values()))
        )
    if name == KOPPEN:
        symbols = [None if s is None else str(s)[:1] for s in columns["koppen_symbol"]]
        return from_names("Köppen main class", symbols, list("ABCDE"))
    if name == COVERS:
        shares = np.stack([columns[f"lc_{code}"] for code in meta.landcover], 1).astype(float)
        return Labels(
            "land covers present", tuple(meta.landcover.values()), (shares >= PRESENT).astype(np.int8), True
        )
    raise InputError(f"There is no label {name!r}", do=f"Choose among {', '.join(CATALOG_LABELS)}")


def read_label_file(path: Path) -> dict[str, list[str]]:
    """Names of images and their labels from a CSV: first column the image, `labels` or `class_name` the labels.

    Several labels are separated by a bar.

    Raises:
        InputError: no such file, or no such column.
    """
    if not path.is_file():
        raise InputError(f"There is no file of labels {path}")
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        names = reader.fieldnames or []
        column = next((n for n in ("labels", "label", "class_name", "class") if n in names), None)
        if column is None or len(names) < 2:
            raise InputError(
                f"File of labels {path} has columns {', '.join(names)}",
                "one must be named labels, label, class_name or class",
            )
        rows = [(Path(row[names[0]]).stem, row[column].split("|")) for row in reader]
    return dict(rows)
