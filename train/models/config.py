"""What decides a model's shape and loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from train.objectives import RECONSTRUCTIONS

POOLS = ("avg", "token")
LEAST = {  # of the fields that are numbers, where they are given
    **dict.fromkeys(
        ("image_size", "patch_size", "embed_dim", "num_heads", "decoder_dim", "decoder_heads"), 1
    ),
    **dict.fromkeys(("mlp_ratio", "slots", "shared_slots"), 1),
    **dict.fromkeys(("specific_depth", "shared_depth", "decoder_depth", "experts", "shared_experts"), 0),
    **dict.fromkeys(("umr_weight", "cmr_weight", "mim_weight", "mde_weight"), 0),
}


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides the model's shape and loss; stored with its weights.

    Raises:
        ValueError: fields that contradict each other, or name what there is not.
    """

    sensors: dict[str, tuple[str, ...]]  # sensor -> names of its bands, in the order of its channels
    image_size: int  # px
    patch_size: int  # px
    embed_dim: int
    num_heads: int
    specific_depth: int  # blocks of each sensor's own encoder; 0 makes the encoder common to all
    shared_depth: int  # blocks of the cross-sensor encoder
    decoder_dim: int
    decoder_depth: int
    decoder_heads: int
    mlp_ratio: int = 4
    experts: int = 0  # per Soft MoE; 0 makes every block dense, and the model CSMAE
    slots: int = 1  # per expert
    scale_init: float = 1.0  # routing scale g at the start
    moe_blocks: tuple[int, ...] | None = None  # of a sensor's path, specific blocks first; None means all
    tau: float = 0.5  # temperature of NT-Xent
    umr_weight: float = 1.0
    cmr_weight: float = 1.0
    mim_weight: float = 1.0
    mde_weight: float = 0.0
    common_decoder: bool = False  # one trunk for all targets, with a head each
    shared_experts: int | None = None  # of the cross-sensor encoder; None means as many as `experts`
    shared_slots: int | None = None
    reconstruction: str = "disjoint"  # where a sensor is rebuilt from another: see `objectives.rebuilt`
    pairs: tuple[tuple[str, str], ...] | None = None  # sensors that meet in cross losses; None means all
    band_weights: dict[str, tuple[float, ...]] | None = None  # in reconstruction, by sensor; None means equal
    norm_pixels: bool = False  # rebuild every patch's pixels as zero mean and unit variance
    pool: str = "avg"  # feature from the patches' mean, or from the class token
    gather: bool = False  # NT-Xent against the features of all ranks

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and not least <= value < float("inf"):
                raise ValueError(f"{name} is {value}: it must be at least {least}")
        if not self.tau > 0:
            raise ValueError(f"tau is {self.tau}: it must be greater than 0")
        if self.image_size % self.patch_size:
            raise ValueError(
                f"A patch of {self.patch_size} px does not divide a chip of {self.image_size} px"
            )
        for dim, heads in ((self.embed_dim, self.num_heads), (self.decoder_dim, self.decoder_heads)):
            if dim % heads or dim % 4:
                raise ValueError(f"A width of {dim} must be a multiple of 4 and of its {heads} heads")
        if self.specific_depth + self.shared_depth < 1:
            raise ValueError("An encoder needs at least one block")
        depth = self.specific_depth + self.shared_depth
        if far := [block for block in self.moe_blocks or () if not 0 <= block < depth]:
            raise ValueError(f"moe_blocks names {far}: a sensor's path has blocks 0 to {depth - 1}")
        if self.reconstruction not in RECONSTRUCTIONS or self.pool not in POOLS:
            raise ValueError(
                f"reconstruction {self.reconstruction!r} must be one of {', '.join(RECONSTRUCTIONS)} "
                f"and pool {self.pool!r} one of {', '.join(POOLS)}"
            )
        named = {s for pair in self.pairs or () for s in pair} | set(self.band_weights or {})
        if unknown := named - set(self.sensors):
            raise ValueError(f"No sensor is called {', '.join(sorted(unknown))}: {', '.join(self.sensors)}")
        pairs = [frozenset(pair) for pair in self.pairs or ()]
        if any(len(pair) != 2 for pair in pairs) or len(set(pairs)) < len(pairs):
            raise ValueError("pairs must be of two different sensors, each pair once")
        for sensor, weights in (self.band_weights or {}).items():
            if len(weights) != len(self.sensors[sensor]) or min(weights) < 0 or not sum(weights):
                raise ValueError(f"Band weights of {sensor} must be one for each band, ≥ 0 and not all 0")

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image_size // self.patch_size

    @property
    def tokens(self) -> int:
        """N, patches of an image."""
        return self.grid**2

    @property
    def variant(self) -> str:
        """CSMAE's name of the shape: specific or common encoder, specific or common decoder."""
        return f"{'S' if self.specific_depth else 'C'}E{'C' if self.common_decoder else 'S'}D"

    def cross_pairs(self, present: Mapping[str, object]) -> list[tuple[str, str]]:
        """Pairs of sensors that are *present* and meet in the cross losses, each once."""
        chosen = combinations(self.sensors, 2) if self.pairs is None else self.pairs
        return [(first, second) for first, second in chosen if first in present and second in present]

    def mixture(self, block: int) -> tuple[int, int]:
        """Experts of *block* of a sensor's path, and slots of each; (0, 0) where it is dense."""
        experts, slots = self.experts, self.slots
        if block >= self.specific_depth:
            experts = experts if self.shared_experts is None else self.shared_experts
            slots = slots if self.shared_slots is None else self.shared_slots
        mixed = experts > 0 and (self.moe_blocks is None or block in self.moe_blocks)
        return (experts, slots) if mixed else (0, 0)

    @property
    def mixtures(self) -> list[tuple[int, int]]:
        """Experts and slots of the blocks that are not dense, each combination once; empty for a CSMAE."""
        blocks = range(self.specific_depth + self.shared_depth)
        return [mixed for mixed in dict.fromkeys(map(self.mixture, blocks)) if mixed != (0, 0)]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> ModelConfig:
        """The configuration that `to_json` gave, also through JSON, which makes lists of tuples."""
        fields = dict(fields)
        fields["sensors"] = {sensor: tuple(bands) for sensor, bands in fields["sensors"].items()}
        if fields.get("moe_blocks") is not None:
            fields["moe_blocks"] = tuple(fields["moe_blocks"])
        if fields.get("pairs") is not None:
            fields["pairs"] = tuple((first, second) for first, second in fields["pairs"])
        if fields.get("band_weights") is not None:
            fields["band_weights"] = {s: tuple(weights) for s, weights in fields["band_weights"].items()}
        return cls(**fields)
