"""Retrieval by every kind of features, within and across sensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from curate.catalog import InputError
from train.evaluate.kinds import Features
from train.evaluate.labels import Labels
from train.evaluate.results import TRAINED, Results
from train.evaluate.retrieval import Retrieved, chance, nearest, score


def retrieve_labels(
    results: Results,
    archive: Mapping[str, Sequence[Features]],
    queries: Mapping[str, Sequence[Features]],
    labels: tuple[Labels, Labels],
    places: npt.NDArray[np.str_],
    sensors: Sequence[str],
    k: int = 10,
    engine: str = "exact",
) -> dict[tuple[str, str], tuple[npt.NDArray[np.int64], Retrieved]]:
    """Retrieve within and across *sensors* by every kind of features; rows go into *results*.

    Args:
        archive, queries: features by kind, as `kinds` gives them.
        labels: of the archive and of the queries; *places* are the queries'.

    Returns:
        Hits and scores of each (query's sensor, archive's sensor) by the first trained model.
    """
    bank, asked = labels
    if not len(bank.hot) or not len(asked.hot) or not asked.known.any() or not bank.known.any():
        raise InputError(f"There is nothing to retrieve by {asked.name}", "no image has a label on one side")
    shown = {}
    for source in sensors:
        for target in sensors:
            way = f"{source} -> {target}"
            for kind, several in queries.items():
                pairs = [
                    (q[source], a[target])
                    for q, a in zip(several, archive[kind], strict=True)
                    if q[source].shape[1] == a[target].shape[1]
                ]
                if not pairs:
                    continue  # mean bands of two sensors have nothing in common
                found = [nearest(a, q, k, engine) for q, a in pairs]
                scored = [score(hits, asked.hot, bank.hot) for hits in found]
                _add_retrieved(results, asked.name, f"{engine}, top {k}", way, kind, scored, places)
                if kind == TRAINED:
                    shown[source, target] = found[0], scored[0]
    blind = [score(chance(asked.hot, bank.hot, k, seed), asked.hot, bank.hot) for seed in range(2)]
    _add_retrieved(results, asked.name, "none", "-", "chance", blind, places)
    return shown


def _add_retrieved(
    results: Results,
    label: str,
    method: str,
    way: str,
    kind: str,
    scored: Sequence[Retrieved],
    places: npt.NDArray[np.str_],
) -> None:
    each = [one.evidence(places) for one in scored]
    for metric in each[0]:
        results.add("retrieve", label, method, way, kind, metric, [one[metric] for one in each])
