"""How diverse a tenth of a synthetic pool is, by the default, by chance, by equal shares and by k-means.

    python benchmarks/synthetic_pool.py POOL --rows 10M
    python benchmarks/sampling_diversity.py POOL --budget 1M

The last line is the default with a minimum distance, which keeps chips from touching each other. About 5 GB and
five minutes of one core for 10M rows.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from bigearthnet import CHIP_M
from synthetic_pool import CLASSES, number_of

from curate.catalog.schema import landcover_column
from curate.console import show_ways
from curate.recipe import Sampling
from curate.sampling.comparison import Comparison, side_by_side
from curate.sampling.measures import reach_km
from curate.sampling.source import Pool
from curate.sampling.ways import ways

WAYS = ("diverse", "balanced", "equal", "random", "kmeans")
TOUCHING_KM = 1.75  # chips of 1.2 km on a grid touch up to the diagonal, 1.70 km
COLUMNS = ("chip_id", "place", "lon", "lat", "season", "koppen", "koppen_symbol", "lc_dominant")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--budget", type=number_of, default=1_000_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--json", type=Path, help="file to store the results in")
    options = parser.parse_args()
    fractions = [landcover_column(code) for code in CLASSES]
    keys = ("chip_key", "place_key", "spot")
    pool = Pool.of_files(sorted(options.pool.glob("*.parquet"))).read([*COLUMNS, *fractions, *keys])
    results = []
    for names, least_km in ((options.ways.split(","), 0.0), (["diverse"], TOUCHING_KM)):
        sampling = Sampling(min_distance_km=least_km)
        chosen = ways(names, sampling)
        found: Comparison = side_by_side(
            pool, sampling, chosen, options.budget, options.seeds, reach_km(CHIP_M), full=True
        )
        results.append(
            {"region": options.pool.name, "simulated": True, "pool_rows": pool.num_rows} | found.to_json()
        )
        show_ways(results[-1])
        if options.json:
            options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
