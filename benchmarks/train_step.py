"""One training step of CSMAE SESD base in float32, beside the same step written straightforwardly.

python benchmarks/train_step.py [--batch 16] [--repeats 5] [--compiled] [--preset csmae-sesd-base]

Both take the same parameters, images and masks, in turns; a step is forward, backward and AdamW. The straightforward
one (benchmarks/straightforward.py) runs every decoding alone, keeps attention weights, loops over experts, and updates
with PyTorch's default AdamW. Losses are compared first. Printed are wall seconds and processor seconds of the best
and of the middle repeat: on a machine that others use too, the latter are the ones to compare.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable

import straightforward
import torch

from train.execution import Execution
from train.models import CSMoE
from train.objectives import draw_masks
from train.presets import shape

BANDS = {"s2": tuple(f"B{i}" for i in range(10)), "s1": ("VV", "VH")}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--preset", default="csmae-sesd-base")
    args = parser.parse_args()
    torch.manual_seed(0)
    config = shape(args.preset).model(BANDS, 120, 15)
    model = CSMoE(config)
    images = {s: torch.randn(args.batch, len(bands), 120, 120) for s, bands in config.sensors.items()}
    masks = draw_masks("random", model.sensors, args.batch, config.tokens, 0.5)
    shuffles = {s: torch.cat([mask.visible, mask.masked], 1) for s, mask in masks.items()}
    keep = dict.fromkeys(masks, config.tokens // 2)
    parameters = dict(model.named_parameters())
    straightforward.positions = functools.cache(straightforward.positions)  # a table, made once
    facts = straightforward.Shape(config.patch_size, config.num_heads, config.decoder_heads)

    def plain() -> torch.Tensor:
        return straightforward.losses(parameters, facts, images, shuffles, keep)["total"]

    def ours() -> torch.Tensor:
        return model(images, masks).losses["total"]

    Execution(compiled=args.compiled).prepare(model)
    with torch.no_grad():
        difference = abs(float(plain() / ours()) - 1)
    assert difference < 1e-5, difference

    def stepper(loss: Callable[[], torch.Tensor], optimiser: torch.optim.AdamW) -> Callable[[], None]:
        def step() -> None:
            loss().backward()
            optimiser.step()
            optimiser.zero_grad()

        return step

    steps = {
        "straightforward": stepper(plain, torch.optim.AdamW(model.parameters(), lr=1e-7)),
        "ours": stepper(ours, torch.optim.AdamW(model.parameters(), lr=1e-7, fused=True)),
    }
    threads = torch.get_num_threads()
    print(f"{args.preset}, batch {args.batch}, float32, {threads} threads, losses agree to {difference:.0e}")
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for repeat in range(args.repeats + 1):
        for name, step in steps.items():
            wall, cpu = time.perf_counter(), time.process_time()
            step()
            wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
            print(f"  {repeat} {name:16s} wall {wall_s:6.2f} s, processor {cpu_s:6.2f} s", flush=True)
            if repeat:  # the first allocates, and compiles
                taken[name].append((wall_s, cpu_s))
    for name, pairs in taken.items():
        walls, cpus = zip(*pairs, strict=True)
        print(
            f"{name:16s} wall {min(walls):6.2f} s best {statistics.median(walls):6.2f} s middle, processor "
            f"{min(cpus):6.2f} s best {statistics.median(cpus):6.2f} s middle, {args.batch / min(walls):.2f} pairs/s"
        )
    for kind, index in (("wall", 0), ("processor", 1)):
        ratios = [a[index] / b[index] for a, b in zip(taken["straightforward"], taken["ours"], strict=True)]
        best = min(p[index] for p in taken["straightforward"]) / min(p[index] for p in taken["ours"])
        print(
            f"ratio of {kind} time: best to best {best:.2f}, middle of the pairs {statistics.median(ratios):.2f}"
        )


if __name__ == "__main__":
    main()
