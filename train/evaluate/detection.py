"""Objects as points (CenterNet, Zhou et al. 2019, arXiv 1904.07850): a head on a feature pyramid, and its scores.

The head predicts a map of centres at a fine stride, and at each centre its offset within the cell and the box's size.
Peaks of the map are the detections; no boxes compete, so none have to be suppressed but equal neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.evaluate.heads import Pyramid, as_large, block
from train.evaluate.objects import Boxes, Floats, iou

STRIDE_PX = 4  # of the map of centres; small objects have at least a cell
SIGMA = 0.15  # of the Gaussian around a centre, in sides of the box
SIZE_WEIGHT, OFFSET_WEIGHT = 0.1, 1.0
KEPT = 20  # detections an image
THRESHOLDS = np.arange(0.5, 0.96, 0.05)


class CentreHead(nn.Module):
    """From maps [B, width, g, g] to centres, sizes and offsets [B, 5, cells, cells]."""

    def __init__(self, width: int, size_px: int, channels: int = 64) -> None:
        super().__init__()
        self.cells = -(-size_px // STRIDE_PX)
        self.levels = Pyramid(width, channels)
        self.refine = nn.Sequential(block(channels, channels), block(channels, channels))
        self.out = nn.Conv2d(channels, 5, 1)
        nn.init.zeros_(self.out.weight)
        start = [-3.0, 2.0, 2.0, 0.5, 0.5]  # few centres; sizes are exp
        self.out.bias = nn.Parameter(torch.tensor(start))

    def forward(self, maps: Tensor) -> Tensor:
        levels = self.levels(maps)
        for i in range(len(levels) - 2, -1, -1):
            levels[i] = levels[i] + as_large(levels[i + 1], levels[i])
        fine = F.interpolate(levels[0], (self.cells, self.cells), mode="bilinear", align_corners=False)
        out: Tensor = self.out(self.refine(fine))
        return out


def centre_loss(predicted: Tensor, boxes: Boxes) -> Tensor:
    """Focal loss of the centres' map, and L1 of log sizes and offsets at the centres."""
    n, _, cells, _ = predicted.shape
    device = predicted.device
    corners = torch.as_tensor(boxes.corners, dtype=torch.float32, device=device) / STRIDE_PX
    there = torch.as_tensor(boxes.there, device=device)
    centre, size = (corners[..., :2] + corners[..., 2:]) / 2, corners[..., 2:] - corners[..., :2]
    cell = centre.floor().clamp(0, cells - 1).long()  # [n, k, (x, y)]
    x = torch.arange(cells, device=device, dtype=torch.float32)
    far = (x - cell[..., 0, None]) ** 2 / (2 * (SIGMA * size[..., 0, None]).clamp(min=0.3) ** 2)
    low = (x - cell[..., 1, None]) ** 2 / (2 * (SIGMA * size[..., 1, None]).clamp(min=0.3) ** 2)
    heat = (
        torch.exp(-(low[..., :, None] + far[..., None, :])) * there[..., None, None]
    )  # [n, k, cells, cells]
    heat = heat.amax(1)
    logit = predicted[:, 0]
    p = logit.sigmoid()
    hit = heat > 0.999
    positive = -((1 - p) ** 2) * F.logsigmoid(logit) * hit
    negative = -((1 - heat) ** 4) * p**2 * F.logsigmoid(-logit) * ~hit
    number = there.sum().clamp(min=1)
    image = torch.arange(n, device=device)[:, None].expand_as(there)[there]
    at = predicted[image, :, cell[there][:, 1], cell[there][:, 0]]  # [objects, 5]
    sizes = (at[:, 1:3] - size[there].mul(STRIDE_PX).log()).abs().sum()
    offsets = (at[:, 3:] - (centre - cell)[there]).abs().sum()
    return (positive.sum() + negative.sum() + SIZE_WEIGHT * sizes + OFFSET_WEIGHT * offsets) / number


@dataclass(frozen=True)
class Detections:
    """The most likely boxes of each image: corners in pixels [n, KEPT, 4], and scores [n, KEPT], falling."""

    corners: Floats
    scores: Floats


def decode(predicted: Tensor) -> Detections:
    """Peaks of the centres' map as boxes."""
    cells = predicted.shape[2]
    heat = predicted[:, 0].sigmoid()
    peak = heat * (F.max_pool2d(heat[:, None], 3, stride=1, padding=1)[:, 0] == heat)
    scores, flat = peak.flatten(1).topk(min(KEPT, cells**2))
    at = predicted.flatten(2).gather(2, flat[:, None].expand(-1, 5, -1)).transpose(1, 2)  # [n, KEPT, 5]
    cell = torch.stack([flat % cells, flat // cells], 2)
    centre = (cell + at[..., 3:]) * STRIDE_PX
    size = at[..., 1:3].clamp(max=6).exp()
    corners = torch.cat([centre - size / 2, centre + size / 2], 2)
    return Detections(corners.float().cpu().numpy(), scores.float().cpu().numpy())


def matched(found: Detections, boxes: Boxes, threshold: float) -> npt.NDArray[np.bool_]:
    """Which detections meet an object of their image, each object by the most likely one alone: [n, kept]."""
    overlap = iou(found.corners, boxes.corners) * boxes.there[:, None]  # [n, kept, MOST]
    free, image = boxes.there.copy(), np.arange(len(overlap))
    hits = np.zeros(found.scores.shape, bool)
    for rank in range(found.scores.shape[1]):  # from the most likely on
        here = np.where(free, overlap[:, rank], -1)
        best = here.argmax(1)
        hits[:, rank] = here[image, best] >= threshold
        free[image, best] &= ~hits[:, rank]
    return hits
