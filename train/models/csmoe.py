"""CSMoE: a cross-sensor masked autoencoder whose encoder blocks hold Soft mixtures of experts.

Hackel, Burgert and Demir, arXiv 2509.14104, on CSMAE (Hackstein et al., arXiv 2401.07782). For sensors s and t:

    t_s = LN_s( Blocks_s( [cls_s ; visible tokens of s] ) )     sensor-specific encoder; left out at depth 0
    z_s = LN( Blocks( t_s ) )                                   cross-sensor encoder: one for every s
    f_s = LN_f( mean over patches of z_s )                      feature; the class token is left out
    x̂_(s→t) = Decoder_t( z_s, mask tokens where s is hidden )   for every source s and every target t

    UMR = Σ_s   | x̂_(s→s) - x_s |²   where s was hidden          uni-modal reconstruction
    CMR = Σ_s≠t | x̂_(s→t) - x_t |²   where s, the source, was hidden (or see `objectives.rebuilt`)
    MIM = Σ_s<t NT-Xent(f_s, f_t)                                mutual information
    MDE = Σ_s<t discrepancy(f_s, f_t)                            off by default, as published
    loss = w_umr UMR + w_cmr CMR + w_mim MIM + w_mde MDE

CSMAE's four variants are `specific_depth` = 0 or not (CE, SE: common or specific encoder) and `common_decoder`
(CD, SD). A common encoder here is one encoder; the published CE configurations train private ones.

The tokens of two sensors never meet in one sequence, so either sensor can be encoded alone, and a sensor that
an image lacks reaches nothing but its own terms, which are left out. With experts = 0 every block has a dense
MLP and this class is CSMAE; with experts, the blocks in `moe_blocks` hold a Soft MoE. CSMoE's own numbers of
experts and slots, and their blocks, are not public to us: ours are our own choice.

Shapes: B images, N patches of p × p pixels in raster order, K of them visible, D width, c bands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from train.layers import (
    Block,
    Blocks,
    Mlp,
    PatchEmbed,
    SoftMoE,
    first,
    patch_grid,
    patch_targets,
    sincos_positions,
    take_patches,
)
from train.models.base import Model
from train.models.config import ModelConfig
from train.models.decoder import Decoder
from train.objectives import Mask, discrepancy, hidden_error, nt_xent, rebuilt, unit_patches

Key = TypeVar("Key")
Images = Mapping[str, Tensor]  # by sensor, [B, c, H, W], normalised, on one pixel grid
Present = Mapping[
    str, Tensor
]  # by sensor, True for images [B] that have it; sensors left out always are there


@dataclass
class Output:
    """What a masked forward pass yields; losses are scalars that are still on the device."""

    losses: dict[str, Tensor]  # total, umr, cmr, mim, mde, and reconstruction: the mean over umr's and cmr's
    terms: dict[str, Tensor]  # every reconstruction, "s1->s2": error of s2 rebuilt from s1
    features: dict[str, Tensor]  # f_s, [B, D]


class CSMoE(Model):
    """The model above; CSMAE where `config.experts` is 0."""

    kind = "csmoe"
    config: ModelConfig
    positions: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config, dim = config, config.embed_dim
        self.sensors = tuple(config.sensors)
        bands = {sensor: len(names) for sensor, names in config.sensors.items()}

        self.embed = nn.ModuleDict({s: PatchEmbed(c, config.patch_size, dim) for s, c in bands.items()})
        self.cls_token = nn.ParameterDict(
            {s: nn.Parameter(0.02 * torch.randn(1, 1, dim)) for s in self.sensors}
        )
        self.register_buffer("positions", sincos_positions(config.grid, dim), persistent=False)  # [1+N, D]

        own = range(config.specific_depth)
        common = range(config.specific_depth, config.specific_depth + config.shared_depth)
        self.specific = nn.ModuleDict({s: Blocks(*map(self._block, own)) for s in self.sensors})
        self.specific_norm = nn.ModuleDict(
            {s: nn.LayerNorm(dim, 1e-6) if config.specific_depth else nn.Identity() for s in self.sensors}
        )
        self.shared = Blocks(*map(self._block, common))
        self.norm = nn.LayerNorm(dim, 1e-6)
        self.fc_norm = nn.LayerNorm(dim, 1e-6) if config.pool == "avg" else nn.Identity()

        if config.common_decoder:
            self.decoder = Decoder(config, bands)
        else:
            self.decoders = nn.ModuleDict({s: Decoder(config, {s: c}) for s, c in bands.items()})
        for sensor, weights in (config.band_weights or {}).items():  # [c]
            self.register_buffer(f"weights_{sensor}", torch.tensor(weights), persistent=False)

    def _block(self, index: int) -> Block:
        c = self.config
        hidden, (experts, slots) = c.mlp_ratio * c.embed_dim, c.mixture(index)
        mlp = (
            SoftMoE(c.embed_dim, hidden, experts, slots, c.scale_init)
            if experts
            else Mlp(c.embed_dim, hidden)
        )
        return Block(c.embed_dim, c.num_heads, mlp, eps=1e-6)

    def forward(self, images: Images, masks: Mapping[str, Mask], present: Present | None = None) -> Output:
        """Losses of every sensor rebuilt from every sensor, and of their features' agreement.

        Args:
            present: which images have which sensor. What is in the others' place is never read.
        """
        present = present or {}
        images = without_missing(images, present)
        tokens = self._encode(images, masks)  # {s: [B, 1+K, D]}
        features = {s: self._pool(z) for s, z in tokens.items()}
        grids = {s: patch_grid(image, self.config.patch_size) for s, image in images.items()}

        terms: dict[str, Tensor] = {}
        asked = self._asked(masks, tokens)
        for (source, target), prediction in self._decode(tokens, masks, one_grid(grids), asked).items():
            truth = patch_targets(take_patches(grids[target], asked[source, target]))  # [B, R, p·p·c]
            if self.config.norm_pixels:
                truth = unit_patches(truth)
            both = both_present(present, source, target)
            weights = getattr(self, f"weights_{target}", None)
            terms[f"{source}->{target}"] = hidden_error(prediction, truth, weights, both)

        zero = self.positions.new_zeros(())
        pairs = [
            (features[s], features[t], both_present(present, s, t))
            for s, t in self.config.cross_pairs(features)
        ]
        c = self.config
        losses = {
            "umr": sum((terms[f"{s}->{s}"] for s in tokens), zero),
            "cmr": sum((terms[f"{s}->{t}"] for s, t in asked if s != t), zero),
            "mim": sum((nt_xent(f, g, c.tau, both, c.gather) for f, g, both in pairs), zero),
            "mde": sum((discrepancy(f, g, both) for f, g, both in pairs if c.mde_weight), zero),
        }
        weighted = (getattr(c, f"{name}_weight") * loss for name, loss in losses.items())
        losses["total"] = sum(weighted, zero)
        losses["reconstruction"] = (losses["umr"] + losses["cmr"]) / len(terms)
        return Output(losses, terms, features)

    def encode(self, images: Images, stretch: bool = False) -> dict[str, Tensor]:
        """Pooled features [B, D] of whole images, by sensor; any subset of the sensors will do.

        Args:
            stretch: images of another size show the extent of the training images in other pixels; by default
                they show another extent in the same pixels.
        """
        return {s: self._pool(z) for s, z in self._encode(images, stretch=stretch).items()}

    def encode_tokens(
        self, images: Images, stretch: bool = False, blocks: int | None = None
    ) -> dict[str, Tensor]:
        """Patch tokens [B, N, D] of whole images in raster order, by sensor, for dense tasks.

        Args:
            blocks: tokens as so many blocks leave them, the sensor-specific ones first; by default all, and normalised.
        """
        return {s: z[:, 1:] for s, z in self._encode(images, stretch=stretch, blocks=blocks).items()}

    def reconstruct(self, images: Images, masks: Mapping[str, Mask]) -> dict[str, Tensor]:
        """Predictions of all patches, "s1->s2": [B, N, p·p·c] in raster order, pixel order (py, px, c)."""
        tokens = self._encode(images, masks)
        grids = {s: patch_grid(image, self.config.patch_size) for s, image in images.items()}
        everywhere: dict[tuple[str, str], Tensor | None] = dict.fromkeys(self._asked(masks, tokens))
        predictions = self._decode(tokens, masks, one_grid(grids), everywhere)
        return {f"{s}->{t}": prediction for (s, t), prediction in predictions.items()}

    def _encode(
        self,
        images: Images,
        masks: Mapping[str, Mask] | None = None,
        stretch: bool = False,
        blocks: int | None = None,
    ) -> dict[str, Tensor]:
        """Encoded [cls ; visible patches] by sensor, [B, 1+K, D]; without masks all N in raster order."""
        later = None if blocks is None else blocks - self.config.specific_depth  # of the common encoder
        early = later is not None and later <= 0
        tokens: dict[str, Tensor] = {}
        for sensor in [s for s in self.sensors if s in images]:
            grid = patch_grid(images[sensor], self.config.patch_size)  # [B, gy, gx, c, p, p]
            positions = self._positions(self.positions, (grid.shape[1], grid.shape[2]), stretch)  # [1+N, D]
            if masks is None:
                x = self.embed[sensor](grid.flatten(1, 2)) + positions[1:]  # [B, N, D]
            else:
                visible = masks[sensor].visible  # [B, K]
                x = self.embed[sensor](take_patches(grid, visible)) + positions[1:][visible]
            cls = (self.cls_token[sensor] + positions[0]).expand(len(x), -1, -1)  # [B, 1, D]
            x = first(cast(Blocks, self.specific[sensor]), blocks)(torch.cat([cls, x], 1))
            tokens[sensor] = x if early else self.specific_norm[sensor](x)
        if early:
            return tokens
        encoded = together(first(self.shared, later), {s: (x, None) for s, x in tokens.items()})
        return {s: z if blocks else self.norm(z) for s, z in encoded.items()}

    def _pool(self, z: Tensor) -> Tensor:
        pooled = z[:, 1:].mean(1) if self.config.pool == "avg" else z[:, 0]  # [B, D]
        feature: Tensor = self.fc_norm(pooled)
        return feature

    def _positions(self, table: Tensor, grid: tuple[int, int], stretch: bool = False) -> Tensor:
        """*table* [1+N, D] for a grid of the configured size; the same form computed for any other."""
        if grid == (self.config.grid, self.config.grid):
            return table
        trained_on = self.config.grid if stretch else None
        return sincos_positions(grid, table.shape[1], trained_on, table.device).to(table.dtype)

    def _asked(self, masks: Mapping[str, Mask], tokens: Images) -> dict[tuple[str, str], Tensor]:
        """Raster positions [B, R] that are rebuilt, by (source, target)."""
        asked = {(s, s): masks[s].masked for s in tokens}
        for pair in self.config.cross_pairs(tokens):
            for s, t in (pair, pair[::-1]):
                asked[s, t] = rebuilt(self.config.reconstruction, masks[s], masks[t])
        return asked

    def _decode(
        self,
        tokens: Mapping[str, Tensor],
        masks: Mapping[str, Mask],
        grid: tuple[int, int],
        asked: Mapping[tuple[str, str], Tensor | None],
    ) -> dict[tuple[str, str], Tensor]:
        """Predictions of the *asked* patches by (source, target), [B, R, p·p·c]; of all N where None."""
        predictions: dict[tuple[str, str], Tensor] = {}
        for decoder, targets in self._decoders():
            positions = self._positions(decoder.positions, grid)  # [1+N, d]
            routes = [(s, t) for s, t in asked if t in targets]
            filled = {s: decoder.fill(tokens[s], masks[s], positions) for s in dict(routes)}
            # What one trunk would do twice, for two heads, it does once.
            passes = {(s, id(asked[s, t])): (filled[s], asked[s, t]) for s, t in routes}
            states = together(decoder, passes)
            for s, t in routes:
                predictions[s, t] = decoder.pixels(states[s, id(asked[s, t])], t)
        return predictions

    def _decoders(self) -> list[tuple[Decoder, tuple[str, ...]]]:
        """Each decoder and the sensors it rebuilds."""
        if self.config.common_decoder:
            return [(self.decoder, self.sensors)]
        return [(cast(Decoder, self.decoders[sensor]), (sensor,)) for sensor in self.sensors]

    def backbone_parameters(self) -> int:
        """Parameters of all but the decoders."""
        return sum(p.numel() for name, p in self.named_parameters() if not name.startswith("decoder"))


def together(layers: nn.Module, sequences: Mapping[Key, tuple[Tensor, Tensor | None]]) -> dict[Key, Tensor]:
    """*layers* on sequences [B, L, d] and what is asked of them [B, R], those of equal shapes in one batch.

    Blocks mix nothing across the batch, so this is only faster, not different.
    """
    alike: dict[object, list[Key]] = {}
    for key, (x, asked) in sequences.items():
        alike.setdefault((x.shape[1:], None if asked is None else asked.shape[1]), []).append(key)
    found: dict[Key, Tensor] = {}
    for keys in alike.values():
        inputs, rows = zip(*(sequences[key] for key in keys), strict=True)
        joined = layers(torch.cat(inputs), None if rows[0] is None else torch.cat(rows))
        found |= zip(keys, joined.split([len(x) for x in inputs]), strict=True)
    return found


def one_grid(grids: Mapping[str, Tensor]) -> tuple[int, int]:
    """Rows and columns of patches [B, gy, gx, …], which all sensors must have in common to be rebuilt.

    Raises:
        ValueError: they differ.
    """
    shapes = {sensor: (grid.shape[1], grid.shape[2]) for sensor, grid in grids.items()}
    if len(set(shapes.values())) != 1:
        raise ValueError(
            f"Sensors can be rebuilt from each other on one grid of patches only, not on {shapes}"
        )
    return next(iter(shapes.values()))


def without_missing(images: Images, present: Present) -> dict[str, Tensor]:
    """Images with zeros where a sensor is missing, so that not even NaN there can reach a gradient."""
    blank = {s: ~where[:, None, None, None] for s, where in present.items()}
    return {s: x.masked_fill(blank[s], 0.0) if s in blank else x for s, x in images.items()}


def both_present(present: Present, first: str, second: str) -> Tensor | None:
    """True for images [B] that have both sensors; None where all have."""
    known = [present[s] for s in {first, second} if s in present]
    return known[0] & known[-1] if known else None
