"""What rows show, over all groups of a pool: the groups' own kinds as indices into those of the pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curate.sampling import kernels
from curate.sampling.arrays import Ints, Small
from curate.sampling.counting import Counted

CLIMATE, DOMINANT = range(2)  # of the codes; further levels follow in their order


@dataclass(frozen=True, eq=False)
class Kinds:
    """The kinds of rows of a counted pool (`counting.Counted`)."""

    codes: Ints  # (kinds, 2 + further levels) climate (index into `climates`), dominant class, ...
    index: tuple[Small, ...]  # group by group: (its kinds,) index into all
    climates: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def of(cls, counted: Sequence[Counted]) -> Kinds:
        """All kinds of some groups."""
        climates = sorted({label for part in counted for label in part.climates})
        firsts = np.cumsum([0, *(len(part.word) for part in counted)])
        one, _, index = kernels.tally(np.concatenate([part.word for part in counted]))
        codes = np.empty((len(one), len(counted[0].codes)), np.int64)
        begins = np.searchsorted(one, firsts)  # a kind is taken from the first group that has it
        for part, first, begin, end in zip(counted, firsts[:-1], begins[:-1], begins[1:], strict=True):
            own = np.stack([column[one[begin:end] - first] for column in part.codes], axis=1)
            rank = np.array([climates.index(label) for label in part.climates], np.int64)
            codes[begin:end] = own
            codes[begin:end, CLIMATE] = rank[own[:, CLIMATE]]
        return cls(codes, tuple(np.split(index, firsts[1:-1])), tuple(climates))
