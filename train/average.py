"""An exponential moving average of a model's parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from train.distributed import let_go, like, local, whole


class Average:
    """ā ← decay · ā + (1 - decay) · parameters, from the parameters at the start; ranks average their shares.

    Args:
        decay: between 0 and 1; 0.999 looks back about a thousand steps.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self._model = decay, model
        self._parameters = dict(model.named_parameters())
        self._mean = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the parameters in, after a step."""
        mean = [local(value) for value in self._mean.values()]
        now = [local(p.detach()) for p in self._parameters.values()]
        torch._foreach_lerp_(mean, now, 1 - self.decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model with averaged parameters while the block runs."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self._parameters.items():
            kept = local(parameter.detach()).clone()
            local(parameter.detach()).copy_(local(self._mean[name]))
            local(self._mean[name]).copy_(kept)
        let_go(self._model)

    def hand_over(self) -> None:
        """Leave the averages in the model for good."""
        self._swap()

    def state(self) -> dict[str, Tensor]:
        """Whole averages on the CPU; all ranks call this."""
        return {name: whole(value) for name, value in self._mean.items()}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave."""
        for name, value in self._mean.items():
            value.copy_(like(state[name], value))
