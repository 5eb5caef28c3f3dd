"""Presets of RingMoE, and their variants: NAME+VARIANT+VARIANT.

`giant` has the paper's shape; all else is our own choice. A variant changes one thing: `tiny+no-shared`,
`small+gamma+cosine`, `tiny+unpaired:s2=2,s1=1`. Sizes for two sensors are in docs/ringmoe.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from curate.catalog import InputError
from train.models.ringmoe_config import RingMoEConfig
from train.objectives.targets import (
    OF_ALL,
    OF_SAR,
    TARGETS,
    SensorSpec,
    default_target,
    depolarisation,
    kind_of,
    polarisation,
)

POLARISATIONS = frozenset({"VV", "VH", "HH", "HV"})
LEAST_CELLS, MOST_TOKENS = 16, 4096  # of an image

Change = Callable[[RingMoEConfig], RingMoEConfig]


@dataclass(frozen=True)
class RingPreset:
    """One size of model."""

    embed_dim: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    patch_size: int  # the largest that fits the chip is taken, px
    batch_size: int  # chips, of each sensor
    max_steps: int
    lr: float
    window: int = 8  # tokens
    backbone: str = "swin"
    experts: int = 4  # of each pool but the shared one
    moe_blocks: tuple[int, ...] | None = None
    changes: tuple[Change, ...] = ()

    def model(
        self, sensors: dict[str, tuple[str, ...]], chip_px: int, patch_size: int | None = None
    ) -> RingMoEConfig:
        """The model for these sensors and chips; statistics and targets are plausible until data are seen.

        Raises:
            InputError: no patch fits the chip, or *patch_size* does not.
        """
        stages = len(self.depths)
        patch = patch_for(chip_px, self.patch_size, stages) if patch_size is None else patch_size
        if chip_px % (patch * 2 ** (stages - 1)) or patch < 1:
            raise InputError(
                f"--patch-size {patch} does not fit chips of {chip_px} px",
                f"{stages} stages need a chip that cells of {patch * 2 ** (stages - 1)} px divide",
                f"Leave it out, or choose {patch_for(chip_px, self.patch_size, stages)}",
            )
        config = RingMoEConfig(
            specs={sensor: guessed(bands) for sensor, bands in sensors.items()},
            image_size=chip_px,
            patch_size=patch,
            embed_dim=self.embed_dim,
            depths=self.depths,
            heads=self.heads,
            window=self.window,
            backbone=self.backbone,
            specialised=self.experts,
            collaborative=self.experts,
            moe_blocks=self.moe_blocks,
        )
        for change in self.changes:
            config = change(config)
        return config


def guessed(bands: tuple[str, ...]) -> SensorSpec:
    """A sensor of which only the bands are known, for counting and timing without a catalog."""
    radar = POLARISATIONS.issuperset(map(polarisation, bands))
    kind = kind_of(bands, "dB" if radar else "reflectance")
    mean, std = (-12.0, 4.0) if radar else (0.2, 0.15)
    return SensorSpec(
        bands,
        kind,
        (mean,) * len(bands),
        (std,) * len(bands),
        default_target(kind, bands),
        level_db=-9,
        spread_db=4,
        ratio_db=-7,
        ratio_spread_db=4,
    )


def patch_for(chip_px: int, largest: int, stages: int) -> int:
    """The largest patch of at most *largest* px that leaves whole cells, 16 at least, after *stages*, px.

    Raises:
        InputError: there is none.
    """
    for patch in range(min(largest, chip_px), 0, -1):
        cells, rest = divmod(chip_px, patch * 2 ** (stages - 1))
        if not rest and cells**2 >= LEAST_CELLS and (chip_px // patch) ** 2 <= MOST_TOKENS:
            return patch
    raise InputError(
        f"No patch of at most {largest} px fits chips of {chip_px} px",
        f"{stages} stages need chips that 2^{stages - 1} patches divide into at least {LEAST_CELLS} cells",
        "Cut chips of another size, such as 120 or 128 px, or choose a preset that begins with vit-",
    )


SIZES = {
    # For a CPU: 12 × 12 tokens of a chip of 120 px, and 6 × 6 cells as in the paper.
    "tiny": RingPreset(64, (2, 2), (4, 8), 10, 32, 240, 1e-3, window=6),
    "small": RingPreset(64, (2, 2, 6, 2), (2, 4, 8, 16), 4, 64, 20_000, 5e-4),
    "base": RingPreset(128, (2, 2, 18, 2), (4, 8, 16, 32), 4, 128, 50_000, 2.5e-4),
    "giant": RingPreset(448, (2, 2, 18, 2), (14, 28, 56, 112), 4, 32, 100_000, 2.5e-4, window=12),
    # Mixtures in every second block, as V-MoE has them.
    "vit-tiny": RingPreset(64, (4,), (4,), 15, 32, 240, 1e-3, backbone="vit", experts=2, moe_blocks=(1, 3)),
    "vit-small": RingPreset(
        384, (12,), (6,), 16, 128, 20_000, 5e-4, backbone="vit", moe_blocks=tuple(range(1, 12, 2))
    ),
    "vit-base": RingPreset(
        768, (12,), (12,), 16, 256, 50_000, 2e-4, backbone="vit", moe_blocks=tuple(range(1, 12, 2))
    ),
    "vit-large": RingPreset(
        1024, (24,), (16,), 16, 256, 50_000, 1.5e-4, backbone="vit", moe_blocks=tuple(range(1, 24, 2))
    ),
}


def _routed(**fields: object) -> Change:
    def change(c: RingMoEConfig) -> RingMoEConfig:
        routing = [replace(r, **fields) for r in (c.specialised_routing, c.common_routing)]  # type: ignore[arg-type]
        return replace(c, specialised_routing=routing[0], common_routing=routing[1])

    return change


def _targets(target: str) -> Change:
    """*target* for the sensors that it is for."""

    def of(spec: SensorSpec) -> SensorSpec:
        radar = spec.kind.startswith("sar")
        fits = target in OF_ALL or (radar if target in OF_SAR else bool(spec.indices) and not radar)
        fits = fits and (target != "polarimetric" or depolarisation(spec.bands))
        return replace(spec, target=target) if fits else spec

    return lambda c: replace(c, specs={sensor: of(spec) for sensor, spec in c.specs.items()})


def _dense(total: bool) -> Change:
    """One MLP of the width that a token's experts have together, or that all experts have."""

    def change(c: RingMoEConfig) -> RingMoEConfig:
        own, common = c.specialised, c.collaborative
        if total:
            width = c.shared + common + own * len(c.specs)
        else:
            width = c.shared + min(own, c.specialised_routing.k) + min(common, c.common_routing.k)
        return replace(c, specialised=0, collaborative=0, shared=width)

    return change


VARIANTS: dict[str, Change] = {
    "no-specialised": lambda c: replace(c, specialised=0),
    "no-collaborative": lambda c: replace(c, collaborative=0),
    "no-shared": lambda c: replace(c, shared=0),
    "dense": lambda c: replace(c, specialised=0, collaborative=0, shared=1),
    "dense-active": _dense(total=False),
    "dense-total": _dense(total=True),
    "top2": _routed(k=2, gate="renormalised"),
    "capacity": _routed(capacity=2.0),
    "jitter": _routed(jitter=0.01),
    "cosine": lambda c: replace(c, cosine=True),
    **{target: _targets(target) for target in TARGETS},
    "unpaired": lambda c: replace(c, ratios=dict.fromkeys(c.specs, 1.0)),
    "compat": lambda c: c.released(),
}


def unpaired(ratios: str) -> Change:
    """Chips shared out by *ratios* such as s2=2,s1=1.

    Raises:
        InputError: they are no numbers, or not of the catalog's sensors.
    """

    def change(c: RingMoEConfig) -> RingMoEConfig:
        try:
            shares = {name.strip(): float(n) for name, n in (pair.split("=") for pair in ratios.split(","))}
            return replace(c, ratios=shares)
        except ValueError as error:
            raise InputError(
                f"Ratios {ratios!r} do not share chips out to {', '.join(c.specs)}",
                do=f"Write them as {','.join(f'{sensor}=1' for sensor in c.specs)}",
            ) from error

    return change


def ring_preset(name: str) -> RingPreset:
    """The preset called *name*, with its variants.

    Raises:
        InputError: there is none.
    """
    size, *variants = name.split("+")
    if size not in SIZES:
        raise InputError(f"There is no preset {size!r}", do=f"Choose one of: {', '.join(SIZES)}")
    changes = []
    for variant in variants:
        word, _, value = variant.partition(":")
        if variant not in VARIANTS and not (word == "unpaired" and value):
            raise InputError(
                f"There is no variant {variant!r} of preset {size}", do=f"Choose of: {', '.join(VARIANTS)}"
            )
        changes.append(unpaired(value) if value else VARIANTS[variant])
    return replace(SIZES[size], changes=tuple(changes))


def named(size: str, variants: Sequence[str], ratios: str | None, compat: bool) -> str | None:
    """The name of a preset with *variants*; None where the default is meant.

    `compat` comes first, so that what else is asked for goes over it.
    """
    extra = [*(["compat"] if compat else []), *variants, *([f"unpaired:{ratios}"] if ratios else [])]
    if not size and not extra:
        return None
    return "+".join([size or "tiny", *extra])
