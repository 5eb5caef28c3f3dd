"""Many experts as one feed-forward layer: four ways behind one interface.

- `sum`      Σ_e W_e: "knowledge summation" (One Student Knows All Experts Know, arXiv 2201.10890).
- `average`  the mean of a pool's experts, weighted by use, times the weight that the pool is given; over pools the mean
             of W1 and the sum of W2. Exact where all experts are equal.
- `svd`      H / N directions of each expert: the strongest left singular vectors U of its W1, turned so that they lie
             as close to hidden units as directions can; W1' = Qᵀ Uᵀ W1, W2' = W2 U Q. (RingMoE keeps the strongest
             factors too; how it pairs W1 with W2 and joins the pools is not public.)
- `units`    the H hidden units, of all experts, with the largest weight · mean |activation| · |W2 column|, as they are.

None keeps the function: which experts a token meets is lost. All are starts for `distil`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Expert:
    """E(x) = w2 gelu(w1 x + b1) + b2, and how much it is used."""

    w1: Tensor  # [H, D]
    b1: Tensor  # [H]
    w2: Tensor  # [D, H]
    b2: Tensor  # [D]
    pool: str = ""
    weight: float = 1.0  # mean weight that a token gives it
    units: Tensor | None = None  # [H], mean |activation| of its hidden units; None means all alike

    def chunks(self, width: int) -> list[Expert]:
        """Experts of *width* hidden units each that add up to this one."""
        parts = len(self.b1) // width
        units = torch.ones_like(self.b1) if self.units is None else self.units
        return [
            Expert(
                self.w1[cut],
                self.b1[cut],
                self.w2[:, cut],
                self.b2 / parts,
                self.pool,
                self.weight,
                units[cut],
            )
            for cut in (slice(i * width, (i + 1) * width) for i in range(parts))
        ]


def merge(experts: Sequence[Expert], width: int, how: str) -> Expert:
    """One expert of *width* hidden units.

    Raises:
        ValueError: no such way, or experts that are narrower.
    """
    if how not in METHODS:
        raise ValueError(f"There is no way to merge called {how!r}: choose one of {', '.join(METHODS)}")
    if sum(len(e.b1) for e in experts) < width or any(len(e.b1) % width for e in experts):
        raise ValueError(f"Experts of {[len(e.b1) for e in experts]} hidden units do not make one of {width}")
    return METHODS[how]([part for e in experts for part in e.chunks(width)], width)


def _sum(experts: Sequence[Expert], width: int) -> Expert:
    w1, b1, w2, b2 = (
        torch.stack([getattr(e, name) for e in experts]).sum(0) for name in ("w1", "b1", "w2", "b2")
    )
    return Expert(w1, b1, w2, b2)


def _average(experts: Sequence[Expert], width: int) -> Expert:
    pools: dict[str, list[Expert]] = {}
    for e in experts:
        pools.setdefault(e.pool, []).append(e)
    w1 = b1 = w2 = torch.zeros(())
    for members in pools.values():
        weights = torch.tensor([e.weight for e in members])
        total = float(weights.sum())
        shares = (weights / max(total, 1e-12)).tolist()
        w1 = w1 + sum(s * e.w1 for s, e in zip(shares, members, strict=True)) / len(pools)
        b1 = b1 + sum(s * e.b1 for s, e in zip(shares, members, strict=True)) / len(pools)
        w2 = w2 + total * sum(s * e.w2 for s, e in zip(shares, members, strict=True))
    return Expert(w1, b1, w2, _bias(experts))


def _svd(experts: Sequence[Expert], width: int) -> Expert:
    parts = [directions(e, n) for e, n in zip(experts, rooms(experts, width), strict=True)]
    w1, b1, w2 = (torch.cat(part, dim) for part, dim in zip(zip(*parts, strict=True), (0, 0, 1), strict=True))
    return Expert(w1, b1, w2, _bias(experts))


def directions(expert: Expert, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """W1' [count, D], b1' [count] and weighted W2' [D, count] in *count* directions of the hidden layer."""
    turn = basis(expert.w1, count)  # [H, count]
    return turn.T @ expert.w1, turn.T @ expert.b1, expert.weight * expert.w2 @ turn


def basis(w1: Tensor, count: int) -> Tensor:
    """Orthonormal directions [H, count] of the hidden layer that hold most of W1 [H, D], near to hidden units."""
    left, strength, _ = torch.linalg.svd(w1.double(), full_matrices=count > min(w1.shape))
    left = left[:, :count]
    strength = torch.nn.functional.pad(strength, (0, max(count - len(strength), 0)), value=1e-6)[:count]
    units = (left * strength).norm(dim=1).argsort(descending=True, stable=True)[:count].sort().values
    turn, _, back = torch.linalg.svd(
        left[units]
    )  # left[units] Q ≈ identity: the orthogonal Procrustes problem
    near: Tensor = (left @ (turn @ back).T).to(w1.dtype)
    return near


def rooms(experts: Sequence[Expert], width: int) -> list[int]:
    """Hidden units for each expert: the width is shared evenly among pools, and a pool's among its experts."""
    pools = list(dict.fromkeys(e.pool for e in experts))
    found = []
    for i, pool in enumerate(pools):
        room = width * (i + 1) // len(pools) - width * i // len(pools)
        members = sum(e.pool == pool for e in experts)
        found += [room * (j + 1) // members - room * j // members for j in range(members)]
    return found


def _units(experts: Sequence[Expert], width: int) -> Expert:
    w1, b1 = torch.cat([e.w1 for e in experts]), torch.cat([e.b1 for e in experts])
    w2 = torch.cat([e.weight * e.w2 for e in experts], 1)  # [D, Σ H]
    active = torch.cat([torch.ones_like(e.b1) if e.units is None else e.units for e in experts])
    best = (active * w2.norm(dim=0)).argsort(descending=True, stable=True)[:width].sort().values
    return Expert(w1[best], b1[best], w2[:, best], _bias(experts))


def _bias(experts: Sequence[Expert]) -> Tensor:
    return torch.stack([e.weight * e.b2 for e in experts]).sum(0)


METHODS: dict[str, Callable[[Sequence[Expert], int], Expert]] = {
    "sum": _sum,
    "average": _average,
    "svd": _svd,
    "units": _units,
}
