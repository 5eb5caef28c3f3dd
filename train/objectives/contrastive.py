"""Mutual-information maximisation between the sensors' features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def nt_xent(first: Tensor, second: Tensor, tau: float = 0.5) -> Tensor:
    """NT-Xent of paired features [B, D] (SimCLR, arXiv 2002.05709, equation 1): CSMAE's L_MIM.

    Rows are L2-normalised; the 2B - 1 other rows of both sensors are the candidates, so negatives include
    images of the same sensor. Cross-entropy subtracts the row's maximum, so small *tau* does not overflow.
    """
    precise = torch.promote_types(first.dtype, torch.float32)
    z = F.normalize(torch.cat([first, second]).to(precise), dim=1)  # [2B, D]
    similarity = z @ z.T / tau  # [2B, 2B]
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    partner = torch.arange(len(z), device=z.device).roll(len(first))
    return F.cross_entropy(similarity.masked_fill(itself, -torch.inf), partner)
