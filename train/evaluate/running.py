"""What the commands of evaluation do, for the command line and for notebooks alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from curate.catalog import InputError
from train.checkpoint import load_model
from train.data import DataConfig
from train.evaluate.card import model_card
from train.evaluate.embeddings import columns_for, write_embeddings
from train.evaluate.folders import ImageFolder, parse_folders
from train.evaluate.images import Images, narrowed, open_images
from train.execution import choose_device

Say = Callable[[object], None]


def embed_images(
    weights: Path,
    catalog: Path | None = None,
    folders: Sequence[str] = (),
    out: Path | None = None,
    split: str = "train+val+test",
    sensors: Sequence[str] | None = None,
    joined: bool = False,
    bands: str | None = None,
    scale: float = 1.0,
    offset: float = 0.0,
    nodata: float | None = None,
    batch_size: int = 128,
    device: str | None = None,
    say: Say = print,
) -> list[Path]:
    """Write embedding tables of a catalog's *split* or of image *folders* ("s2=FOLDER"); their files.

    Raises:
        InputError: neither or both are given, or the images do not fit the model.
    """
    model, data = load_model(weights, choose_device(device))
    if (catalog is None) == (not folders):
        raise InputError(
            "Features are taken of a catalog or of folders", do="Give either --catalog or --images"
        )
    images: Images
    if catalog is not None:
        prefixes = [sensor.prefix for sensor in narrowed(data, sensors).sensors]
        images = open_images(catalog, data, split, sensors, columns_for(prefixes))
    else:
        images = open_folders(folders, data, bands, scale, offset, nodata)
    card = model_card(model, data, weights)
    folder = out or Path("embeddings") / card["run"]
    written = write_embeddings(model, images, card, folder, batch_size, joined, say)
    for path in written:
        say(f"embeddings {path}")
    return written


def open_folders(
    folders: Sequence[str],
    data: DataConfig,
    bands: str | None,
    scale: float,
    offset: float,
    nodata: float | None,
) -> ImageFolder:
    """The images of "s2=FOLDER" texts."""
    return ImageFolder(parse_folders(folders, data, bands, scale, offset, nodata), data)


def loaded(weights: Sequence[Path], device: str | None) -> list[tuple[Any, DataConfig, dict[str, Any]]]:
    """Models with their data configuration and card."""
    place = choose_device(device)
    found = []
    for path in weights:
        model, data = load_model(path, place)
        found.append((model, data, model_card(model, data, path)))
    return found
