"""Host memory for batches, used again once nobody looks at it: fresh pages would cost as much as the copy."""

from __future__ import annotations

import weakref
from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

KEPT = 8  # buffers of one shape that lie ready at most


class Buffers:
    """Tensors without content, [B, c, H, W] and the like.

    Page-locked ones come from torch, which knows when a copy to the device has ended.
    """

    def __init__(self, pinned: bool = False) -> None:
        self.pinned = pinned
        self._free: defaultdict[tuple[tuple[int, ...], str], list[npt.NDArray[Any]]] = defaultdict(list)

    def take(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Tensor:
        """A tensor whose memory comes back here when its last view is gone."""
        if self.pinned:
            kind = torch.from_numpy(np.empty(0, dtype)).dtype
            return torch.empty(shape, dtype=kind, pin_memory=True)
        free = self._free[shape, dtype.str]
        try:
            memory = free.pop()
        except IndexError:
            memory = np.empty(shape, dtype)
        lent = memory.view()  # the tensor's storage, and so every view of it, keeps this object alive
        weakref.finalize(lent, _give_back, free, memory).atexit = False
        return torch.from_numpy(lent)


def _give_back(free: list[npt.NDArray[Any]], memory: npt.NDArray[Any]) -> None:
    if len(free) < KEPT:
        free.append(memory)
