"""CSMAE and CSMoE as one would write them down first: the published equations, one after the other.

Nothing is batched or fused that the equations do not batch: every image is embedded whole and masked afterwards, every
decoding runs alone and predicts every patch, attention keeps its L × L weights, and experts take turns in a loop. It
computes from a flat dictionary of parameters and shares no code with `train`, so it is both the reference that speed is
measured against (`benchmarks/train_step.py`) and the independent computation that the tests compare with.

Names: s source, t target sensor; B images, N patches, K visible ones, D width, m tokens, n experts of p slots each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Parameters = Mapping[str, Tensor]


@dataclass(frozen=True)
class Shape:
    """What the parameters alone do not tell."""

    patch: int  # px
    heads: int
    decoder_heads: int
    reconstruction: str = (
        "disjoint"  # patches of the target: where the source was hidden, or "identical", or "target"
    )
    tau: float = 0.5
    bands: Mapping[str, tuple[float, ...]] | None = None  # weight of each band in reconstruction, by sensor
    norm_pixels: bool = False
    pool: str = "avg"
    mde: bool = False  # add the discrepancy loss


def losses(
    p: Parameters,
    shape: Shape,
    images: Mapping[str, Tensor],
    shuffles: Mapping[str, Tensor],
    keep: Mapping[str, int],
) -> dict[str, Tensor]:
    """Each reconstruction "s->t", umr, cmr, mim, mde and total; features are "feature s", predictions "pred s->t".

    Args:
        shuffles: a permutation of the N patches of each image by sensor, [B, N]; the first *keep* stay visible.
    """
    found: dict[str, Tensor] = {}
    encoded, features = {}, {}
    for s, image in images.items():
        tokens = embed(p, s, image, shape.patch)
        grid = image.shape[-1] // shape.patch
        tokens = tokens + positions(grid, tokens.shape[2]).to(tokens)[1:]
        visible = shuffles[s][:, : keep[s]]
        tokens = torch.stack([row[index] for row, index in zip(tokens, visible, strict=True)])  # [B, K, D]
        encoded[s] = encode(p, s, tokens, shape.heads)
        features[s] = pool(p, encoded[s], shape.pool)
        found[f"feature {s}"] = features[s]

    kinds: dict[str, Tensor | float] = {"umr": 0.0, "cmr": 0.0, "mim": 0.0, "mde": 0.0}
    for s in images:
        for t in images:
            prediction = decode(p, t, encoded[s], shuffles[s], keep[s], shape)  # [B, N, p·p·c]
            hidden = hidden_mask(shuffles, keep, s, t, shape.reconstruction)
            error = patch_error(prediction, images[t], shape, (shape.bands or {}).get(t))  # [B, N]
            term = (error * hidden).sum() / hidden.sum()
            found[f"{s}->{t}"], found[f"pred {s}->{t}"] = term, prediction
            kinds["umr" if s == t else "cmr"] = kinds["umr" if s == t else "cmr"] + term
    names = list(images)
    for i, s in enumerate(names):
        for t in names[i + 1 :]:
            kinds["mim"] = kinds["mim"] + nt_xent(features[s], features[t], shape.tau)
            if shape.mde:
                cosine = F.cosine_similarity(features[s], features[t], dim=1)
                kinds["mde"] = kinds["mde"] - torch.log(1 + torch.exp(cosine)).mean()
    total = sum(kinds.values(), torch.zeros(()))
    return {**found, **{name: torch.as_tensor(value) for name, value in kinds.items()}, "total": total}


def embed(p: Parameters, s: str, image: Tensor, patch: int) -> Tensor:
    """A convolution whose stride is its kernel: [B, c, H, W] to [B, N, D]."""
    weight = p[f"embed.{s}.proj.weight"]
    kernel = weight.reshape(len(weight), image.shape[1], patch, patch)
    return F.conv2d(image, kernel, p[f"embed.{s}.proj.bias"], stride=patch).flatten(2).transpose(1, 2)


def positions(grid: int, dim: int) -> Tensor:
    """Fixed positions of the class token and of grid × grid patches: [1 + N, dim]."""
    quarter = dim // 4
    table = torch.zeros(1 + grid * grid, dim, dtype=torch.float64)
    for row in range(grid):
        for column in range(grid):
            for half, place in enumerate((column, row)):
                for i in range(quarter):
                    angle = place / 10000 ** (i / quarter)
                    table[1 + row * grid + column, half * 2 * quarter + i] = math.sin(angle)
                    table[1 + row * grid + column, half * 2 * quarter + quarter + i] = math.cos(angle)
    return table.float()


def encode(p: Parameters, s: str, tokens: Tensor, heads: int) -> Tensor:
    """t_s = LN_s(Blocks_s([cls_s; tokens])), left out where the sensor has no blocks; z_s = LN(Blocks(t_s))."""
    cls = p[f"cls_token.{s}"].expand(len(tokens), -1, -1)  # the class token's position is zero
    x = torch.cat([cls, tokens], 1)
    if f"specific.{s}.0.norm1.weight" in p:
        x = norm(p, f"specific_norm.{s}", blocks(p, f"specific.{s}", x, heads, 1e-6), 1e-6)
    return norm(p, "norm", blocks(p, "shared", x, heads, 1e-6), 1e-6)


def pool(p: Parameters, z: Tensor, kind: str) -> Tensor:
    return z[:, 0] if kind == "token" else norm(p, "fc_norm", z[:, 1:].mean(1), 1e-6)


def decode(p: Parameters, t: str, z: Tensor, shuffle: Tensor, keep: int, shape: Shape) -> Tensor:
    """Every patch of target t from the visible tokens of one source: [B, N, p·p·c]."""
    common = "decoder.embed.weight" in p
    name = "decoder" if common else f"decoders.{t}"
    x = linear(p, f"{name}.embed", z)
    hidden = p[f"{name}.mask_token"].expand(len(x), shuffle.shape[1] - keep, -1)
    patches = torch.cat([x[:, 1:], hidden], 1)  # in shuffled order
    patches = torch.stack([row[index] for row, index in zip(patches, shuffle.argsort(1), strict=True)])
    x = torch.cat([x[:, :1], patches], 1)
    x = x + positions(math.isqrt(shuffle.shape[1]), x.shape[2]).to(x)
    x = norm(p, f"{name}.norm", blocks(p, f"{name}.blocks", x, shape.decoder_heads, 1e-5), 1e-5)
    return linear(p, f"{name}.heads.{t}" if common else f"{name}.head", x)[:, 1:]


def blocks(p: Parameters, name: str, x: Tensor, heads: int, eps: float) -> Tensor:
    i = 0
    while f"{name}.{i}.norm1.weight" in p:
        x = x + attention(p, f"{name}.{i}.attn", norm(p, f"{name}.{i}.norm1", x, eps), heads)
        y = norm(p, f"{name}.{i}.norm2", x, eps)
        routed = f"{name}.{i}.mlp.phi" in p
        x = x + (soft_moe if routed else mlp)(p, f"{name}.{i}.mlp", y)
        i += 1
    return x


def attention(p: Parameters, name: str, x: Tensor, heads: int) -> Tensor:
    batch, length, dim = x.shape
    q, k, v = (
        linear(p, f"{name}.qkv", x).reshape(batch, length, 3, heads, dim // heads).permute(2, 0, 3, 1, 4)
    )
    weights = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(dim // heads), -1)  # [B, heads, L, L]
    return linear(p, f"{name}.proj", (weights @ v).transpose(1, 2).reshape(batch, length, dim))


def mlp(p: Parameters, name: str, x: Tensor) -> Tensor:
    return linear(p, f"{name}.fc2", F.gelu(linear(p, f"{name}.fc1", x)))


def soft_moe(p: Parameters, name: str, x: Tensor) -> Tensor:
    """Y = C f(Dᵀ X), logits L2(X) · g L2(Phi): arXiv 2308.00951, section 2."""
    phi = p[f"{name}.phi"]  # [d, n, p]
    phi = p[f"{name}.scale"] * phi / (phi.norm(dim=0, keepdim=True) + 1e-6)
    logits = torch.einsum("bmd,dnp->bmnp", x / (x.norm(dim=-1, keepdim=True) + 1e-6), phi)
    dispatch = torch.softmax(logits, 1)
    combine = torch.softmax(logits.flatten(2), 2).reshape(logits.shape)
    y = torch.zeros_like(x)
    for i in range(phi.shape[1]):
        slots = torch.einsum("bmp,bmd->bpd", dispatch[:, :, i], x)
        inner = F.gelu(slots @ p[f"{name}.fc1.weight"][i].T + p[f"{name}.fc1.bias"][i])
        answers = inner @ p[f"{name}.fc2.weight"][i].T + p[f"{name}.fc2.bias"][i]
        y = y + torch.einsum("bmp,bpd->bmd", combine[:, :, i], answers)
    return y


def hidden_mask(
    shuffles: Mapping[str, Tensor], keep: Mapping[str, int], s: str, t: str, reconstruction: str
) -> Tensor:
    """1 where patches of t rebuilt from s count: [B, N]."""
    place = {x: shuffles[x].argsort(1) for x in (s, t)}
    if s == t or reconstruction == "disjoint":
        return (place[s] >= keep[s]).to(torch.get_default_dtype())
    if reconstruction == "identical":
        return (place[s] < keep[s]).to(torch.get_default_dtype())
    return (place[t] >= keep[t]).to(torch.get_default_dtype())


def patch_error(prediction: Tensor, image: Tensor, shape: Shape, bands: tuple[float, ...] | None) -> Tensor:
    """Mean squared error of every patch over its pixels and bands, pixel order (py, px, c): [B, N]."""
    batch, channels, side, _ = image.shape
    g, q = side // shape.patch, shape.patch
    truth = torch.einsum("bcgyhx->bghyxc", image.reshape(batch, channels, g, q, g, q)).reshape(
        batch, g * g, -1
    )
    if shape.norm_pixels:
        mean, var = truth.mean(-1, keepdim=True), truth.var(-1, keepdim=True)
        truth = (truth - mean) / (var + 1e-6).sqrt()
    error = (prediction - truth) ** 2
    if bands is None:
        return error.mean(-1)
    weights = torch.tensor(bands, dtype=error.dtype).repeat(q * q)
    return (error * weights).sum(-1) / weights.sum()


def nt_xent(first: Tensor, second: Tensor, tau: float) -> Tensor:
    z = torch.cat([first, second])
    z = z / z.norm(dim=1, keepdim=True)
    similarity = torch.exp(z @ z.T / tau)
    others = similarity.sum(1) - similarity.diagonal()
    partner = torch.cat([torch.arange(len(first)) + len(first), torch.arange(len(first))])
    return -torch.log(similarity[torch.arange(len(z)), partner] / others).mean()


def norm(p: Parameters, name: str, x: Tensor, eps: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], p[f"{name}.weight"], p[f"{name}.bias"], eps)


def linear(p: Parameters, name: str, x: Tensor) -> Tensor:
    return F.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])
