"""The processes of a run, as torchrun starts them, and how a model is spread over them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from curate.catalog import InputError, RunError
from train.execution import choose_device
from train.layers import BLOCKS
from train.layers.expert_parallel import divide_experts

if TYPE_CHECKING:
    from train.kinds import Pretraining

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run; every method but `writes` is called by all of them at the same point."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the ranks of a tensor on the device."""
        if self.world > 1:
            dist.all_reduce(values)
            values /= self.world
        return values

    def any(self, flag: bool) -> bool:
        """Whether *flag* is set on some rank; the device is not waited for."""
        if self.world == 1:
            return flag
        raised = torch.tensor(float(flag))  # on the CPU, so that gloo carries it
        dist.all_reduce(raised)
        return bool(raised > 0)

    def gathered(self, value: T) -> list[T]:
        """What all ranks have, by rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def first(self, work: Callable[[], T]) -> T:
        """What *work* gives on rank 0, on every rank; where it fails, rank 0 says why and all end."""
        if self.world == 1:
            return work()
        told: list[Any] = [None, None]
        failed: Exception | None = None
        if self.rank == 0:
            try:
                told[0] = work()
            except (InputError, RunError) as error:
                failed, told[1] = error, 2 if isinstance(error, InputError) else 1
        dist.broadcast_object_list(told)
        if failed is not None:
            raise failed
        if told[1] is not None:
            raise SystemExit(told[1])
        result: T = told[0]
        return result


@contextmanager
def ranks(device: str | None = None) -> Iterator[Ranks]:
    """The process group that torchrun's variables describe, or this process alone.

    Raises:
        InputError: there is no such device here.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks(choose_device(device))
        return
    cuda = choose_device(device).type == "cuda"
    place = choose_device(f"cuda:{os.environ['LOCAL_RANK']}" if cuda else "cpu")
    if cuda:
        torch.cuda.set_device(place)
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    try:
        yield Ranks(place, dist.get_rank(), world)
    finally:
        dist.destroy_process_group()


def spread(pretraining: Pretraining, among: Ranks, parallel: str) -> nn.Module:
    """What to call in *pretraining*'s place so that gradients are the mean over the ranks.

    `ddp` keeps a copy of the model on every rank; `fsdp` (FSDP2) a share of each block's parameters, gradients and
    moments, gathered while the block runs. `experts` is the same but for the experts of sparse mixtures, which stay on
    the ranks that hold them, and tokens travel there.

    Raises:
        InputError: `experts` for a model whose experts the ranks do not divide.
    """
    if among.world == 1:
        return pretraining
    pretraining.divide(dist.group.WORLD)
    if parallel == "ddp":
        devices = [among.device] if among.device.type == "cuda" else None
        return DistributedDataParallel(
            pretraining,
            device_ids=devices,
            gradient_as_bucket_view=True,
            broadcast_buffers=False,  # positions and the like, the same on all ranks from the start
            find_unused_parameters=pretraining.sparse,
        )
    model = pretraining.model
    mesh = dist.device_mesh.init_device_mesh(among.device.type, (among.world,))
    shared: dict[str, Any] = {"mesh": mesh}
    if parallel == "experts":
        shared["ignored_params"] = divide_experts(model, mesh)
        if not shared["ignored_params"]:
            raise InputError(
                f"--parallel experts: {among.world} ranks divide the experts of no pool",
                do="Choose another number of ranks, or --parallel fsdp",
            )
    for block in [module for module in model.modules() if isinstance(module, BLOCKS)]:
        fully_shard(block, **shared)
    fully_shard(model, **shared)
    for method in ("encode", "encode_tokens"):
        register_fsdp_forward_method(model, method)
    return pretraining


def unsynchronised(learner: nn.Module, last: bool) -> AbstractContextManager[None]:
    """Leave the exchange of gradients to the *last* of a step's passes, where copies are whole."""
    return learner.no_sync() if isinstance(learner, DistributedDataParallel) and not last else nullcontext()


def let_go(model: nn.Module) -> None:
    """Let ranks that hold shares of *model* forget what they gathered of it, since the shares have changed."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def local(tensor: Tensor) -> Tensor:
    """This rank's share of a parameter, with its storage; the parameter itself where it is whole."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def full(tensor: Tensor) -> Tensor:
    """A tensor gathered where ranks hold shares of it: then all of them call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """A tensor gathered and on the CPU."""
    return full(tensor).detach().cpu()


def like(tensor: Tensor, other: Tensor) -> Tensor:
    """A whole tensor laid out as *other* is."""
    if isinstance(other, DTensor) and tensor.shape == other.shape:
        return distribute_tensor(tensor.to(other.device), other.device_mesh, other.placements)
    return tensor


def whole_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state of tensors by name, whole and on the CPU."""
    return {name: whole(tensor) for name, tensor in state.items()}


def whole_optimiser(optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimiser's state with whole moments on the CPU, so that it fits any number of ranks."""
    state = optimiser.state_dict()
    moments = {
        key: {name: whole(value) if isinstance(value, Tensor) else value for name, value in values.items()}
        for key, values in state["state"].items()
    }
    return {"state": moments, "param_groups": state["param_groups"]}


def load_whole(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    weights: Mapping[str, Tensor],
    moments: Mapping[str, Any],
) -> None:
    """Put whole weights and moments into a model and its optimiser, however they are laid out."""
    current = model.state_dict()
    model.load_state_dict({name: like(tensor, current[name]) for name, tensor in weights.items()})
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    state = {
        key: {
            name: like(value, parameters[key]) if isinstance(value, Tensor) else value
            for name, value in values.items()
        }
        for key, values in moments["state"].items()
    }
    optimiser.load_state_dict({"state": state, "param_groups": moments["param_groups"]})
