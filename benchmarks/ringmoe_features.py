"""How many directions features have, and what kNN finds in them: of runs, of random weights and of mean band values.

    python benchmarks/ringmoe_features.py catalogs/eu.parquet runs/a-s0 runs/a-s1 ...

A bank of at most 600 training chips votes on validation and test chips, as in `ringmoe_ablation.py`. *Effective
dimensions* are exp(entropy) of the shares of variance along the principal axes of the standardised features: of 256
equal ones 256, of one repeated 256 times 1. *Whitened* features have unit variance along each of the first 32 axes.
The same shares of the bands themselves, over the pixels of 256 chips, are printed first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from train.checkpoint import load_model
from train.data import Chips, DataConfig, open_catalog
from train.evaluate.embed import ALL, embed
from train.evaluate.knn import Floats, knn
from train.evaluate.probe import labels_of, standardised
from train.kinds import KINDS

MOST, AXES, PIXELS_OF = 600, 32, 256


def effective_dimensions(features: Floats) -> float:
    """exp(entropy) of the shares of variance along the principal axes of standardised features [n, d]."""
    spectrum = np.linalg.svd(standardised(features, features)[0], compute_uv=False) ** 2
    share = spectrum / spectrum.sum()
    return float(np.exp(-(share * np.log(share + 1e-12)).sum()))


def whitened(bank: Floats, queries: Floats) -> tuple[Floats, Floats]:
    """Both along the first principal axes of the standardised bank, each of unit variance there."""
    bank, queries = standardised(bank, queries)
    _, spread, axes = np.linalg.svd(bank, full_matrices=False)
    turn = axes[:AXES].T / (spread[:AXES] / np.sqrt(len(bank)))
    return bank @ turn, queries @ turn


def band_shares(chips: Chips) -> dict[str, Floats]:
    """Shares of the variance of normalised pixels along the principal axes of the bands, largest first, by sensor."""
    stored = chips.gather(np.arange(len(chips)))
    images = chips.config.images({sensor: torch.from_numpy(values) for sensor, values in stored.items()})
    found = {}
    for sensor, x in images.items():
        variance = torch.linalg.eigvalsh(torch.cov(x.movedim(1, 0).flatten(1))).flip(0)
        found[sensor] = (variance / variance.sum()).numpy()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("catalog", type=Path)
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--seeds", type=int, default=3, help="of random weights")
    asked = parser.parse_args()
    catalog = open_catalog(asked.catalog)
    data = DataConfig.of(catalog)
    bank, queries = Chips(catalog, data, "train").some(MOST, 0), Chips(catalog, data, "val+test")

    def show(name: str, features: tuple[dict[str, Floats], dict[str, Floats]]) -> None:
        cells = []
        votes_of, truth_of = labels_of(bank), labels_of(queries)
        for sensor in features[0]:
            inside, outside = features[0][sensor], features[1][sensor]
            cells.append(f"{sensor}: {effective_dimensions(inside):.1f} dimensions")
            for label, votes in votes_of.items():
                known, wanted = (
                    np.array([v is not None for v in values]) for values in (votes, truth_of[label])
                )
                classes, numbers = np.unique(votes[known].astype(str), return_inverse=True)
                truth = truth_of[label][wanted].astype(str)
                for how in (standardised, whitened):
                    near, asking = how(inside[known], outside[wanted])
                    right = classes[knn(near, numbers, asking)] == truth
                    cells.append(f"{label} {how.__name__} {right.mean():.3f}")
        print(f"{name:32} " + ", ".join(cells), flush=True)

    for sensor, shares in band_shares(bank.some(PIXELS_OF, 0)).items():
        print(f"{sensor}: shares of the bands' variance along their principal axes {shares.round(3)}")
    show("mean-band values", ({ALL: bank.band_means()}, {ALL: queries.band_means()}))
    kind = KINDS["ringmoe"]
    config = kind.fit(kind.preset("tiny").model(data.bands, data.chip_px), bank)
    models = [(f"random weights {seed}", kind.untrained(config, seed)) for seed in range(asked.seeds)]
    for name, model in [*models, *((run.name, load_model(run)[0]) for run in asked.runs)]:
        show(name, (embed(model, bank), embed(model, queries)))


if __name__ == "__main__":
    main()
