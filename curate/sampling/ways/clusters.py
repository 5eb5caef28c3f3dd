"""k-means and hierarchical k-means, balanced: equal shares for clusters of alike candidates.

Clusters are learned from candidates chosen by hash and then found for all of them, as in faiss; scikit-learn does
both. How many there are depends on the pool, not on the budget, so that samples nest. Two runs of one version of
scikit-learn on one machine agree; another version may cluster differently.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.sampling.arrays import Ints, Words
from curate.sampling.features import Features, Points, distinct, features
from curate.sampling.hashing import stream
from curate.sampling.ways.balance import balanced, by_chance, equal

CLUSTERS = 1_000
MOST_CANDIDATES = 20_000_000  # some minutes on two cores
_PER_CLUSTER = 100  # candidates that a cluster is learned from; faiss asks for 39 to 256
_BLOCK = 1 << 18
_BATCH = 4096
_EPOCHS = 3


def kmeans(
    pool: pa.Table, budget: int, seed: int, among: Ints | None = None, embedding: str | None = None
) -> Ints:
    """*budget* rows of *pool*, equally many from each of up to 1,000 k-means clusters, in order.

    Args:
        embedding: column of vectors to cluster by; None: land cover and climate.
    """
    candidates, chance = by_chance(pool, seed, among)
    found = features(pool, candidates, embedding)
    centres = learn(found, chance, CLUSTERS, seed)
    levels = [equal("cluster", nearest(found, centres))]
    chosen: Ints = candidates[balanced(levels, chance, budget, stream(seed, "clusters"))]
    return chosen


def hierarchical_kmeans(
    pool: pa.Table, budget: int, seed: int, among: Ints | None = None, embedding: str | None = None
) -> Ints:
    """*budget* rows of *pool*: equal shares for clusters of clusters, and within each for its clusters.

    Two levels, √k clusters of the k centres, filled from the top down; without the resampling of centres of
    Vo et al. 2024, as centres of descriptors follow their density little.
    """
    candidates, chance = by_chance(pool, seed, among)
    found = features(pool, candidates, embedding)
    centres = learn(found, chance, CLUSTERS, seed)
    cluster = nearest(found, centres)
    above = _group(centres, max(1, round(len(centres) ** 0.5)), seed)
    levels = [equal("group", above[cluster]), equal("cluster", cluster)]
    chosen: Ints = candidates[balanced(levels, chance, budget, stream(seed, "clusters"))]
    return chosen


def learn(found: Features, chance: Words, clusters: int, seed: int) -> Points:
    """Centres of at most *clusters* clusters; the distinct points themselves where these are no more."""
    from sklearn.cluster import MiniBatchKMeans

    least = min(len(found), clusters * _PER_CLUSTER)
    taught = found.points(np.argsort(chance, kind="stable")[:least])
    different = distinct(taught)[0]
    number = min(clusters, max(1, len(taught) // _PER_CLUSTER))
    if len(different) <= number:
        return np.asarray(taught[different], np.float32)
    model = MiniBatchKMeans(
        number, batch_size=_BATCH, max_iter=_EPOCHS, n_init=1, random_state=_state(seed), compute_labels=False
    )
    return np.asarray(model.fit(taught).cluster_centers_, np.float32)


def nearest(found: Features, centres: Points) -> Ints:
    """Which of *centres* is nearest to each row, block by block."""
    from sklearn.metrics import pairwise_distances_argmin

    parts = [
        pairwise_distances_argmin(found.points(slice(start, start + _BLOCK)), centres)
        for start in range(0, len(found), _BLOCK)
    ]
    return np.concatenate([np.empty(0, np.int64), *parts]).astype(np.int64)


def _group(centres: Points, groups: int, seed: int) -> npt.NDArray[np.int64]:
    from sklearn.cluster import MiniBatchKMeans

    model = MiniBatchKMeans(groups, batch_size=_BATCH, n_init=4, random_state=_state(seed)).fit(centres)
    return np.asarray(model.labels_, np.int64)


def _state(seed: int) -> int:
    return stream(seed, "k-means") & 0x7FFFFFFF
