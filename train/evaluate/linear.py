"""Linear probes: logistic regression on frozen features, fitted to its optimum by L-BFGS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

Floats = npt.NDArray[np.floating]

STRENGTHS = (0.01, 0.1, 1.0, 10.0)  # C of scikit-learn: inverse of the penalty
ITERATIONS, ROUGHLY = 200, 40  # of L-BFGS: to the optimum, and near enough to choose by
HELD_OUT = 0.25  # share of the places of the bank that choose between them


@dataclass(frozen=True)
class Linear:
    """Scores = (x - mean) / std · weight + bias; with *several*, sigmoids of each label, else a softmax."""

    mean: Tensor
    std: Tensor
    weight: Tensor  # [d, classes]
    bias: Tensor
    several: bool

    def scores(self, features: Floats) -> Floats:
        """Probabilities [n, classes]."""
        x = (torch.as_tensor(features, dtype=torch.float64) - self.mean) / self.std
        logits = x @ self.weight + self.bias
        return np.asarray((logits.sigmoid() if self.several else logits.softmax(1)).numpy())


def fit(
    features: Floats,
    hot: npt.NDArray[np.integer],
    several: bool,
    strength: float = 1.0,
    iterations: int = ITERATIONS,
) -> Linear:
    """Minimise  Σ_i loss_i + |W|² / (2 C)  over standardised features; the bias is not penalised.

    The loss is cross-entropy, or with *several* labels the sum over labels of binary cross-entropies. This is
    scikit-learn's objective; computed in float64.

    Args:
        features: [n, d]; *hot* is [n, classes] of 0 and 1; *strength* is C.
    """
    x = torch.as_tensor(features, dtype=torch.float64)
    mean, std = x.mean(0), x.std(0, correction=0)
    std = torch.where(std > 0, std, 1.0)
    x, y = (x - mean) / std, torch.as_tensor(hot, dtype=torch.float64)
    weight = torch.zeros(x.shape[1], y.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(y.shape[1], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=iterations, history_size=20, tolerance_grad=1e-6, tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        optimiser.zero_grad()
        logits = x @ weight + bias
        if several:
            error = F.binary_cross_entropy_with_logits(logits, y, reduction="sum")
        else:
            error = F.cross_entropy(logits, y.argmax(1), reduction="sum")
        loss = (error + weight.square().sum() / (2 * strength)) / len(x)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return Linear(mean, std, weight.detach(), bias.detach(), several)


def choose_strength(
    features: Floats,
    hot: npt.NDArray[np.integer],
    several: bool,
    places: npt.NDArray[np.str_],
    seed: int = 0,
) -> float:
    """The C of `STRENGTHS` whose loss is least on places of the bank that were held out of fitting."""
    names = np.unique(places)
    held = np.random.default_rng(seed).permutation(names)[: max(1, round(HELD_OUT * len(names)))]
    out = np.isin(places, held)
    if out.all() or not out.any():
        return 1.0
    losses = []
    for strength in STRENGTHS:
        fitted = fit(features[~out], hot[~out], several, strength, ROUGHLY)
        p = fitted.scores(features[out]).clip(1e-9, 1 - 1e-9)
        y = hot[out]
        losses.append(-(y * np.log(p) + (several * (1 - y)) * np.log(1 - p)).sum())
    return STRENGTHS[int(np.argmin(losses))]
