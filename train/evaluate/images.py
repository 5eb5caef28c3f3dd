"""Sets of images that features are taken of, from catalogs and from folders alike, and what is asked of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from curate.catalog import Catalog, InputError
from train.data import COLUMNS, Chips, DataConfig

CHECKED = 64  # images whose values are compared with the model's statistics
FAR = 10.0  # standard deviations from which on a set's mean cannot be in the model's unit


class Images(Protocol):
    """Images with stored numbers, and a configuration that says what these mean to the model."""

    config: DataConfig

    def __len__(self) -> int: ...

    @property
    def columns(self) -> Mapping[str, npt.NDArray[Any]]: ...

    @property
    def ids(self) -> npt.NDArray[Any]: ...

    def gather(self, chips: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        """Stored numbers by sensor, [B, c, H, W]."""

    def band_means(self) -> npt.NDArray[np.float64]:
        """Mean of each image's bands, sensors side by side, physical units: [n, bands]."""


class Encoder(Protocol):
    """What evaluation asks of a model; every model here does it."""

    config: Any
    sensors: Any

    def encode(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Features [B, D] by sensor of any subset of sensors."""

    def encode_tokens(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Patch tokens [B, N, D] in raster order, by sensor."""


def narrowed(data: DataConfig, sensors: Sequence[str] | None) -> DataConfig:
    """The configuration of some of the model's sensors.

    Raises:
        InputError: the model has no such sensor.
    """
    if sensors is None:
        return data
    own = {sensor.prefix: sensor for sensor in data.sensors}
    for prefix in sensors:
        if prefix not in own:
            raise InputError(
                f"The model has no sensor {prefix!r}",
                f"it was trained on {', '.join(own)}",
                "Choose among these",
            )
    return replace(data, sensors=tuple(own[prefix] for prefix in sensors))


def open_images(
    path: Path,
    data: DataConfig,
    split: str,
    sensors: Sequence[str] | None = None,
    columns: Sequence[str] = (),
) -> Chips:
    """The chips of *split* ("val+test") of a catalog, with all of the sensors, for a model with configuration *data*.

    Args:
        columns: of the catalog, besides those that every reader needs; read where the catalog has them.

    Raises:
        InputError: the catalog does not fit the model, the split is empty, or none of its chips has all sensors.
    """
    catalog = Catalog.open(path, COLUMNS)
    catalog.require_pixels()
    chips = Chips(catalog, narrowed(data, sensors).on(catalog), split)
    if not len(chips):
        raise InputError(
            f"Catalog {path} has no chips in split {split}",
            do="Choose among train, val and test, with + between",
        )
    chips = chips.complete()
    if not len(chips):  # none is left
        wanted = ", ".join(sensor.prefix for sensor in chips.config.sensors)
        raise InputError(
            f"No chip of catalog {path} in split {split} has all of {wanted}",
            do="Name fewer with --sensors",
        )
    if columns:
        more = further_columns(path, columns, chips)
        chips.columns.update(more)
    check_values(chips)
    return chips


def further_columns(path: Path, names: Sequence[str], chips: Chips) -> dict[str, npt.NDArray[Any]]:
    """Columns *names* of the catalog *path* for *chips*, those that it has."""
    import pyarrow.parquet as pq

    there = set(pq.read_schema(path).names)
    table = pq.read_table(path, columns=["chip_id", *[n for n in names if n in there and n != "chip_id"]])
    ids = table["chip_id"].to_numpy(zero_copy_only=False).astype(str)
    order = np.argsort(ids)
    rows = order[np.searchsorted(ids[order], chips.ids.astype(str))]
    part = table.take(rows)
    return {n: part[n].to_numpy(zero_copy_only=False) for n in part.column_names if n != "chip_id"}


def check_values(images: Images) -> None:
    """Refuse images whose numbers cannot be in the unit that the model reads.

    The mean of each band over some images is compared with the mean and deviation of the training set: digital numbers
    in the place of reflectance, or power in the place of decibels, are far away.

    Raises:
        InputError: a band's mean is far off, or nothing is finite.
    """
    means = first_of(images, CHECKED).band_means()
    start = 0
    for sensor in images.config.sensors:
        part = means[:, start : start + len(sensor.bands)]
        start += len(sensor.bands)
        found = np.nanmean(np.where(np.isfinite(part), part, np.nan), 0) if len(part) else part
        if not np.isfinite(found).all():
            raise InputError(f"Images of sensor {sensor.prefix!r} hold no data in some band")
        away = np.abs(found - np.array(sensor.mean)) / np.maximum(sensor.std, 1e-9)
        worst = int(away.argmax())
        power = sensor.unit == "dB" and part.min() >= 0
        if away[worst] > FAR or power:
            raise InputError(
                f"Values of sensor {sensor.prefix!r} are not {sensor.unit}",
                f"band {sensor.bands[worst]} has a mean of {found[worst]:.4g} where the model was trained on "
                f"{sensor.mean[worst]:.4g} ± {sensor.std[worst]:.2g} {sensor.unit}"
                + (", and power is not decibels" if power else ""),
                "Say how stored numbers become physical values with --scale and --offset "
                "(Sentinel-2 DN: --scale 0.0001, with --offset -0.1 from baseline 04.00 on)",
            )


def first_of(images: Any, limit: int) -> Any:
    """At most *limit* of *images*, drawn with a fixed seed."""
    return images.some(limit, 0)


def random_like(model: nn.Module, seed: int) -> Any:
    """A model of the same class and configuration with random weights; the global generator is left alone."""
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = type(model)(model.config)
    return fresh.to(device).eval()
