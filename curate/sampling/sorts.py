"""What rows show, over all groups of a pool: the groups' own sorts as indices into those of the pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curate.sampling.arrays import Ints, Words
from curate.sampling.counting import Counted


@dataclass(frozen=True, eq=False)
class Sorts:
    """The sorts of a counted pool (`counting.Counted`)."""

    word: Words  # (sorts,) ascending
    codes: Ints  # (sorts, 2 + further levels) climate (index into `climates`), dominant class, ...
    index: tuple[Ints, ...]  # group by group: (its sorts,) index into all
    climates: tuple[str, ...]

    @classmethod
    def of(cls, counted: Sequence[Counted]) -> Sorts:
        """All sorts of some groups."""
        climates = sorted({label for part in counted for label in part.climates})
        word, first, index = np.unique(
            np.concatenate([part.word for part in counted]), return_index=True, return_inverse=True
        )
        codes = []
        for part in counted:
            own = part.codes.copy()
            own[:, 0] = np.array([climates.index(label) for label in part.climates], np.int64)[own[:, 0]]
            codes.append(own)
        ends = np.cumsum([len(part.word) for part in counted])[:-1]
        return cls(word, np.concatenate(codes)[first], tuple(np.split(index, ends)), tuple(climates))
