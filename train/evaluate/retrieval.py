"""Content-based retrieval: the images of an archive that are nearest to a query, within a sensor and across sensors.

CSMAE's evaluation (arXiv 2401.07782): features are L2-normalised, the *k* = 10 nearest of the archive are retrieved,
and for a query with labels q and a hit with labels r

    precision = |q ∩ r| / |r|      recall = |q ∩ r| / |q|

are averaged over hits, then over queries. Its F1 is the harmonic mean of the two averages; the mean of each pair's F1
(`F1 of pairs`), which differs, stands beside it. With one label an image all of these are the share of hits of the
query's class. mAP at k is the mean over queries of

    AP = Σ_i≤k P(i) rel(i) / min(k, relevant images in the archive)

where a hit is relevant if it shares a label with the query; queries without any relevant image do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from curate.catalog import InputError
from train.evaluate.evidence import Evidence

Floats = npt.NDArray[np.floating]
AT_ONCE = 2048  # queries, and rows of the archive, in one product
METRICS = ("precision", "recall", "F1", "F1 of pairs", "mAP")


def nearest(
    archive: Floats, queries: Floats, k: int, engine: str = "exact", device: torch.device | str = "cpu"
) -> npt.NDArray[np.int64]:
    """Positions of the *k* nearest of *archive* [n, d] to each query [q, d] by cosine, nearest first: [q, min(k, n)].

    Products run over blocks of the archive, of which only the best *k* are kept. Of equal similarities the lower
    position comes first.

    Args:
        engine: exact, or faiss (IndexFlatIP: the same ranking up to equal similarities).

    Raises:
        InputError: no such engine, or faiss is not installed.
    """
    bank = F.normalize(torch.as_tensor(archive, dtype=torch.float32), dim=1)
    asked = F.normalize(torch.as_tensor(queries, dtype=torch.float32), dim=1)
    k = min(k, len(bank))
    if engine == "faiss":
        index = _faiss().IndexFlatIP(bank.shape[1])
        index.add(bank.numpy())
        return np.asarray(index.search(asked.numpy(), k)[1], np.int64)
    if engine != "exact":
        raise InputError(f"There is no search engine {engine!r}", do="Choose exact or faiss")
    found = []
    for part in torch.split(asked, AT_ONCE):
        best = torch.empty(len(part), 0, device=device)
        where = torch.empty(len(part), 0, dtype=torch.int64, device=device)
        for start in range(0, len(bank), AT_ONCE):
            block = bank[start : start + AT_ONCE].to(device)
            similarity = torch.cat([best, part.to(device) @ block.T], 1)
            rows = torch.arange(start, start + len(block), device=device).expand(len(part), -1)
            order = similarity.argsort(dim=1, descending=True, stable=True)[:, :k]
            best, where = similarity.gather(1, order), torch.cat([where, rows], 1).gather(1, order)
        found.append(where.cpu())
    return torch.cat(found).numpy()


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise InputError(
            "Search by faiss needs the package faiss-cpu",
            do="Install it with: pip install faiss-cpu, or use --exact",
        ) from error
    return faiss


@dataclass(frozen=True)
class Retrieved:
    """Scores of each query, [q]; NaN where a score is undefined."""

    precision: Floats
    recall: Floats
    pair_f1: Floats
    average_precision: Floats

    def evidence(self, places: npt.NDArray[np.str_]) -> Mapping[str, Evidence]:
        """Each metric's evidence over the queries' *places*."""
        known = ~np.isnan(self.precision)
        both = np.stack([np.nan_to_num(self.precision), np.nan_to_num(self.recall), known], 1)
        return {
            "precision": Evidence.mean(self.precision, places),
            "recall": Evidence.mean(self.recall, places),
            "F1": Evidence("harmonic", places, (both * known[:, None],)),
            "F1 of pairs": Evidence.mean(self.pair_f1, places),
            "mAP": Evidence.mean(self.average_precision, places),
        }


def score(hits: npt.NDArray[np.int64], queries: npt.NDArray[Any], archive: npt.NDArray[Any]) -> Retrieved:
    """Scores of *hits* [q, k], positions in the archive, nearest first.

    Args:
        queries, archive: labels as 0 and 1, [q, classes] and [n, classes]. Queries without a label have no score;
            a hit without a label shares nothing.
    """
    asked, found = queries.astype(np.float64), archive.astype(np.float64)[hits]  # [q, c], [q, k, c]
    common = np.einsum("qc,qkc->qk", asked, found)
    of_query, of_hit = asked.sum(1)[:, None], found.sum(2)
    labelled = asked.any(1)
    precision = common / np.maximum(of_hit, 1)
    recall = common / np.maximum(of_query, 1)
    pair_f1 = 2 * common / np.maximum(of_hit + of_query, 1)
    relevant = common > 0
    rank = np.arange(1, hits.shape[1] + 1)
    gained = (relevant * np.cumsum(relevant, 1) / rank).sum(1)
    patterns, which = np.unique(queries, axis=0, return_inverse=True)  # few: queries share sets of labels
    there = ((patterns.astype(np.float32) @ archive.astype(np.float32).T) > 0).sum(1)[which.ravel()]
    best = np.minimum(there, hits.shape[1])
    return Retrieved(
        np.where(labelled, precision.mean(1), np.nan),
        np.where(labelled, recall.mean(1), np.nan),
        np.where(labelled, pair_f1.mean(1), np.nan),
        np.where(best > 0, gained / np.maximum(best, 1), np.nan),
    )


def chance(
    queries: npt.NDArray[Any], archive: npt.NDArray[Any], k: int, seed: int = 0
) -> npt.NDArray[np.int64]:
    """Hits of a retrieval that looks at nothing: draws of the archive, with repetition, [q, min(k, n)]."""
    rng, n = np.random.default_rng(seed), len(archive)
    return rng.integers(n, size=(len(queries), min(k, n)))
