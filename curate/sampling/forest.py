"""From counts of kinds of rows to the tree of strata: levels, small strata merged, targets given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from curate.catalog.schema import SPLITS
from curate.sampling import levels
from curate.sampling.allocation import ALPHAS
from curate.sampling.arrays import Ints, compact, distinct
from curate.sampling.hashing import stream
from curate.sampling.levels import Scheme
from curate.sampling.target import Target, read_target
from curate.sampling.tree import Level, Tree, plant

if TYPE_CHECKING:
    from curate.recipe import Sampling


_SPLIT, _CLIMATE, _DOMINANT = range(3)


@dataclass(frozen=True, eq=False)
class Strata:
    """The tree, and where each kind of row went in it."""

    tree: Tree
    levels: tuple[Level, ...]  # the split first
    leaf: Ints  # (kinds,) leaf of each kind; −1 where no row of it can be drawn
    merged: int  # strata below the least size, before they were put together

    def labels(self) -> npt.NDArray[np.str_]:
        """How each leaf's stratum reads, its split left out: ``Cfb · 10+40``."""
        texts: npt.NDArray[np.str_] | None = None
        for depth, level in enumerate(self.levels[1:], start=1):
            names = np.array(level.labels)[self.tree.codes[:, depth]]
            texts = names if texts is None else np.char.add(np.char.add(texts, " · "), names)
        return np.full(len(self.tree.leaf_size), "all") if texts is None else texts

    def beyond(self, quota: Ints) -> int:
        """Seats of leaves to which, on some level, the target gives no share."""
        never = np.zeros(len(quota), np.bool_)
        for depth, level in enumerate(self.levels):
            if level.target is not None:
                rest = 1 - sum(level.target.values()) > 1e-9
                share = [level.target.get(label, float(rest)) for label in level.labels]
                never |= np.array(share)[self.tree.codes[:, depth]] == 0
        return int(quota[never].sum())


def strata_of(kinds: Ints, rows: Ints, climates: list[str], scheme: Scheme, sampling: Sampling) -> Strata:
    """The strata of kinds of rows.

    Args:
        kinds: (k, 3 + further levels) split, climate (index into *climates*), dominant class, further levels.
        rows: (k,) rows of each kind that can be drawn.

    Raises:
        InputError: the target names classes that no row shows.
    """
    used = np.flatnonzero(rows > 0)
    every = np.full(len(rows), -1, np.int64)
    kinds, rows = kinds[used], rows[used]
    split = kinds[:, _SPLIT]
    further = levels.further(scheme)
    found: list[tuple[str, Ints, tuple[str, ...]]] = []
    for name in scheme.levels:
        column = {"climate": _CLIMATE, "dominant": _DOMINANT}.get(name)
        code, values = compact(kinds[:, 3 + further.index(name) if column is None else column])
        texts = (climates[v] if name == "climate" else levels.label(name, v, scheme) for v in values.tolist())
        found.append((name, code, tuple(texts)))
    merged = 0
    at = scheme.levels.index("landcover") if "landcover" in scheme.levels else len(found) - 1
    if found and found[at][0] != "climate":
        above = [code for _, code, _ in found[:at]]
        name, code, labels = found[at]
        whole = kinds[:, _DOMINANT] if name == "landcover" else None
        code, labels, merged = _merge_small(above, code, labels, rows, whole, sampling.min_stratum)
        found[at] = name, code, labels
    given: str | Target | None = sampling.target  # type: ignore[assignment]  # keys are names of levels
    target = read_target(given, {name: labels for name, _, labels in found})
    alpha = ALPHAS[sampling.allocation]
    own = {str(name): exponent for name, exponent in sampling.alpha.items()}
    tiers = (
        Level("split", split, SPLITS, 1.0),
        *(Level(name, code, labels, own.get(name, alpha), target.get(name)) for name, code, labels in found),
    )
    tree, leaf = plant(tiers, stream(sampling.seed, "tree"), rows)
    every[used] = leaf
    return Strata(tree, tiers, every, merged)


def _merge_small(
    above: list[Ints], code: Ints, labels: tuple[str, ...], rows: Ints, dominant: Ints | None, least: int
) -> tuple[Ints, tuple[str, ...], int]:
    """Put nodes of fewer than *least* rows together under ``<dominant class>+other``, or ``other`` without classes.

    What is still small then stays so. Counts run over all splits, so that each split has the same strata.

    Returns:
        The new codes and labels, and how many nodes were merged.
    """
    node, nodes = distinct([*above, code])
    size = np.bincount(node, weights=rows, minlength=len(nodes))
    small = (size < least)[node]
    which, classes = compact(np.zeros_like(code) if dominant is None else dominant)
    names = ("other",) if dominant is None else tuple(f"{one}+other" for one in classes.tolist())
    index, used = compact(np.where(small, len(labels) + which, code))
    both = (*labels, *names)
    return index, tuple(both[i] for i in used.tolist()), int((size < least).sum())
