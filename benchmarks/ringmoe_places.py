"""Do features know a place again at another date? Of runs, of random weights and of mean band values.

    python benchmarks/ringmoe_places.py catalogs/global.parquet runs/real-s0 runs/real-s1 runs/real-s2

For catalogs with several dates of a place and few labels, such as that of the sample archive. Every chip of a place
that has another date asks all chips of other dates, of all splits, for the nearest by cosine of standardised features.
Right is the same place: among the others are its neighbours, which have the same land cover and climate and were seen
at the same dates. No label is used, in training or here; training has seen the chips themselves.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from train.checkpoint import load_model
from train.data import Chips, DataConfig, open_catalog
from train.evaluate.embed import ALL, embed
from train.evaluate.knn import Floats
from train.evaluate.probe import standardised
from train.kinds import KINDS


def known_again(features: Floats, place: np.ndarray, date: np.ndarray) -> float:
    """Share of the chips whose nearest of another date, by cosine of standardised features [n, d], is of their place.

    Chips without another date of their place do not ask; they can be found.
    """
    x = standardised(features, features)[0]
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    similarity = np.where(date[:, None] == date[None], -np.inf, x @ x.T)
    same = place[:, None] == place[None]
    asking = (same & (date[:, None] != date[None])).any(1)
    return float(same[np.arange(len(x)), similarity.argmax(1)][asking].mean())


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
    chips = Chips(catalog, data, "train+val+test").complete()
    table = pq.read_table(asked.catalog, columns=["chip_id", "place", "s2_datetime"]).to_pandas()
    table = table.set_index("chip_id").loc[chips.columns["chip_id"]]
    place, date = table["place"].to_numpy(), table["s2_datetime"].dt.floor("D").to_numpy()
    dates = table["s2_datetime"].dt.floor("D").groupby(table["place"]).nunique()
    print(f"{len(chips)} chips, {dates[dates > 1].size} places with {dates[dates > 1].tolist()} dates")

    def show(name: str, features: dict[str, Floats]) -> None:
        cells = [f"{sensor} {known_again(x, place, date):.3f}" for sensor, x in features.items()]
        print(f"{name:32} " + ", ".join(cells), flush=True)

    means, start = chips.band_means(), 0
    by_sensor = {ALL: means}
    for sensor in data.sensors:
        by_sensor[sensor.prefix] = means[:, start : start + len(sensor.bands)]
        start += len(sensor.bands)
    show("mean-band values", by_sensor)
    kind = KINDS["ringmoe"]
    config = kind.fit(kind.preset("tiny").model(data.bands, data.chip_px), Chips(catalog, data, "train"))
    for seed in range(asked.seeds):
        show(f"random weights {seed}", embed(kind.untrained(config, seed), chips))
    for run in asked.runs:
        show(run.name, embed(load_model(run)[0], chips))


if __name__ == "__main__":
    main()
