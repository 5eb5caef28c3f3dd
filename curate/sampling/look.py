"""What the first pass sees of a group of rows: where each described row lies, and what it shows as one number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.sampling import kernels, levels
from curate.sampling.arrays import Ints, Words, encode, numbers
from curate.sampling.hashing import hash_strings
from curate.sampling.levels import Scheme
from curate.sampling.source import Group


@dataclass(frozen=True, eq=False)
class Look:
    """The described rows of one group."""

    rows: int  # of the group, described or not
    at: Ints | None  # (n,) position in the group of each described row; None: all are
    spot: Words
    word: Words  # hash of all codes: rows that show the same have the same
    codes: tuple[Ints, ...]  # climate (index into `climates`), dominant class, further levels
    season: npt.NDArray[np.uint8]  # index into `seasons`
    climates: tuple[str, ...]
    seasons: tuple[str, ...]


def look(group: Group, scheme: Scheme) -> Look:
    """Look at *group*.

    Raises:
        InputError: a file is broken, or a level's column is.
    """
    table = group.read_keyed(levels.columns(scheme))
    valid = levels.described(table, scheme)
    whole = bool(valid.all())
    table = table if whole else table.filter(pa.array(valid))
    climate, climates = levels.climates(table)
    season, seasons = encode(table["season"])
    further = (levels.codes(name, table, scheme) for name in levels.further(scheme))
    codes = (climate, numbers(table["lc_dominant"], np.int64), *further)
    word = hash_strings(pa.array(climates, pa.string()), 0)[climate]
    for column in codes[1:]:
        kernels.fold(word, column)
    at = None if whole else np.flatnonzero(valid)
    spot = numbers(table["spot"], np.uint64)
    return Look(len(valid), at, spot, word, codes, season.astype(np.uint8), climates, seasons)
