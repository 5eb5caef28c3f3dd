"""Judging models by probes, with baselines, seeds and intervals beside every number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from train.evaluate.embed import ALL
from train.evaluate.evidence import Evidence
from train.evaluate.finetune import Tuning, finetune
from train.evaluate.folds import Fold
from train.evaluate.images import Images, random_like
from train.evaluate.kinds import Features, kinds
from train.evaluate.knn import neighbour_votes
from train.evaluate.labels import Labels
from train.evaluate.linear import choose_strength, fit
from train.evaluate.probe import standardised
from train.evaluate.results import RANDOM, TRAINED, Results

Floats = npt.NDArray[np.floating]
METHODS = ("knn", "linear", "finetune")
K = 20
LEAST = 4  # images with a label, on either side, below which nothing is measured


@dataclass(frozen=True)
class Setting:
    """What is measured, apart from the data."""

    methods: tuple[str, ...] = ("knn", "linear")
    seeds: int = 2
    k: int = K
    tuning: Tuning = field(default_factory=Tuning)
    batch_size: int = 128


def sensor_sets(images: Images) -> list[str]:
    """`all` and each sensor alone; the one sensor where there is one."""
    names = [sensor.prefix for sensor in images.config.sensors]
    return names if len(names) == 1 else [ALL, *names]


def probe_labels(
    results: Results,
    models: Sequence[Any],
    images: Images,
    labels: Labels,
    folds: Callable[[int], list[Fold]],
    places: npt.NDArray[np.str_],
    setting: Setting,
    features: Mapping[str, Sequence[Features]] | None = None,
) -> None:
    """Probe one label with every method, kind of features and set of sensors; rows go into *results*.

    Args:
        folds: of a seed; several seeds may draw other folds.
        features: those of `kinds`, where they are known already.
    """
    reason = _too_little(labels, folds(0))
    if reason:
        results.notes.append(f"{labels.name} not probed: {reason}")
        return
    found = features or kinds(models, images, setting.seeds, setting.batch_size)
    for method in setting.methods:
        if method == "finetune":
            _finetuned(results, models, images, labels, folds, places, setting)
            continue
        for kind, several in found.items():
            for sensors in sensor_sets(images):
                runs = [
                    (values[sensors], seed)
                    for seed in range(setting.seeds)
                    for values in [several[seed % len(several)]]
                ]
                predicted = [
                    _predicted(method, values, labels, folds(seed), places, setting, seed)
                    for values, seed in _distinct(runs, len(several), folds)
                ]
                _add(results, labels, method, sensors, kind, predicted, places)
    _always_commonest(results, labels, folds, places, setting)


def _distinct(
    runs: list[tuple[Floats, int]], features: int, folds: Callable[[int], list[Fold]]
) -> list[tuple[Floats, int]]:
    """Runs that differ: one where neither the features nor the folds depend on the seed."""
    same = all(
        np.array_equal(a.queries, b.queries) for a, b in zip(folds(0), folds(1), strict=False)
    ) and len(folds(0)) == len(folds(1))
    return runs[:features] if same else runs


def _too_little(labels: Labels, folds: Sequence[Fold]) -> str:
    for side in ("bank", "queries"):
        rows = np.concatenate([getattr(fold, side) for fold in folds])
        here = labels.take(rows)
        if here.known.sum() < LEAST:
            return f"only {here.known.sum()} labelled images among the {side}"
        if not labels.several and len(np.unique(here.single[here.known])) < 2:
            return f"every image among the {side} is {labels.classes[here.single[here.known][0]]}"
    return ""


def _predicted(
    method: str,
    values: Floats,
    labels: Labels,
    folds: Sequence[Fold],
    places: npt.NDArray[np.str_],
    setting: Setting,
    seed: int,
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Queries and their probabilities [q, classes], over all folds."""
    rows, scores = [], []
    for fold in folds:
        bank, queries = (part[labels.known[part] | labels.several] for part in (fold.bank, fold.queries))
        hot = labels.hot[bank]
        if method == "knn":
            inside, outside = standardised(values[bank], values[queries])
            scores.append(neighbour_votes(inside, hot, outside, setting.k))
        else:
            strength = choose_strength(values[bank], hot, labels.several, places[bank], seed)
            scores.append(fit(values[bank], hot, labels.several, strength).scores(values[queries]))
        rows.append(queries)
    return np.concatenate(rows), np.concatenate(scores)


def _finetuned(
    results: Results,
    models: Sequence[Any],
    images: Any,
    labels: Labels,
    folds: Callable[[int], list[Fold]],
    places: npt.NDArray[np.str_],
    setting: Setting,
) -> None:
    for kind in (TRAINED, RANDOM):
        predicted = []
        for seed in range(setting.seeds):
            model = models[seed % len(models)] if kind == TRAINED else random_like(models[0], seed)
            rows, scores = [], []
            for fold in folds(seed):
                bank, queries = (p[labels.known[p] | labels.several] for p in (fold.bank, fold.queries))
                part, asked = images.take(bank), images.take(queries)
                tuning = replace(setting.tuning, seed=seed)
                scores.append(finetune(model, part, labels.hot[bank], asked, labels.several, tuning))
                rows.append(queries)
            predicted.append((np.concatenate(rows), np.concatenate(scores)))
        _add(results, labels, "finetune", sensor_sets(images)[0], kind, predicted, places)


def _always_commonest(
    results: Results,
    labels: Labels,
    folds: Callable[[int], list[Fold]],
    places: npt.NDArray[np.str_],
    setting: Setting,
) -> None:
    """What needs no features: the shares of the classes in the bank."""
    rows, scores = [], []
    for fold in folds(0):
        queries = fold.queries[labels.known[fold.queries] | labels.several]
        rows.append(queries)
        scores.append(np.tile(labels.hot[fold.bank].mean(0), (len(queries), 1)))
    predicted = (np.concatenate(rows), np.concatenate(scores))
    _add(results, labels, "no image", "-", "shares of classes", [predicted], places)


def _add(
    results: Results,
    labels: Labels,
    method: str,
    sensors: str,
    kind: str,
    predicted: Sequence[tuple[npt.NDArray[np.int64], Floats]],
    places: npt.NDArray[np.str_],
) -> None:
    for metric, evidence in _metrics(labels, predicted, places).items():
        results.add("probe", labels.name, method, sensors, kind, metric, evidence)


def _metrics(
    labels: Labels,
    predicted: Sequence[tuple[npt.NDArray[np.int64], Floats]],
    places: npt.NDArray[np.str_],
) -> Mapping[str, list[Evidence]]:
    found: dict[str, list[Evidence]] = {}
    for rows, scores in predicted:
        truth, where = labels.hot[rows], places[rows]
        if labels.several:
            claimed = (scores >= 0.5).astype(np.int8)
            each = {
                "micro F1": Evidence.labels("micro F1", truth, claimed, where),
                "macro F1": Evidence.labels("label F1", truth, claimed, where),
                "mAP": Evidence("average precision", where, (scores.astype(float), truth.astype(float))),
            }
        else:
            actual, named, classes = labels.single[rows], scores.argmax(1), len(labels.classes)
            each = {
                "accuracy": Evidence.classes("accuracy", actual, named, where, classes),
                "macro F1": Evidence.classes("macro F1", actual, named, where, classes),
            }
        for metric, evidence in each.items():
            found.setdefault(metric, []).append(evidence)
    return found
