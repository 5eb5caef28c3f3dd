"""Tokens a second through a pool of experts: our dispatches, the plain loop, a dense MLP of equal active size.

    python benchmarks/dispatch.py [--device cuda] [--out dispatch.json]

Forward and backward, one pool of E experts of ratio 4, k choices a token, routers as drawn. 16 k D² FLOPs a token
in the forward pass, times three with the backward pass; the router: 2 E D. The dense MLP is one expert of k times the
width: it has what a token meets. `per token` goes token by token in Python, on few tokens, because it is slow.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from train.layers.attention import Mlp
from train.layers.experts import ExpertPool
from train.layers.routing import Router, Routing

SHAPES = {  # width, experts, choices, tokens; the last two of a CPU are the stages of `tiny` with 32 chips
    "cpu": ((128, 4, 1, 4096), (256, 8, 2, 4096), (64, 4, 1, 4608), (128, 4, 1, 1152)),
    "cuda": ((768, 8, 1, 65536), (1024, 16, 2, 65536)),
}


def per_token(pool: ExpertPool, x: Tensor, chosen: Tensor, gates: Tensor) -> Tensor:
    """Token by token: what nobody should do."""
    rows = []
    for token, experts, weights in zip(x, chosen.tolist(), gates, strict=True):
        total = torch.zeros_like(token)
        for e, g in zip(experts, weights, strict=True):
            hidden = F.gelu(pool.fc1.weight[e] @ token + pool.fc1.bias[e, 0])
            total = total + g * (pool.fc2.weight[e] @ hidden + pool.fc2.bias[e, 0])
        rows.append(total)
    return torch.stack(rows)


def seconds(work: Callable[[], Tensor], x: Tensor, budget: float) -> float:
    """Forward and backward at best, after one that is not counted."""
    best, spent, runs = float("inf"), 0.0, 0
    while runs < 4 or spent < budget:
        x.grad = None
        if x.is_cuda:
            torch.cuda.synchronize()
        started = time.perf_counter()
        y = work()
        y.backward(torch.ones_like(y))
        if x.is_cuda:
            torch.cuda.synchronize()
        taken = time.perf_counter() - started
        runs, spent = runs + 1, spent + taken
        best = min(best, taken) if runs > 1 else best
    return best


def measure(
    dim: int, experts: int, k: int, tokens: int, device: str, budget: float
) -> list[dict[str, object]]:
    """Rows of one shape."""
    torch.manual_seed(0)
    kind = torch.bfloat16 if device == "cuda" else torch.float32
    gate = "raw" if k == 1 else "renormalised"
    router, padded = (
        Router(dim, experts, Routing(k, gate)),
        Router(dim, experts, Routing(k, gate, capacity=1.25)),
    )
    padded.weight = router.weight
    pool, dense = ExpertPool(dim, 4 * dim, experts), Mlp(dim, 4 * k * dim)
    for module in (router, padded, pool, dense):
        module.to(device)
    x = torch.randn(tokens, dim, device=device, requires_grad=True)

    def ours(way: str, r: Router = router) -> Callable[[], Tensor]:
        def work() -> Tensor:
            pool.dispatch = way
            with torch.autocast(device, kind, enabled=kind != torch.float32):
                return pool(x, r(x))

        return work

    few = x[:64]

    def slow() -> Tensor:
        routes = router(few)
        return per_token(pool, few, routes.chosen, routes.gates)

    def one() -> Tensor:
        with torch.autocast(device, kind, enabled=kind != torch.float32):
            return dense(x)

    ways = {
        "dense MLP": (one, tokens),
        "sorted (ours)": (ours("sorted"), tokens),
        "grouped (ours, for CUDA)": (ours("grouped"), tokens),
        "padded (ours, capacity 1.25)": (ours("padded", padded), tokens),
        "loop over experts": (ours("loop"), tokens),
        "loop over tokens": (slow, len(few)),
    }
    flop = 3 * 16 * k * dim**2
    rows: list[dict[str, object]] = []
    for name, (work, count) in ways.items():
        rate = count / seconds(work, x, budget)
        rows.append(
            {
                "shape": f"D {dim}, E {experts}, k {k}",
                "way": name,
                "tokens_per_s": rate,
                "gflop_per_s": rate * flop / 1e9,
                "mflop_per_token": flop / 1e6,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="of a CPU")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each number, at least")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    name = torch.cuda.get_device_name() if given.device == "cuda" else f"{given.threads} CPU threads"
    torch.set_num_threads(given.threads)
    print(f"{name}, PyTorch {torch.__version__}")
    print(f"{'shape':<18}{'way':<30}{'MFLOP/tok':>10}{'ktok/s':>10}{'GFLOP/s':>10}{'of dense':>10}")
    table: list[dict[str, object]] = []
    for shape in SHAPES[given.device]:
        rows = measure(*shape, given.device, given.seconds)
        table += rows
        dense = float(str(rows[0]["tokens_per_s"]))
        for row in rows:
            rate = float(str(row["tokens_per_s"]))
            speed = float(str(row["gflop_per_s"]))
            line = f"{row['shape']:<18}{row['way']:<30}{row['mflop_per_token']:>10.2f}{rate / 1e3:>10.2f}"
            print(f"{line}{speed:>10.1f}{rate / dense:>10.1%}")
    if given.out:
        given.out.write_text(json.dumps({"device": name, "rows": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
