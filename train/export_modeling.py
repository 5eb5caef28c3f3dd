"""The encoders of CSMoE, CSMAE and RingMoE in plain PyTorch: this file and the weights beside it are all they take.

    from modeling_csmoe import load              # or modeling_ringmoe: the same file
    model = load("folder")                       # reads config.json and model.safetensors
    features = model({"s2": x})                  # {"s2": [B, D]}; x [B, bands, H, W] in the unit of config.json
    tokens = model.encode_tokens({"s2": x})      # {"s2": [B, N, D]}, in raster order
    pyramid = load("folder", features_only=True, sensor="s2")
    maps = pyramid(x)                            # maps [B, D, H / reduction, W / reduction], as timm's backbones give

Any subset of the sensors will do. Numbers must be physical values, bands in the order of config.json; values that
cannot be in that unit are refused. Pixels without data are NaN. H and W are multiples of the patch size.
"""

import json
import struct
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FAR = 10.0  # standard deviations from which on a mean cannot be in the model's unit
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}


class SoftMoE(nn.Module):
    """Soft mixture of experts (arXiv 2308.00951)."""

    def __init__(self, dim: int, hidden: int, experts: int, slots: int) -> None:
        super().__init__()
        self.phi = nn.Parameter(torch.zeros(dim, experts, slots))
        self.scale = nn.Parameter(torch.ones(1))
        self.fc1, self.fc2 = Experts(experts, dim, hidden), Experts(experts, hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, m, d] to the same."""
        dim, experts, slots = self.phi.shape
        keys = (self.scale * unit(self.phi, 0)).flatten(1)  # [d, n·p]
        logits = unit(x, -1) @ keys  # [B, m, n·p]
        filled = logits.softmax(1).transpose(1, 2) @ x  # [B, n·p, d]
        filled = filled.reshape(-1, experts, slots, dim).transpose(0, 1).reshape(experts, -1, dim)
        answers = self.fc2(F.gelu(self.fc1(filled))).reshape(experts, -1, slots, dim)
        out: Tensor = logits.softmax(2) @ answers.transpose(0, 1).reshape(-1, experts * slots, dim)
        return out


class Experts(nn.Module):
    def __init__(self, experts: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(experts, outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(experts, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.transpose(1, 2) + self.bias


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, dim = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.num_heads, dim // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v)  # [B, heads, L, d / heads]
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, length, dim))
        return out


class Block(nn.Module):
    def __init__(self, dim: int, num_heads: int, mlp: nn.Module) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, 1e-6), nn.LayerNorm(dim, 1e-6)
        self.attn, self.mlp = Attention(dim, num_heads), mlp

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Router(nn.Module):
    """Weights of a pool's experts for each token; those that were pruned count in the softmax alone."""

    def __init__(self, dim: int, experts: int, closed: int, k: int, gate: str) -> None:
        super().__init__()
        self.experts, self.k, self.gate = experts, min(k, experts), gate
        self.weight = nn.Parameter(torch.zeros(experts + closed, dim))

    def forward(self, x: Tensor) -> Tensor:
        """[T, d] to [T, E], 0 where an expert is not asked."""
        p = (x.float() @ self.weight.T).softmax(1)[:, : self.experts]
        gates, chosen = p.topk(self.k)
        if self.gate == "renormalised":
            gates = gates / gates.sum(1, keepdim=True)
        return torch.zeros_like(p).scatter(1, chosen, gates)


class ExpertPool(nn.Module):
    def __init__(self, dim: int, hidden: int, experts: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = Experts(experts, dim, hidden), Experts(experts, hidden, dim)

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Tokens [T, d] and the weights [T, E] of their experts to [T, d].

        An ONNX graph has no rows of any number: there every expert answers every token, mostly with weight 0.
        """
        total = torch.zeros_like(x)
        for e in range(len(self.fc1.weight)):
            if torch.onnx.is_in_onnx_export():
                total = total + weight[:, e, None] * self._answer(x, e)
            else:
                rows = (weight[:, e] > 0).nonzero()[:, 0]
                total = total.index_add(0, rows, weight[rows, e, None] * self._answer(x[rows], e))
        return total

    def _answer(self, x: Tensor, e: int) -> Tensor:
        hidden = F.gelu(x @ self.fc1.weight[e].T + self.fc1.bias[e])
        out: Tensor = hidden @ self.fc2.weight[e].T + self.fc2.bias[e]
        return out


class HierarchicalMoE(nn.Module):
    """Specialised, collaborative and shared experts (arXiv 2504.03166); *layout* has their numbers by pool."""

    def __init__(self, dim: int, hidden: int, layout: dict, routing: dict) -> None:  # type: ignore[type-arg]
        super().__init__()
        pools = {name: n for name, n in layout.items() if n and name != "shared" and " " not in name}
        self.experts = nn.ModuleDict({pool: ExpertPool(dim, hidden, n) for pool, n in pools.items()})
        self.routers = nn.ModuleDict()
        for pool, n in pools.items():
            about = routing["common" if pool == "collaborative" else "specialised"]
            closed = layout.get(f"{pool} closed", 0)
            self.routers[pool] = Router(dim, n, closed, about["k"], about["gate"])
        self.shared = Mlp(dim, layout["shared"] * hidden) if layout.get("shared") else None

    def forward(self, x: Tensor, sensor: str) -> Tensor:
        """[B, L, d] to the same."""
        tokens = x.flatten(0, 1)
        total = torch.zeros_like(tokens) if self.shared is None else self.shared(tokens)
        for pool in ("collaborative", sensor):
            if pool in self.experts:
                total = total + self.experts[pool](tokens, self.routers[pool](tokens))
        return total.reshape(-1, *sizes(x))


class MixtureBlock(nn.Module):
    def __init__(self, dim: int, num_heads: int, ffn: nn.Module) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, 1e-6), nn.LayerNorm(dim, 1e-6)
        self.attn, self.ffn = Attention(dim, num_heads), ffn

    def forward(self, x: Tensor, sensor: str) -> Tensor:
        """[B, h, w, d] to the same."""
        tokens = x.flatten(1, 2)
        tokens = tokens + self.attn(self.norm1(tokens))
        out: Tensor = (tokens + self.ffn(self.norm2(tokens), sensor)).reshape(-1, *sizes(x))
        return out


class WindowAttention(nn.Module):
    """Attention within windows: Swin's, or Swin V2's with *cosine*."""

    def __init__(self, dim: int, num_heads: int, window: int, cosine: bool) -> None:
        super().__init__()
        self.num_heads, self.window, self.cosine = num_heads, window, cosine
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        side = 2 * window - 1
        if cosine:
            self.temperature = nn.Parameter(torch.zeros(num_heads, 1, 1))
            self.bias_mlp = nn.Sequential(nn.Linear(2, 512), nn.ReLU(), nn.Linear(512, num_heads, bias=False))
        else:
            self.bias_table = nn.Parameter(torch.zeros(side * side, num_heads))

    def forward(self, x: Tensor, apart: Tensor | None) -> Tensor:
        """[B, n, w², d] to the same; *apart* [n, w², w²] is True where a token must not look."""
        windows, length, dim = sizes(x)
        qkv = self.qkv(x).reshape(-1, windows, length, 3, self.num_heads, dim // self.num_heads)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).unbind(0)  # [B, n, heads, w², d / heads]
        if self.cosine:
            q, k = (
                F.normalize(q, dim=-1) * self.temperature.clamp(max=4.605170186).exp(),
                F.normalize(k, dim=-1),
            )
        else:
            q = q * (dim // self.num_heads) ** -0.5
        scores = q @ k.transpose(-2, -1) + self._bias()
        if apart is not None:
            scores = scores.masked_fill(apart[:, None], float("-inf"))
        mixed = (scores.softmax(-1) @ v).transpose(2, 3)  # [B, n, w², heads, d / heads]
        out: Tensor = self.proj(mixed.reshape(-1, windows, length, dim))
        return out

    def _bias(self) -> Tensor:
        w = self.window
        place = torch.arange(w)
        y, x = place.repeat_interleave(w), place.repeat(w)
        down, right = y[:, None] - y + w - 1, x[:, None] - x + w - 1
        if self.cosine:
            offsets = torch.arange(1 - w, w, dtype=torch.float32) / max(w - 1, 1)
            spaced = offsets.sign() * torch.log2(1 + 8 * offsets.abs()) / 3
            table = 16 * self.bias_mlp(torch.cartesian_prod(spaced, spaced).to(self.qkv.weight)).sigmoid()
        else:
            table = self.bias_table
        bias: Tensor = table[down * (2 * w - 1) + right].permute(2, 0, 1)
        return bias


class SwinBlock(nn.Module):
    def __init__(
        self, dim: int, num_heads: int, window: int, shift: int, cosine: bool, ffn: nn.Module
    ) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.attn = WindowAttention(dim, num_heads, window, cosine)
        self.norm1, self.norm2, self.ffn = nn.LayerNorm(dim), nn.LayerNorm(dim), ffn

    def forward(self, x: Tensor, sensor: str) -> Tensor:
        """[B, h, w, d] to the same, residual post-norm."""
        x = x + self.norm1(self._attend(x))
        y = self.ffn(x.flatten(1, 2), sensor)
        out: Tensor = x + self.norm2(y).reshape(-1, *sizes(x))
        return out

    def _attend(self, x: Tensor) -> Tensor:
        high, wide, dim = sizes(x)
        w, shift = self.window, self.shift if max(high, wide) > self.window else 0
        x = F.pad(x, (0, 0, 0, -wide % w, 0, -high % w)).roll((-shift, -shift), (1, 2))
        gy, gx = -(-high // w), -(-wide // w)
        windows = x.reshape(-1, gy, w, gx, w, dim).transpose(2, 3).reshape(-1, gy * gx, w * w, dim)
        y = self.attn(windows, regions_apart(high, wide, w, shift))
        y = y.reshape(-1, gy, gx, w, w, dim).transpose(2, 3).reshape(-1, gy * w, gx * w, dim)
        inside: Tensor = y.roll((shift, shift), (1, 2))[:, :high, :wide]
        return inside


class PatchMerging(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction, self.norm = nn.Linear(4 * dim, 2 * dim, bias=False), nn.LayerNorm(2 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, h, w, d] to [B, ⌈h/2⌉, ⌈w/2⌉, 2d]."""
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        out: Tensor = self.norm(
            self.reduction(torch.cat([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], -1))
        )
        return out


def sizes(x: Tensor) -> list[int]:
    """All sizes but the batch's, as numbers, so that an ONNX graph leaves the batch alone open."""
    return [int(n) for n in x.shape[1:]]


def regions_apart(high: int, wide: int, window: int, shift: int) -> Tensor | None:
    """Which tokens of each window are no neighbours in the map: [n, w², w²]; None where all are."""
    rows, columns = high + -high % window, wide + -wide % window
    if not shift and (rows, columns) == (high, wide):
        return None

    def label(side: int, real: int) -> Tensor:
        place = torch.arange(side)
        wrapped = (place >= side - shift).long() if shift else torch.zeros_like(place)
        return wrapped + 2 * ((place + shift) % side >= real).long()

    labels = 4 * label(rows, high)[:, None] + label(columns, wide)
    cut = labels.reshape(rows // window, window, columns // window, window).transpose(1, 2)
    flat = cut.reshape(-1, window * window)
    return flat[:, :, None] != flat[:, None, :]


class PatchEmbed(nn.Module):
    def __init__(self, channels: int, patch: int, dim: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Linear(channels * patch * patch, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, c, H, W] to [B, N, d]."""
        batch, channels, height, width = x.shape
        p = self.patch
        grid = x.reshape(batch, channels, height // p, p, width // p, p).permute(0, 2, 4, 1, 3, 5)
        out: Tensor = self.proj(grid.reshape(batch, -1, channels * p * p))
        return out


class Encoder(nn.Module):
    """What all encoders have in common; *config* is the content of config.json.

    A kind of its own defines `_encode` and, for pyramids, `levels`: channels and reduction of each map that it yields.
    """

    levels: list[tuple[int, int]]

    def __init__(self, config: dict) -> None:  # type: ignore[type-arg]
        super().__init__()
        self.config, self.patch_size = config, config["model"]["patch_size"]
        self.sensors = {s["prefix"]: s for s in config["sensors"]}
        for name, about in self.sensors.items():
            for key in ("mean", "std"):
                self.register_buffer(
                    f"{key}_{name}", torch.zeros(len(about["bands"]), 1, 1), persistent=False
                )
        self.set_statistics()

    def set_statistics(self) -> None:
        """Take mean and deviation from the configuration."""
        for name, s in self.sensors.items():
            for key, least in (("mean", None), ("std", 1e-12)):
                values = torch.tensor(s[key]).view(-1, 1, 1)
                buffer = getattr(self, f"{key}_{name}")
                if not buffer.is_meta:
                    buffer.copy_(values if least is None else values.clamp(min=least))

    def forward(self, images: dict[str, Tensor]) -> dict[str, Tensor]:
        """Features [B, D] by sensor of physical values [B, bands, H, W] by sensor."""
        return {s: self._pool(self._encode(s, self.normalise(s, x))) for s, x in images.items()}

    encode = forward

    def encode_tokens(self, images: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tokens [B, N, D] by sensor, in raster order."""
        return {s: self._tokens(self._encode(s, self.normalise(s, x))) for s, x in images.items()}

    def normalise(self, sensor: str, x: Tensor) -> Tensor:
        """Physical values as zero mean and unit deviation; NaN becomes 0.

        Raises:
            ValueError: wrong number of bands, a size that patches do not divide, or numbers in another unit.
        """
        about = self.sensors[sensor]
        if x.shape[1] != len(about["bands"]):
            raise ValueError(
                f"{sensor} has {x.shape[1]} bands; the model reads {', '.join(about['bands'])}, in order"
            )
        if x.shape[2] % self.patch_size or x.shape[3] % self.patch_size:
            raise ValueError(f"{tuple(x.shape[2:])} px is no multiple of the patch, {self.patch_size} px")
        z: Tensor = ((x - getattr(self, f"mean_{sensor}")) / getattr(self, f"std_{sensor}")).nan_to_num()
        traced = torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export()
        if not traced and float(z.mean((0, 2, 3)).abs().max()) > FAR:
            raise ValueError(f"Values of {sensor} are not in {about['unit']}: convert digital numbers first")
        return z

    def _encode(self, sensor: str, x: Tensor, taken: list | None = None) -> Tensor:  # type: ignore[type-arg]
        """Normalised images to what `_tokens` and `_pool` take; the maps of `levels` are put into *taken*."""
        raise NotImplementedError

    def _tokens(self, z: Tensor) -> Tensor:
        raise NotImplementedError

    def _pool(self, z: Tensor) -> Tensor:
        raise NotImplementedError


class CSMoE(Encoder):
    """The encoders of all sensors, and the cross-sensor encoder."""

    def __init__(self, config: dict) -> None:  # type: ignore[type-arg]
        super().__init__(config)
        c = config["model"]
        dim, heads, self.pool = c["embed_dim"], c["num_heads"], c["pool"]
        names, own, depth = [*self.sensors], c["specific_depth"], c["specific_depth"] + c["shared_depth"]

        def blocks(numbers: range) -> nn.Sequential:
            return nn.Sequential(*(Block(dim, heads, mlp(*config["mixtures"][i])) for i in numbers))

        def mlp(experts: int, slots: int) -> nn.Module:
            hidden = c["mlp_ratio"] * dim
            return SoftMoE(dim, hidden, experts, slots) if experts else Mlp(dim, hidden)

        def norm(there: bool) -> nn.Module:
            return nn.LayerNorm(dim, 1e-6) if there else nn.Identity()

        bands = {name: len(s["bands"]) for name, s in self.sensors.items()}
        self.embed = nn.ModuleDict({s: PatchEmbed(bands[s], self.patch_size, dim) for s in names})
        self.cls_token = nn.ParameterDict({s: nn.Parameter(torch.zeros(1, 1, dim)) for s in names})
        self.specific = nn.ModuleDict({s: blocks(range(own)) for s in names})
        self.specific_norm = nn.ModuleDict({s: norm(own > 0) for s in names})
        self.shared, self.norm = blocks(range(own, depth)), norm(True)
        self.fc_norm = norm(self.pool == "avg")
        self.levels = [(dim, self.patch_size)] * depth

    def _encode(self, sensor: str, x: Tensor, taken: list | None = None) -> Tensor:  # type: ignore[type-arg]
        rows, columns = x.shape[2] // self.patch_size, x.shape[3] // self.patch_size

        def through(blocks: nn.Module, z: Tensor) -> Tensor:
            for block in blocks.children():
                z = block(z)
                if taken is not None:
                    taken.append(z[:, 1:].transpose(1, 2).reshape(len(z), -1, rows, columns))
            return z

        tokens = self.embed[sensor](x)
        tokens = tokens + positions(rows, columns, tokens.shape[2]).to(tokens)
        z = torch.cat([self.cls_token[sensor].expand(x.shape[0], -1, -1), tokens], 1)
        z = self.specific_norm[sensor](through(self.specific[sensor], z))
        out: Tensor = self.norm(through(self.shared, z))
        return out

    def _tokens(self, z: Tensor) -> Tensor:
        return z[:, 1:]

    def _pool(self, z: Tensor) -> Tensor:
        out: Tensor = self.fc_norm(z[:, 1:].mean(1) if self.pool == "avg" else z[:, 0])
        return out


class RingMoE(Encoder):
    """Every sensor's embedding, and the backbone that all sensors pass."""

    def __init__(self, config: dict) -> None:  # type: ignore[type-arg]
        super().__init__(config)
        c = config["model"]
        dim, depths, heads = c["embed_dim"], c["depths"], c["heads"]
        bands = {name: len(s["bands"]) for name, s in self.sensors.items()}
        self.embed = nn.ModuleDict({s: PatchEmbed(n, self.patch_size, dim) for s, n in bands.items()})
        self.embed_norm = nn.LayerNorm(dim)
        self.swin = c["backbone"] == "swin"
        grid = c["image_size"] // self.patch_size

        def ffn(block: int, width: int) -> HierarchicalMoE:
            return HierarchicalMoE(width, c["mlp_ratio"] * width, config["layout"][block], config["routing"])

        if self.swin:
            stages = nn.ModuleList()
            for i, depth in enumerate(depths):
                side, blocks = min(c["window"], -(-grid // 2**i)), nn.ModuleList()
                for j in range(depth):
                    shift = side // 2 if j % 2 and grid / 2**i > side else 0
                    mixture = ffn(sum(depths[:i]) + j, dim * 2**i)
                    blocks.append(SwinBlock(dim * 2**i, heads[i], side, shift, c["cosine"], mixture))
                stages.append(blocks)
            merges = nn.ModuleList(PatchMerging(dim * 2**i) for i in range(len(depths) - 1))
            self.backbone = nn.ModuleDict({"stages": stages, "merges": merges})
            self.levels = [(dim * 2**i, self.patch_size * 2**i) for i in range(len(depths))]
        else:
            blocks = nn.ModuleList(MixtureBlock(dim, heads[0], ffn(i, dim)) for i in range(depths[0]))
            self.backbone = nn.ModuleDict({"blocks": blocks})
            self.levels = [(dim, self.patch_size)] * depths[0]
        self.norm = nn.LayerNorm(dim * 2 ** (len(depths) - 1))

    def _encode(self, sensor: str, x: Tensor, taken: list | None = None) -> Tensor:  # type: ignore[type-arg]
        rows, columns = x.shape[2] // self.patch_size, x.shape[3] // self.patch_size
        z = self.embed_norm(self.embed[sensor](x))
        z = z if self.swin else z + positions(rows, columns, z.shape[2]).to(z)
        z = z.unflatten(1, (rows, columns))
        if self.swin:
            stages = [[*stage.children()] for stage in self.backbone["stages"].children()]
            merges = [*self.backbone["merges"].children()]
        else:
            stages, merges = [[block] for block in self.backbone["blocks"].children()], []
        for i, stage in enumerate(stages):
            for block in stage:
                z = block(z, sensor)
            if taken is not None:
                taken.append(z.permute(0, 3, 1, 2))
            z = merges[i](z) if i < len(merges) else z
        out: Tensor = self.norm(z)
        return out

    def _tokens(self, z: Tensor) -> Tensor:
        return z.flatten(1, 2)

    def _pool(self, z: Tensor) -> Tensor:
        return z.flatten(1, 2).mean(1)


class FeaturePyramid(nn.Module):
    """Maps of one sensor from the encoder, finest first; timm's `features_only` in use.

    A Swin has a map for each stage. A plain transformer has one resolution; as in ViTDet (arXiv 2203.16527) the levels
    are made from the maps of some of its blocks.
    """

    def __init__(self, encoder: Encoder, sensor: str, out_indices: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.encoder, self.sensor = encoder, sensor
        levels, depth = encoder.levels, len(encoder.levels)
        plain = len({reduction for _, reduction in levels}) == 1
        every = tuple(round((i + 1) * depth / 4) - 1 for i in range(4)) if plain else tuple(range(depth))
        self.out_indices = out_indices or every
        self.factors = [
            2.0 ** (2 - i) if plain else 1.0 for i in range(len(self.out_indices))
        ]  # 4, 2, 1, 1/2
        self.feature_info = [
            {
                "num_chs": levels[i][0],
                "reduction": levels[i][1] / f,
                "module": f"{'block' if plain else 'stage'}{i}",
            }
            for i, f in zip(self.out_indices, self.factors, strict=True)
        ]

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, bands, H, W] to a list of maps [B, D, h, w], finest first."""
        taken: list[Tensor] = []
        self.encoder._encode(self.sensor, self.encoder.normalise(self.sensor, x), taken)
        maps = []
        for index, factor in zip(self.out_indices, self.factors, strict=True):
            z = taken[index]
            if factor != 1.0:
                size = [max(1, round(n * factor)) for n in z.shape[2:]]
                z = F.interpolate(z, size, mode="bilinear", align_corners=False)
            maps.append(z)
        return maps


def unit(x: Tensor, dim: int) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x, dim=dim, keepdim=True)
    return x / (length + 1e-6)


def positions(rows: int, columns: int, dim: int) -> Tensor:
    """Fixed sine-cosine positions [rows·columns, dim]: columns in the first half of it, rows in the second."""
    w = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))

    def axis(n: int) -> Tensor:
        angle = torch.arange(n, dtype=torch.float64)[:, None] * w
        return torch.cat([angle.sin(), angle.cos()], 1)

    x, y = axis(columns)[None].expand(rows, -1, -1), axis(rows)[:, None].expand(-1, columns, -1)
    return torch.cat([x, y], 2).reshape(rows * columns, dim).float()


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, without the package of that name."""
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    found = {}
    for name, about in header.items():
        if name != "__metadata__":
            start, stop = (8 + length + n for n in about["data_offsets"])
            flat = torch.frombuffer(data[start:stop], dtype=DTYPES[about["dtype"]])
            found[name] = flat.reshape(about["shape"]).clone()
    return found


def encoder_of(config: dict) -> Encoder:  # type: ignore[type-arg]
    """The encoder that *config* describes, without weights."""
    return {"csmoe": CSMoE, "ringmoe": RingMoE}[config["model_type"]](config)


def load(
    folder: str | Path,
    features_only: bool = False,
    sensor: str = "",
    out_indices: tuple[int, ...] | None = None,
) -> nn.Module:
    """The encoder in *folder*, in evaluation mode; with *features_only* its pyramid for one *sensor*."""
    folder = Path(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    encoder = encoder_of(config)
    weights = read_safetensors(folder / "model.safetensors")
    encoder.load_state_dict({name.removeprefix("encoder."): value for name, value in weights.items()})
    encoder.eval()
    if not features_only:
        return encoder
    return FeaturePyramid(encoder, sensor or next(iter(encoder.sensors)), out_indices).eval()
