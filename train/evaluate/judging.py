"""`train retrieve`, `train probe` and `train compare`: from weights and labelled images to results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.catalog import InputError
from curate.catalog.files import write_text
from train.data import Chips
from train.evaluate.cost import cost_of
from train.evaluate.datasets import open_labelled
from train.evaluate.folds import Fold, folds_of
from train.evaluate.images import open_images
from train.evaluate.kinds import kinds
from train.evaluate.labels import Labels, catalog_labels, label_columns
from train.evaluate.pictures import contact_sheet, rendered
from train.evaluate.results import Results, beside, said_and_saved
from train.evaluate.retrieval import Retrieved
from train.evaluate.retrieving import retrieve_labels
from train.evaluate.running import loaded
from train.evaluate.study import METHODS, Setting, probe_labels
from train.terminal import Say, Shown

SHOWN = 6  # queries of each picture
MAX_IMAGES = 50_000  # of a split; a seeded draw of larger ones, which tells no less


def about(task: str, opened: Sequence[Any], **further: Any) -> dict[str, Any]:
    """What stands above every result: which models, on which data."""
    cards = [card for _, _, card in opened]
    data = opened[0][1]
    for _, other, card in opened[1:]:
        if other.to_json() != data.to_json():
            raise InputError(
                f"Model {card['run']} was trained on other data than {cards[0]['run']}",
                "models that are averaged must differ by their seed alone",
                "Measure them one after the other, and compare the files with: train compare",
            )
    seeds = [card["training"].get("seed") for card in cards]
    names = ", ".join(card["run"] for card in cards)
    return {"task": task, "models": names, "seeds of training": seeds, "cards": cards, **further}


def probe_models(
    weights: Sequence[Path],
    catalog: Path | None = None,
    dataset: str | None = None,
    label_names: Sequence[str] = ("landcover", "koppen", "landcovers"),
    setting: Setting | None = None,
    sensors: Sequence[str] | None = None,
    queries: str = "val+test",
    folds: int = 5,
    out: Path | None = None,
    device: str | None = None,
    say: Say = print,
) -> Results:
    """Probe models, which differ by their seed, on a catalog's labels or on a labelled *dataset*.

    Args:
        queries: splits of the catalog that are judged; the train split is learned from.
        folds: of cross-validation, for data sets without splits.

    Raises:
        InputError: the images do not fit the models, or there is no such label or method.
    """
    setting = setting or Setting()
    for method in setting.methods:
        if method not in METHODS:
            raise InputError(f"There is no probe {method!r}", do=f"Choose among {', '.join(METHODS)}")
    opened = loaded(weights, device)
    models, data = [model for model, _, _ in opened], opened[0][1]
    results = Results(about("probe", opened))
    if (catalog is None) == (dataset is None):
        raise InputError("A probe needs labelled images", do="Give either --catalog or --dataset")
    if catalog is not None:
        images: Any = _joined(catalog, data, ("train", queries), sensors)
        sets = [catalog_labels(name, catalog, images.columns) for name in label_names]
        split = images.columns["split"].astype(str)
        bank, asked = np.flatnonzero(split == "train"), np.flatnonzero(split != "train")
        fixed = [Fold(bank, asked)]
        results.about["sizes"] = {"bank": len(bank), "queries": len(asked)}
    else:
        labelled = open_labelled(str(dataset), data, sensors)
        images, sets, fixed = labelled.images, [labelled.labels], labelled.folds
        results.about["sizes"] = {"images": len(images)}
        results.about["protocol"] = "the data set's own splits" if fixed else f"{folds}-fold cross-validation"
    places = images.columns["place"].astype(str)
    results.about["cost"] = cost_of(models[0], images)
    results.about["simulated"] = data.simulated and catalog is not None
    results.about["places"] = len(np.unique(places))
    if len(models) < 2:
        results.notes.append("one seed of training; give several runs to see their spread")
    found = kinds(models, images, setting.seeds, setting.batch_size)
    for labels in sets:

        def split_of(seed: int, labels: Labels = labels) -> list[Fold]:
            return fixed or folds_of(labels, folds, seed)

        probe_labels(results, models, images, labels, split_of, places, setting, found)
    return said_and_saved(results, out, say)


def retrieve_by(
    weights: Sequence[Path],
    catalog: Path,
    label_names: Sequence[str] = ("landcovers", "landcover"),
    k: int = 10,
    queries: str = "val",
    archive: str = "test",
    sensors: Sequence[str] | None = None,
    engine: str = "exact",
    seeds: int = 2,
    pictures: bool = False,
    out: Path | None = None,
    device: str | None = None,
    say: Say = print,
) -> Results:
    """Retrieve chips of split *archive* by chips of split *queries*, within and across sensors.

    Raises:
        InputError: the catalog does not fit the models, or a split has no labels.
    """
    if k < 1:
        raise InputError(f"--k is {k}", "it must be at least 1")
    opened = loaded(weights, device)
    models, data = [model for model, _, _ in opened], opened[0][1]
    columns = label_columns(catalog)
    asked = open_images(catalog, data, queries, sensors, columns).some(MAX_IMAGES, 0)
    bank = open_images(catalog, data, archive, sensors, columns)
    prefixes = [sensor.prefix for sensor in asked.config.sensors]
    results = Results(about("retrieval", opened, k=k, engine=engine))
    results.about["sizes"] = {"queries": len(asked), "archive": len(bank), "k": min(k, len(bank))}
    results.about["cost"] = cost_of(models[0], asked)
    results.about["simulated"] = data.simulated
    features = kinds(models, asked, seeds), kinds(models, bank, seeds)
    places = asked.columns["place"].astype(str)
    for name in label_names:
        of_bank, of_queries = (catalog_labels(name, catalog, part.columns) for part in (bank, asked))
        shown = retrieve_labels(
            results, features[1], features[0], (of_bank, of_queries), places, prefixes, k, engine
        )
        if pictures and out is not None:
            for (source, target), (hits, scored) in shown.items():
                base = out.parent / f"{out.stem}-{name}-{source}-{target}"
                _draw(base, asked, bank, (source, target), hits, scored, (of_queries, of_bank), say)
    return said_and_saved(results, out, say)


def compare_results(files: Sequence[Path], out: Path | None = None, say: Say = print) -> list[dict[str, Any]]:
    """Say results side by side, with paired differences; write them as JSON to *out*."""
    view, found = beside(files)
    say(Shown(view, found))
    if out is not None:
        write_text(out, json.dumps(found, indent=1, default=str) + "\n")
    return found


def _joined(catalog: Path, data: Any, splits: Sequence[str], sensors: Sequence[str] | None) -> Chips:
    """The chips of all *splits* as one set, the larger side cut down to what tells no less."""
    images = open_images(catalog, data, "+".join(splits), sensors, label_columns(catalog))
    return images.some(2 * MAX_IMAGES, 0)


def _draw(
    base: Path,
    asked: Chips,
    bank: Chips,
    way: tuple[str, str],
    hits: npt.NDArray[np.int64],
    scored: Retrieved,
    labels: tuple[Labels, Labels],
    say: Say,
) -> None:
    """Pictures of the queries with the best and with the worst average precision."""
    known = np.flatnonzero(~np.isnan(scored.average_precision))
    order = known[np.argsort(-scored.average_precision[known], kind="stable")]
    for name, rows in (("best", order[:SHOWN]), ("worst", order[::-1][:SHOWN])):
        found = hits[rows]
        relevant = np.asarray((labels[0].hot[rows][:, None] & labels[1].hot[found]).any(2), bool)
        pictures = rendered(bank, way[1], found.ravel()).reshape(*found.shape, bank.config.chip_px, -1, 3)
        path = base.parent / f"{base.name}-{name}.png"
        contact_sheet(path, rendered(asked, way[0], rows), pictures, relevant)
        say(f"picture  {path}")
