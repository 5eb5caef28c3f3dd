"""What a pool is made of: land covers by climates, seasons, and the ranges of all that is measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.catalog.schema import SEASONS
from curate.sampling.source import Pool

CLIMATES = ("A", "B", "C", "D", "E")  # Köppen's main classes: tropical, arid, temperate, cold, polar
NONE = "none"  # where the map says nothing
_COUNTED = ("place", "cell", "lc_dominant_name", "koppen_symbol", "koppen_nearest", "season", "lc_unmapped")
_MEASURED = ("lc_entropy", "lc_unmapped", "koppen_purity")  # of every pool, where it has them


@dataclass(frozen=True)
class Range:
    """The values of a column."""

    unit: str
    known: int  # chips with a value
    least: float | None  # None where no chip has one
    mean: float | None
    most: float | None


@dataclass(frozen=True)
class MakeUp:
    """A pool in numbers."""

    region: str
    simulated: bool
    chips: int
    places: int
    cells: int
    landcovers: tuple[str, ...]  # dominant class, most frequent first; `NONE` last
    climates: tuple[str, ...]  # main classes, and `NONE`
    matrix: tuple[tuple[int, ...], ...]  # chips by land cover and climate
    koppen: dict[str, int]  # chips by Köppen-Geiger class, most frequent first
    nearest: int  # chips whose climate is that of the nearest pixel
    seasons: dict[str, int]
    unmapped: float  # mean share of a chip that the land-cover map says nothing about
    ranges: dict[str, Range]  # by column
    vectors: dict[str, int]  # chips with a vector, by column of lists

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def make_up(pool: Pool, metadata: dict[str, Any], region: str) -> MakeUp:
    """The make-up of a pool of which only the columns that are needed are read.

    Args:
        metadata: of the pool's files: its further descriptors and whether it is simulated.
    """
    further = {column["name"]: column for column in metadata.get("further", [])}
    names = [name for name in (*_MEASURED, *further) if name in pool.schema.names]
    table = pool.read(list(dict.fromkeys([*_COUNTED, *names])))
    cover, symbol = (
        pc.fill_null(table[name].cast(pa.string()), NONE) for name in ("lc_dominant_name", "koppen_symbol")
    )
    season = _counted(table["season"].cast(pa.string()))
    main = pc.if_else(pc.equal(symbol, NONE), NONE, pc.utf8_slice_codeunits(symbol, 0, 1))
    covers = [*(name for name in _counted(cover) if name != NONE)]
    covers += [NONE] if pc.any(pc.equal(cover, NONE)).as_py() else []
    climates = (*CLIMATES, NONE)
    place = _position(cover, covers) * len(climates) + _position(main, list(climates))
    counts = np.bincount(place, minlength=len(covers) * len(climates)).reshape(-1, len(climates))
    columns = {name: table[name] for name in names}
    lists = {name for name in names if pa.types.is_fixed_size_list(columns[name].type)}
    return MakeUp(
        region=region,
        simulated=bool(metadata.get("simulated", False)),
        chips=table.num_rows,
        places=pc.count_distinct(table["place"].cast(pa.string())).as_py(),
        cells=pc.count_distinct(table["cell"].cast(pa.string())).as_py(),
        landcovers=tuple(covers),
        climates=climates,
        matrix=tuple(tuple(int(n) for n in row) for row in counts),
        koppen=_counted(symbol),
        nearest=pc.sum(table["koppen_nearest"]).as_py() or 0,
        seasons={name: season.get(name, 0) for name in SEASONS},
        unmapped=float(pc.mean(table["lc_unmapped"]).as_py() or 0.0),
        ranges={
            name: _range(column, further.get(name, {}).get("unit", ""))
            for name, column in columns.items()
            if name not in lists
        },
        vectors={name: len(columns[name]) - columns[name].null_count for name in lists},
    )


def _counted(column: pa.ChunkedArray) -> dict[str, int]:
    """How often each text occurs, most frequent first, ties by name."""
    counts = {item["values"]: item["counts"] for item in pc.value_counts(column).to_pylist()}
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _position(column: pa.ChunkedArray, names: list[str]) -> Any:
    return pc.index_in(column, pa.array(names, pa.string())).to_numpy()


def _range(column: pa.ChunkedArray, unit: str) -> Range:
    known = len(column) - column.null_count
    if not known:
        return Range(unit, 0, None, None, None)
    ends = pc.min_max(column).as_py()
    mean = float(np.mean(column.drop_null().to_numpy(), dtype=np.float64))
    return Range(unit, known, float(ends["min"]), mean, float(ends["max"]))
