"""How a model does on the validation split while it trains: its losses, and a kNN probe of its features."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from train.data import Chips, DataConfig
from train.distributed import Ranks
from train.evaluate.embed import ALL, embed
from train.evaluate.knn import knn, score
from train.evaluate.probe import MIN_BANK, MIN_QUERIES, K, labels_of
from train.execution import Execution
from train.kinds import Pretraining, Rows
from train.loader import in_order
from train.optimise import TrainConfig

BANK, QUERIES = 2000, 1000  # chips, a seeded draw


@torch.no_grad()
def validate(
    learner: nn.Module,
    pretraining: Pretraining,
    data: DataConfig,
    chips: Chips,
    config: TrainConfig,
    execution: Execution,
    among: Ranks,
) -> dict[str, float]:
    """Mean losses over the first batches of *chips*, with masks that are the same each time; {} without any.

    Each rank takes its rows of each batch; what cannot be shared evenly is left out, and `chips` says how many
    were taken.
    """
    total, seen = torch.zeros(len(pretraining.names), device=among.device), 0
    pretraining.eval()
    for batch in in_order(chips, config.batch_size // config.accumulate):
        if batch.step == config.validation_batches:
            break
        share = len(batch.chips) // among.world
        if not share:
            continue
        start, count = among.rank * share, among.world * share
        images, present = batch.part(start, start + share).on(among.device, data)
        with execution.autocast(among.device):
            losses = learner(images, present, Rows(batch.step, start, start + share, count))
        total += torch.stack([losses[name].detach().float() for name in pretraining.names]) * count
        seen += count
    pretraining.train()
    if not seen:
        return {}
    means: list[float] = (among.mean(total) / seen).tolist()
    return {**dict(zip(pretraining.names, means, strict=True)), "chips": seen}


def watch(pretraining: Pretraining, chips: Chips, validation: Chips, seed: int) -> dict[str, float]:
    """Accuracy and macro F1 of a kNN probe, by label: chips of train vote on chips of the validation split.

    All ranks compute the same, side by side, since ranks that hold shares of a model can only run it together.
    Labels with too few chips or one class only are left out.
    """
    bank, queries = chips.some(BANK, seed).complete(), validation.some(QUERIES, seed).complete()
    asked, known = labels_of(queries), labels_of(bank)
    fit = [name for name in known if _usable(known[name], MIN_BANK) and _usable(asked[name], MIN_QUERIES)]
    if not fit:
        return {}
    inside, outside = (embed(pretraining.model, each)[ALL] for each in (bank, queries))
    pretraining.train()
    found: dict[str, float] = {}
    for name in fit:
        here, there = (values != None for values in (known[name], asked[name]))  # noqa: E711
        _, coded = np.unique(
            np.concatenate([known[name][here], asked[name][there]]).astype(str), return_inverse=True
        )
        votes, truth = coded[: here.sum()], coded[here.sum() :]
        device = next(pretraining.parameters()).device
        guessed = knn(inside[here], votes, outside[there], min(K, len(votes)), device=device)
        places = queries.columns["place"][there].astype(str)
        result = score(truth, guessed, places, draws=1, seed=seed)
        key = name.replace(" ", "_")
        found |= {f"{key}/accuracy": result.accuracy.value, f"{key}/macro_f1": result.macro_f1.value}
    return found


def _usable(values: np.ndarray, least: int) -> bool:
    labelled = values[values != None]  # noqa: E711
    return len(labelled) >= least and len(set(labelled.tolist())) > 1
