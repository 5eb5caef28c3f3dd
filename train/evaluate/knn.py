"""A nearest-neighbour probe of frozen features, with intervals that respect places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]

QUERIES_AT_ONCE = 4096


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Score:
    """How well predicted classes meet the true ones."""

    accuracy: Estimate
    macro_f1: Estimate  # mean over the classes that occur among the true ones


def knn(
    bank: Floats,
    labels: Ints,
    queries: Floats,
    k: int = 20,
    temperature: float = 0.07,
    device: torch.device | str = "cpu",
) -> npt.NDArray[np.int64]:
    """The class of each query [q, d] by a vote of its *k* nearest of *bank* [n, d] in cosine similarity.

    Of two classes with equal votes the one with the lower number wins.
    """
    hot = np.eye(int(labels.max()) + 1, dtype=np.int8)[labels]
    return np.asarray(neighbour_votes(bank, hot, queries, k, temperature, device).argmax(1), np.int64)


def neighbour_votes(
    bank: Floats,
    hot: npt.NDArray[np.integer],
    queries: Floats,
    k: int = 20,
    temperature: float = 0.07,
    device: torch.device | str = "cpu",
) -> npt.NDArray[np.float32]:
    """The share of each label [q, classes] in a vote of the *k* nearest of *bank* [n, d] in cosine similarity.

    A neighbour's vote weighs exp(similarity / temperature) (Wu et al. 2018, arXiv 1805.01978, section 3.4). All vote
    where the bank holds fewer.

    Args:
        hot: labels of the bank as 0 and 1, [n, classes]; one or several an image.
    """
    bank_unit = F.normalize(torch.as_tensor(bank, dtype=torch.float32, device=device), dim=1)
    known = torch.as_tensor(hot, dtype=torch.float32, device=device)
    k = min(k, len(bank_unit))
    votes = []
    for part in torch.split(torch.as_tensor(queries, dtype=torch.float32), QUERIES_AT_ONCE):
        similarity, nearest = (F.normalize(part.to(device), dim=1) @ bank_unit.T).topk(k, dim=1)  # [q, k]
        # relative to the nearest: no overflow
        weight = ((similarity - similarity[:, :1]) / temperature).exp()
        weight = weight / weight.sum(1, keepdim=True)
        votes.append((weight[:, :, None] * known[nearest]).sum(1).cpu())  # [q, classes]
    found: npt.NDArray[np.float32] = torch.cat(votes).numpy()
    return found


def score(
    truth: Ints, predicted: Ints, places: npt.NDArray[np.str_], draws: int = 1000, seed: int = 0
) -> Score:
    """Accuracy and macro F1 with bootstrap intervals over places.

    Repeated dates of one place are no independent evidence, so whole places are drawn with replacement. Each
    place is reduced to its confusion counts first, so a draw is a weighted sum of small matrices.
    """
    classes = int(max(truth.max(), predicted.max())) + 1
    _, place = np.unique(places, return_inverse=True)
    confusion = np.zeros((int(place.max()) + 1, classes, classes))  # [place, truth, predicted]
    np.add.at(confusion, (place, truth, predicted), 1)
    rng = np.random.default_rng(seed)
    count = len(confusion)
    times = rng.multinomial(count, np.full(count, 1 / count), size=draws)  # [draws, places]
    drawn = np.tensordot(times, confusion, axes=1)  # [draws, truth, predicted]
    return Score(
        _estimate(_accuracy(confusion.sum(0)), _accuracy(drawn)),
        _estimate(_macro_f1(confusion.sum(0)), _macro_f1(drawn)),
    )


def _accuracy(confusion: Floats) -> Floats:
    hits = np.trace(confusion, axis1=-2, axis2=-1)
    return np.asarray(hits / confusion.sum((-2, -1)))


def _macro_f1(confusion: Floats) -> Floats:
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    actual, claimed = confusion.sum(-1), confusion.sum(-2)
    f1 = 2 * hits / np.maximum(actual + claimed, 1)
    occurs = actual > 0
    return np.asarray((f1 * occurs).sum(-1) / occurs.sum(-1))


def _estimate(value: Floats, draws: Floats) -> Estimate:
    low, high = np.percentile(draws, [2.5, 97.5])
    return Estimate(float(value), float(low), float(high))
