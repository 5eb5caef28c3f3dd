"""Ways to draw from 590,326 real Sentinel-1/2 pairs, side by side: the table of docs/measures.md.

    python benchmarks/bigearthnet.py ../shared/data/tables/bigearthnet_pairs_590k.parquet

The pairs are those of BigEarthNet v1 (Sumbul et al. 2019, 2021), 1.2 km each, with the climate of Beck et al. 2023
at 0.1° and the land cover of GLCNMO at ⅓° looked up at their centres. One code a chip is all there is of land cover,
so its fractions are one-hot, and there are as few distinct descriptors as there are pairs of climate and cover.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.catalog.schema import SEASONS, landcover_column
from curate.console import progress, show_ways
from curate.legends import KOPPEN_SYMBOLS
from curate.recipe import Budget, Sampling
from curate.sampling.comparison import side_by_side
from curate.sampling.measures import reach_km
from curate.sampling.ways import WAYS, ways

CHIP_M = 1200.0


def pool_of(pairs: pa.Table) -> pa.Table:
    """The columns of a pool that the sampler reads, from the table of pairs; a code for the sea or none is null.

    A place is the patch's corner in its UTM zone, so that dates of a place share it. All places lie north of the
    equator.
    """
    climate = np.asarray(pairs["koppen_beck2023_0p1"].to_numpy()).astype(np.int64)
    cover = np.asarray(pairs["glcnmo_cover_third_deg"].to_numpy()).astype(np.int64)
    month = pc.month(pairs["s2_date"]).to_numpy()
    corner = [pairs[name].cast(pa.string()) for name in ("epsg", "utm_ulx", "utm_uly")]
    symbols = pa.array(["", *KOPPEN_SYMBOLS]).take(pa.array(climate))
    columns: dict[str, Any] = {
        "chip_id": pairs["s2_name"].cast(pa.string()),
        "place": pc.binary_join_element_wise(*corner, "_"),
        "lon": pairs["lon"].cast(pa.float64()),
        "lat": pairs["lat"].cast(pa.float64()),
        "season": pa.array(SEASONS).take(pa.array(month % 12 // 3)),
        "koppen": pa.array(climate.astype(np.int8), mask=climate == 0),
        "koppen_symbol": pc.if_else(pa.array(climate > 0), symbols, None),
        "lc_dominant": pa.array(cover.astype(np.int16), mask=cover < 0),
    }
    for code in np.unique(cover[cover >= 0]).tolist():
        columns[landcover_column(code)] = pa.array((cover == code).astype(np.float32))
    return pa.table(columns)


def compared(
    pool: pa.Table, budget: str, names: Sequence[str] = WAYS, seeds: int = 3, *, full: bool = True
) -> dict[str, Any]:
    """The ways *names* at *budget*, as `curate compare` would print and store them."""
    sampling = Sampling(budget=budget)
    chosen = ways(names, sampling)
    with progress("compare", len(chosen) * seeds) as done:
        found = side_by_side(
            pool,
            sampling,
            chosen,
            Budget(budget).of(pool.num_rows),
            seeds,
            reach_km(CHIP_M),
            full=full,
            done=done,
        )
    return {"region": "bigearthnet", "simulated": False, "pool_rows": pool.num_rows, **found.to_json()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pairs", type=Path, help="bigearthnet_pairs_590k.parquet")
    parser.add_argument("--budgets", nargs="+", default=["59000", "5900"])
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file to store the results in")
    options = parser.parse_args()
    pool = pool_of(pq.read_table(options.pairs))
    results = [compared(pool, budget, options.ways.split(","), options.seeds) for budget in options.budgets]
    for result in results:
        show_ways(result)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
