"""What the rows of a group show, as one number each: out of the column `kind`, or of descriptors.

The two lowest bits are the season. What is above them – climate, dominant class, codes on further levels – says of
which *kind* a row is: rows are of one kind where their numbers agree but for these bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.catalog.schema import SEASONS
from curate.sampling import kernels, levels
from curate.sampling.arrays import Ints, Small, Words, numbers
from curate.sampling.hashing import hash_strings
from curate.sampling.keys import seasons, unpacked
from curate.sampling.levels import Scheme

Codes = tuple[Ints, ...]  # climate (index into the labels), dominant class, further levels
SEASON = np.uint64(len(SEASONS) - 1)  # the bits of the season


@dataclass(frozen=True, eq=False)
class Look:
    """The described rows of a group."""

    at: Ints | None  # (n,) position of each in the group; None: all rows are described
    spot: Words
    word: Words  # what each shows, in every group alike; above the season never 0
    codes: Callable[[Small], Codes]  # of some of these rows
    climates: tuple[str, ...]


def look(table: pa.Table, scheme: Scheme) -> Look:
    """Look at the rows of *table*, which has the columns of `levels.columns`.

    Raises:
        InputError: a level's column is broken.
    """
    valid = levels.described(table, scheme)
    whole = bool(valid.all())
    some = table if whole else table.filter(pa.array(valid))
    at = None if whole else np.flatnonzero(valid)
    spot = numbers(some["spot"], np.uint64)
    if scheme.climates is None:
        return Look(at, spot, *_described(some, scheme))
    return Look(at, spot, *_packed(some, scheme, dict(scheme.climates)))


def words(table: pa.Table, scheme: Scheme) -> Words:
    """(rows,) What each row of *table* shows; 0 where it is not described."""
    if scheme.climates is not None and not levels.own(scheme):
        return numbers(table["kind"], np.uint64)
    seen = look(table, scheme)
    if seen.at is None:
        return seen.word
    every = np.zeros(table.num_rows, np.uint64)
    every[seen.at] = seen.word
    return every


def _packed(
    table: pa.Table, scheme: Scheme, climates: Mapping[int, str]
) -> tuple[Words, Callable[[Small], Codes], tuple[str, ...]]:
    kind = numbers(table["kind"], np.uint64)
    own = {name: levels.codes(name, table, scheme) for name in levels.own(scheme)}
    rank = np.zeros(256, np.int64)
    rank[list(climates)] = np.arange(len(climates))

    def codes(rows: Small) -> Codes:
        climate, dominant, sets = unpacked(kind[rows], scheme.landcover)
        further = (own[name][rows] if name in own else sets for name in levels.further(scheme))
        return rank[climate], dominant, *further

    return _hashed(kind, list(own.values())), codes, tuple(climates.values())


def _described(table: pa.Table, scheme: Scheme) -> tuple[Words, Callable[[Small], Codes], tuple[str, ...]]:
    climate, climates = levels.climates(table)
    further = [levels.codes(name, table, scheme) for name in levels.further(scheme)]
    columns = [climate, numbers(table["lc_dominant"], np.int64), *further]
    symbol = hash_strings(pa.array(climates, pa.string()), 0)[climate].view(np.int64)
    word = _hashed(seasons(table["season"]), [symbol, *columns[1:]])
    return word, lambda rows: tuple(column[rows] for column in columns), climates


def _hashed(word: Words, columns: list[npt.NDArray[np.int64]]) -> Words:
    """*word* with *columns* hashed into all of it but the season; itself where there is none."""
    if not columns:
        return word
    state = word | SEASON
    for column in columns:
        kernels.fold(state, column)
    return state & ~SEASON | word & SEASON
