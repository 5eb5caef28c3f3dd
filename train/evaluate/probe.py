"""Are frozen features good for anything? A kNN probe beside random weights and mean-band values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from train.data import Chips
from train.evaluate.embed import ALL, embed
from train.evaluate.knn import Estimate, Floats, Score, knn, score
from train.models import Model

MIN_BANK, MIN_QUERIES = 20, 10  # chips; below these a score says nothing
MAX_BANK, MAX_QUERIES = 50_000, 20_000  # chips; a seeded draw of larger splits, which tells no less
K = 20

Features = Mapping[str, Floats]


@dataclass(frozen=True)
class Result:
    """One kind of features on one label."""

    features: str  # trained, random weights, mean-band values
    sensors: str  # all, or one sensor's prefix
    score: Score


@dataclass(frozen=True)
class Probe:
    """One label: what it was measured on, and how each kind of features did."""

    label: str
    bank: int  # chips with that label in the train split
    queries: int
    places: int  # of the queries; what the interval is drawn over
    queried_split: str
    classes: dict[str, int]  # name -> queries
    majority: float  # accuracy of always naming the bank's commonest class
    results: list[Result] = field(default_factory=list)
    skipped: str = ""  # why there are no results

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Probe:
        results = [
            Result(
                r["features"],
                r["sensors"],
                Score(**{name: Estimate(**estimate) for name, estimate in r["score"].items()}),
            )
            for r in fields["results"]
        ]
        return cls(**{**fields, "results": results})


def labels_of(chips: Chips) -> dict[str, npt.NDArray[Any]]:
    """The catalog's own labels by name, None where a chip has none."""
    symbols = pa.array(chips.columns["koppen_symbol"], pa.string())
    return {
        "dominant land cover": chips.columns["lc_dominant_name"],
        "Köppen main class": pc.utf8_slice_codeunits(symbols, 0, 1).to_numpy(zero_copy_only=False),
    }


def _known(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    known: npt.NDArray[np.bool_] = pa.array(values, pa.string()).is_valid().to_numpy(zero_copy_only=False)
    return known


def probe(model: Model, baseline: Model, bank: Chips, queries: Chips, seed: int = 0) -> list[Probe]:
    """Probe the catalog's labels with features of *model*, of *baseline* (random weights), and of mean bands.

    All three go through the same probe: standardised with the bank's mean and deviation, then `knn`.

    Args:
        bank: the train split, whose labels vote; *queries* are of a split that is spatially disjoint from it.
    """
    bank, queries = bank.some(MAX_BANK, seed).complete(), queries.some(MAX_QUERIES, seed).complete()
    plans = {name: _plan(name, bank, queries, values) for name, values in labels_of(bank).items()}
    if all(plan.skipped for plan in plans.values()):
        return list(plans.values())
    kinds = {
        "trained": (embed(model, bank), embed(model, queries)),
        "random weights": (embed(baseline, bank), embed(baseline, queries)),
        "mean-band values": (_band_means(bank), _band_means(queries)),
    }
    asked = labels_of(queries)
    for name, values in labels_of(bank).items():
        if plans[name].skipped:
            continue
        known, wanted = _known(values), _known(asked[name])
        classes = np.unique(np.concatenate([values[known], asked[name][wanted]]).astype(str))
        votes = np.searchsorted(classes, values[known].astype(str))
        truth = np.searchsorted(classes, asked[name][wanted].astype(str))
        places = queries.columns["place"][wanted].astype(str)
        for kind, (in_bank, in_queries) in kinds.items():
            for sensors in (ALL, *model.sensors):
                inside, outside = standardised(in_bank[sensors][known], in_queries[sensors][wanted])
                predicted = knn(inside, votes, outside, K, device=next(model.parameters()).device)
                plans[name].results.append(Result(kind, sensors, score(truth, predicted, places, seed=seed)))
    return list(plans.values())


def _plan(label: str, bank: Chips, queries: Chips, values: npt.NDArray[Any]) -> Probe:
    """What there is to probe with, and why not where it is too little."""
    asked = labels_of(queries)[label]
    wanted = _known(asked)
    names, counts = np.unique(asked[wanted].astype(str), return_counts=True)
    voting, voters = np.unique(values[_known(values)].astype(str), return_counts=True)
    skipped = ""
    if voters.sum() < MIN_BANK:
        skipped = f"the train split has {voters.sum()} labelled chips, fewer than {MIN_BANK}"
    elif counts.sum() < MIN_QUERIES:
        skipped = f"the {queries.split} split has {counts.sum()} labelled chips, fewer than {MIN_QUERIES}"
    elif len(voting) < 2:
        skipped = f"every chip of the train split is '{voting[0]}'"
    elif len(names) < 2:
        skipped = f"every chip of the {queries.split} split is '{names[0]}'"
    commonest = voting[voters.argmax()] if len(voting) else ""
    return Probe(
        label=label,
        bank=int(voters.sum()),
        queries=int(counts.sum()),
        places=len(np.unique(queries.columns["place"][wanted].astype(str))),
        queried_split=queries.split,
        classes=dict(zip(names.tolist(), counts.tolist(), strict=True)),
        majority=float((asked[wanted] == commonest).mean()) if wanted.any() else 0.0,
        skipped=skipped,
    )


def _band_means(chips: Chips) -> Features:
    means = chips.band_means()
    cuts = np.cumsum([len(sensor.bands) for sensor in chips.config.sensors])[:-1]
    by_sensor = dict(
        zip([s.prefix for s in chips.config.sensors], np.split(means, cuts, axis=1), strict=True)
    )
    return {**by_sensor, ALL: means}


def standardised(bank: Floats, queries: Floats) -> tuple[Floats, Floats]:
    """Both with the bank's mean 0 and deviation 1."""
    mean, std = bank.mean(0), bank.std(0)
    std = np.where(std > 0, std, 1)
    return (bank - mean) / std, (queries - mean) / std
