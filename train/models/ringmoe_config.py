"""What decides a RingMoE's shape and loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from train.layers.hierarchical import COLLABORATIVE, SHARED, Pools
from train.layers.routing import Routing
from train.objectives.targets import SensorSpec

BACKBONES = ("swin", "vit")
Layout = Mapping[
    str, int
]  # experts by pool: sensors, `collaborative`, `shared`; "NAME closed" for pruned ones


@dataclass(frozen=True)
class RingMoEConfig:
    """Everything that decides the model's shape and loss; stored with its weights.

    Raises:
        ValueError: fields that contradict each other, or name what there is not.
    """

    specs: dict[str, SensorSpec]  # by sensor
    image_size: int  # px
    patch_size: int  # px
    embed_dim: int  # of the first stage
    depths: tuple[int, ...]  # blocks of each stage; a ViT has one stage
    heads: tuple[int, ...]
    window: int = 12  # tokens; of no use to a ViT
    backbone: str = "swin"
    cosine: bool = False  # Swin V2's attention
    mlp_ratio: int = 4
    specialised: int = 4  # N_S experts for each sensor, in every layer
    collaborative: int = 4  # N_C
    shared: int = 1  # as one MLP of so many times the width
    moe_blocks: tuple[int, ...] | None = None  # blocks with all three pools; the others are dense; None: all
    specialised_routing: Routing = field(default_factory=Routing)
    common_routing: Routing = field(default_factory=Routing)
    layout: tuple[Layout, ...] | None = None  # experts of each block, where pruning made them differ
    balance_weight: float = 0.01
    z_weight: float = 0.001
    sensor_weights: dict[str, float] | None = None  # in reconstruction; None means equal
    incomplete_ratio: float = 0.6  # of the pixels of a hidden cell that an `incomplete` mask hides
    ratios: dict[str, float] | None = (
        None  # share the chips of a batch out to the sensors; None: each shows all
    )

    def __post_init__(self) -> None:
        if self.backbone not in BACKBONES:
            raise ValueError(f"There is no backbone {self.backbone!r}: choose {' or '.join(BACKBONES)}")
        if not self.specs or len(self.depths) != len(self.heads) or min(self.depths) < 1:
            raise ValueError(
                "A model needs sensors, and as many numbers of heads as stages, each with a block"
            )
        if self.backbone == "vit" and (len(self.depths) > 1 or self.embed_dim % 4):
            raise ValueError("A ViT has one stage and a width that is a multiple of 4")
        if self.image_size % self.cell:
            raise ValueError(f"Cells of {self.cell} px do not divide an image of {self.image_size} px")
        for name, shares in (("sensor_weights", self.sensor_weights), ("ratios", self.ratios)):
            if shares is not None and (set(shares) != set(self.specs) or min(shares.values()) <= 0):
                raise ValueError(f"{name} must name {', '.join(self.specs)} and be greater than 0: {shares}")
        if self.layout is not None and len(self.layout) != sum(self.depths):
            raise ValueError(f"A layout of {len(self.layout)} blocks does not fit {sum(self.depths)}")

    @property
    def sensors(self) -> dict[str, tuple[str, ...]]:
        """Names of bands by sensor, in the order of the channels."""
        return {sensor: spec.bands for sensor, spec in self.specs.items()}

    @property
    def cell(self) -> int:
        """Pixels along a side of what one token of the last stage stands for; the cells of the mask."""
        return int(self.patch_size * 2 ** (len(self.depths) - 1))

    @property
    def cells(self) -> int:
        """Cells of an image."""
        return int((self.image_size // self.cell) ** 2)

    @property
    def tokens(self) -> int:
        """Tokens of an image that the first stage sees."""
        return int((self.image_size // self.patch_size) ** 2)

    @property
    def width(self) -> int:
        """Of the last stage, and of features."""
        return int(self.embed_dim * 2 ** (len(self.depths) - 1))

    def block_layout(self, block: int) -> dict[str, int]:
        """Experts of *block* by pool."""
        if self.layout is not None:
            return dict(self.layout[block])
        mixed = self.moe_blocks is None or block in self.moe_blocks
        own = self.specialised if mixed else 0
        return {
            **dict.fromkeys(self.sensors, own),
            COLLABORATIVE: self.collaborative if mixed else 0,
            SHARED: self.shared if mixed else 1,
        }

    def pools(self, block: int) -> Pools:
        """The same as a layer wants it."""
        layout = self.block_layout(block)
        closed = {name: layout.get(f"{name} closed", 0) for name in (*self.sensors, COLLABORATIVE)}
        own = {sensor: layout.get(sensor, 0) for sensor in self.sensors}
        return Pools(own, layout.get(COLLABORATIVE, 0), layout.get(SHARED, 0), closed)

    def released(self) -> RingMoEConfig:
        """The published behaviour where it differs from ours; docs/ringmoe.md says in what."""
        routing = Routing(1, "renormalised", 1.2, prioritised=False, images_per_group=4, released=True)
        return replace(
            self,
            specialised_routing=replace(routing, images_per_group=1),
            common_routing=routing,
            balance_weight=0.001,
            z_weight=0.0,
            specs={name: spec.released() for name, spec in self.specs.items()},
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> RingMoEConfig:
        """The configuration that `to_json` gave, also through JSON, which makes lists of tuples."""
        found = dict(fields)
        found["specs"] = {s: SensorSpec.from_json(spec) for s, spec in fields["specs"].items()}
        for name in ("depths", "heads", "moe_blocks", "layout"):
            found[name] = None if fields.get(name) is None else tuple(fields[name])
        for name in ("specialised_routing", "common_routing"):
            found[name] = Routing(**fields[name])
        return cls(**found)
