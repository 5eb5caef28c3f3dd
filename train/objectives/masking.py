"""Which tokens of which sensor the encoder sees (CSMAE, arXiv 2401.07782, section III)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

MASKINGS = ("random", "identical", "disjoint")
RECONSTRUCTIONS = ("disjoint", "identical", "target")


@dataclass(frozen=True)
class Mask:
    """One sensor's visible and hidden tokens, as raster positions."""

    visible: Tensor  # [B, K] in the order in which the encoder sees them
    masked: Tensor  # [B, N-K] in the order in which mask tokens stand for them
    restore: Tensor  # [B, N] where each raster position lies in [visible | masked]

    @classmethod
    def of(cls, shuffle: Tensor, keep: int) -> Mask:
        """From a permutation of the positions [B, N], of which the first *keep* stay visible."""
        return cls(shuffle[:, :keep], shuffle[:, keep:], shuffle.argsort(1))

    @property
    def hidden(self) -> Tensor:
        """True where a raster position is hidden: [B, N]."""
        return self.restore >= self.visible.shape[1]

    def rows(self, start: int, stop: int) -> Mask:
        """The masks of some of the images."""
        return Mask(self.visible[start:stop], self.masked[start:stop], self.restore[start:stop])

    def to(self, device: torch.device | str) -> Mask:
        """The same masks on *device*."""
        visible, masked, restore = (
            part.to(device, non_blocking=True) for part in (self.visible, self.masked, self.restore)
        )
        return Mask(visible, masked, restore)


def rebuilt(reconstruction: str, source: Mask, target: Mask) -> Tensor:
    """Raster positions [B, R] at which the target is rebuilt from another sensor's visible tokens.

    The source's tokens always stand where they were seen. What is asked of the decoder is, with

    - `disjoint`: the target where the source was hidden, which is what all published configurations train;
    - `identical`: the target where the source was visible, a translation of what was seen;
    - `target`: the target where the target itself was hidden.

    Where masks are disjoint over two sensors the last two are the same. (The published code moves the source's tokens
    to the target's visible positions in some of these cases, and stops with an error in others.)
    """
    return {"disjoint": source.masked, "identical": source.visible, "target": target.masked}[reconstruction]


def draw_masks(
    masking: str,
    sensors: Sequence[str],
    batch: int,
    tokens: int,
    ratio: float,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> dict[str, Mask]:
    """Masks by sensor; each sensor keeps int(tokens · (1 - ratio)) of its tokens.

    `random` draws for each sensor alone and `identical` once for all. With `disjoint` no position is visible
    in two sensors and every position is visible in one: the first sensor keeps its share, the others split
    the exact complement. (The published code rounds both shares down and can lose a position.)

    Args:
        generator: a CPU generator, so that the draw is the same on every device.

    Raises:
        ValueError: unknown masking, or a sensor would keep no token or all of them.
    """
    keep = int(tokens * (1 - ratio))
    if masking not in MASKINGS:
        raise ValueError(f"Unknown masking {masking!r}: choose one of {', '.join(MASKINGS)}")
    if not 0 < keep < tokens:
        raise ValueError(f"A mask ratio of {ratio} keeps {keep} of {tokens} tokens")

    def shuffle() -> Tensor:
        return torch.rand(batch, tokens, generator=generator).argsort(1)

    if masking == "random":
        masks = [Mask.of(shuffle(), keep) for _ in sensors]
    elif masking == "identical" or len(sensors) == 1:
        masks = [Mask.of(shuffle(), keep)] * len(sensors)
    else:
        order, others = shuffle(), len(sensors) - 1
        if tokens - keep < others:
            raise ValueError(f"{tokens - keep} hidden tokens cannot be split among {others} sensors")
        cuts = [0, *(keep + (tokens - keep) * i // others for i in range(others + 1))]
        masks = [Mask.of(order.roll(-start, dims=1), stop - start) for start, stop in pairwise(cuts)]
    return {sensor: mask.to(device) for sensor, mask in zip(sensors, masks, strict=True)}
