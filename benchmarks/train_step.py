"""One training step of CSMAE SESD base in float32, beside the same step written straightforwardly.

python benchmarks/train_step.py [--batch 16] [--repeats 5] [--compiled] [--preset csmae-sesd-base]

Both start from the same parameters, images and masks and take turns, each in a process of its own; a step is forward,
backward and AdamW. The straightforward one (benchmarks/straightforward.py) runs every decoding alone, keeps attention
weights, loops over experts, and updates with PyTorch's default AdamW. Losses are compared first. Printed are wall
seconds and processor seconds of the best and of the middle repeat: on a machine that others use too, the latter are
the ones to compare.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection

import straightforward
import torch

from train.execution import Execution, keep_freed_memory
from train.models import CSMoE
from train.objectives import draw_masks
from train.presets import shape

BANDS = {"s2": tuple(f"B{i}" for i in range(10)), "s1": ("VV", "VH")}
WAYS = ("straightforward", "ours")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--preset", default="csmae-sesd-base")
    args = parser.parse_args()

    spawn, ways = get_context("spawn"), dict[str, Connection]()
    for way in WAYS:
        ways[way], theirs = spawn.Pipe()
        spawn.Process(
            target=serve, args=(way, args.preset, args.batch, args.compiled, theirs), daemon=True
        ).start()
    first, second = (ways[way].recv() for way in WAYS)
    difference = abs(second / first - 1)
    assert difference < 1e-5, difference
    threads = torch.get_num_threads()
    print(f"{args.preset}, batch {args.batch}, float32, {threads} threads, losses agree to {difference:.0e}")

    taken: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for repeat in range(-1, args.repeats):  # the first allocates, and compiles
        for way, process in ways.items():
            process.send("step")
            wall, cpu = process.recv()
            print(f"  {repeat + 1} {way:16s} wall {wall:6.2f} s, processor {cpu:6.2f} s", flush=True)
            if repeat >= 0:
                taken[way].append((wall, cpu))
    for process in ways.values():
        process.send(None)
    for way, pairs in taken.items():
        walls, cpus = zip(*pairs, strict=True)
        print(
            f"{way:16s} wall {min(walls):6.2f} s best {statistics.median(walls):6.2f} s middle, processor "
            f"{min(cpus):6.2f} s best {statistics.median(cpus):6.2f} s middle, {args.batch / min(walls):.2f} pairs/s"
        )
    for kind, index in (("wall", 0), ("processor", 1)):
        ratios = [a[index] / b[index] for a, b in zip(*taken.values(), strict=True)]
        best = min(p[index] for p in taken["straightforward"]) / min(p[index] for p in taken["ours"])
        print(
            f"ratio of {kind} time: best to best {best:.2f}, middle of the pairs {statistics.median(ratios):.2f}"
        )


def serve(way: str, preset: str, batch: int, compiled: bool, asked: Connection) -> None:
    """Send the loss, then the seconds of one step, wall and processor, for each request."""
    torch.manual_seed(0)
    config = shape(preset).model(BANDS, 120, 15)
    model = CSMoE(config)
    images = {s: torch.randn(batch, len(bands), 120, 120) for s, bands in config.sensors.items()}
    masks = draw_masks("random", model.sensors, batch, config.tokens, 0.5)
    shuffles = {s: torch.cat([mask.visible, mask.masked], 1) for s, mask in masks.items()}
    keep = dict.fromkeys(masks, config.tokens // 2)
    parameters = dict(model.named_parameters())
    straightforward.positions = functools.cache(straightforward.positions)  # a table, made once
    facts = straightforward.Shape(config.patch_size, config.num_heads, config.decoder_heads)

    def plain() -> torch.Tensor:
        return straightforward.losses(parameters, facts, images, shuffles, keep)["total"]

    def ours() -> torch.Tensor:
        return model(images, masks).losses["total"]

    loss: Callable[[], torch.Tensor] = plain if way == "straightforward" else ours
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-7, fused=way == "ours" or None)
    if way == "ours":
        Execution(compiled=compiled).prepare(model)
        keep_freed_memory()
    with torch.no_grad():
        asked.send(float(loss()))
    while asked.recv():
        wall, cpu = time.perf_counter(), time.process_time()
        loss().backward()
        optimiser.step()
        optimiser.zero_grad()
        asked.send((time.perf_counter() - wall, time.process_time() - cpu))


if __name__ == "__main__":
    main()
