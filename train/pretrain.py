"""From a catalog to a trained, probed model: what `train csmoe` does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from curate.catalog import Catalog, InputError
from curate.catalog.files import sweep, write_text
from train import report
from train.checkpoint import CHECKPOINTS, WEIGHTS, read_checkpoint, save_weights
from train.data import Chips, open_catalog
from train.distributed import Ranks, ranks
from train.evaluate.probe import probe
from train.evaluate.routing import routing
from train.journal import Journal
from train.kinds import Pretraining, Rows, kind_of
from train.loggers import open_loggers
from train.loop import Run, train
from train.optimise import TrainConfig
from train.plan import Plan, planned, resumed
from train.runfolder import CONFIG, PROBE, SUMMARY, claim, clear, origin, run_name, write_origin
from train.settings import settings_of
from train.terminal import Shown

ENOUGH_QUERIES = 1000


def pretrain(
    given: Mapping[str, Any],
    resume: bool = False,
    overwrite: bool = False,
    say: Callable[[object], None] = print,
) -> Path:
    """Train, save, validate and probe; the run's folder.

    Args:
        given: settings as nested mappings, those of `Settings` and its sections; what is missing is chosen.
        say: takes the lines and tables that a person should see.

    Raises:
        InputError: the catalog or a setting does not do, or the run's folder is taken.
        RunError: a loss was not finite.
    """
    settings = settings_of(given)
    if not settings.catalog:
        raise InputError("No catalog is given", do="Name one with --catalog, or in the configuration")
    with ranks(settings.device) as among:
        catalog = open_catalog(settings.catalog, settings.cache, settings.cache_gb)
        name = settings.preset or kind_of(settings.kind).default_preset(among.device.type == "cuda")
        seed = settings.train.get("seed", 0)
        of = PurePosixPath(settings.catalog.partition("?")[0]).stem
        folder = Path(settings.out or f"runs/{settings.kind}-{of}-{name}-s{seed}")
        among.first(lambda: claim(folder, resume, overwrite))
        state = read_checkpoint(folder) if resume else None
        plan = resumed(state, settings, given, catalog, among) if state else planned(settings, catalog, among)
        return run(plan, catalog, folder, state, among, say if among.writes else silent)


def run(
    plan: Plan,
    catalog: Catalog,
    folder: Path,
    state: Mapping[str, Any] | None,
    among: Ranks,
    say: Callable[[object], None],
) -> Path:
    """Carry *plan* out in *folder*, from *state* on where there is one."""
    config, data = plan.train, plan.data
    chips, validation = Chips(catalog, data, "train"), Chips(catalog, data, "val")
    marks: dict[str, Any] = {
        "kind": plan.kind.name,
        "preset": plan.preset,
        "model_config": plan.model.to_json(),
        "data": data.to_json(),
        "train": config.to_json(),
        "settings": asdict(plan.settings),
        "train_chips": chips.digest(),
    }
    if state and state["train_chips"] != marks["train_chips"]:
        raise InputError(
            f"Run {folder} cannot be resumed",
            f"the training chips of {catalog.path} are no longer those it was trained on",
            "Start anew with --overwrite or another --out",
        )
    pretraining = plan.kind.pretraining(plan.kind.untrained(plan.model, config.seed).to(among.device), config)
    drawable(pretraining, config)
    say(report.heading(catalog, plan, chips, validation, pretraining, among))
    journal = Journal(
        folder, config.log_every, (*pretraining.names, "grad_norm"), pretraining.followed, among
    )
    among.first(lambda: open_folder(folder, plan, catalog, journal, state, among, marks["train_chips"]))
    try:
        task = Run(
            pretraining,
            data,
            chips,
            validation,
            config,
            folder,
            among,
            plan.execution,
            plan.settings.parallel,
            plan.settings.workers,
            marks,
        )
        step = train(task, journal, state)
        weights = save_weights(folder / WEIGHTS, pretraining.model, data, config, step, among)
        if step < config.steps:
            say(report.stopped(folder, step, config.steps))
            return folder
        summary: dict[str, Any] = {
            "steps": step,
            "simulated": data.simulated,
            pretraining.followed: ends(journal),
        }
        say(report.fall(pretraining.followed, ends(journal)))
        if plan.settings.probe:
            summary["routing"] = measure(plan, pretraining.model, catalog, chips, folder, journal, say)
    finally:
        journal.close()
    if among.writes:
        write_text(folder / SUMMARY, json.dumps(summary, indent=1) + "\n")
    say(Shown(report.ending(weights), {"run": str(folder), **summary}))
    return folder


def drawable(pretraining: Pretraining, config: TrainConfig) -> None:
    """Refuse a share of hidden patches that leaves a sensor with none or all of them.

    Raises:
        InputError: the masks of a step cannot be drawn.
    """
    try:
        pretraining.masks(Rows(0, 0, 1, 1))
    except ValueError as error:
        raise InputError(
            f"{config.masking} masks of {config.mask_ratio:.0%} cannot be drawn",
            str(error),
            "Choose another --mask-ratio",
        ) from error


def open_folder(
    folder: Path,
    plan: Plan,
    catalog: Catalog,
    journal: Journal,
    state: Mapping[str, Any] | None,
    among: Ranks,
    chips: str,
) -> None:
    """Make the folder ready for a start; from here on the run in it is not finished. Rank 0 calls this."""
    if state is None:
        clear(folder)
    for each in (folder, folder / CHECKPOINTS):
        sweep(each)  # what a killed run was writing
    step = state["step"] if state else 0
    (folder / SUMMARY).unlink(missing_ok=True)
    write_text(folder / CONFIG, plan.settings.to_yaml())
    about = {
        "path": plan.settings.catalog,
        "region": catalog.meta.region,
        "recipe_hash": catalog.meta.recipe_hash,
        "train_chips": chips,
    }
    write_origin(folder, {"step": step, **origin(among, about)})
    journal.forget_after(step)
    settings = asdict(plan.settings)
    journal.loggers = open_loggers(plan.settings.loggers, folder, run_name(folder), settings, step)


def measure(
    plan: Plan,
    model: Any,
    catalog: Catalog,
    chips: Chips,
    folder: Path,
    journal: Journal,
    say: Callable[[object], None],
) -> dict[str, dict[str, float]]:
    """Probe the features; how the layers route.

    Queries are the chips held out from training: the test split where it is large enough to tell anything, else
    it and the validation split together.
    """
    device: torch.device = next(model.parameters()).device
    config, data = plan.train, plan.data
    model.eval()
    queries = Chips(catalog, data, "test")
    if len(queries) < ENOUGH_QUERIES:
        queries = Chips(catalog, data, "val+test")
    baseline = plan.kind.untrained(plan.model, config.seed).to(device).eval()
    probes = probe(model, baseline, chips, queries, config.seed)
    fields = {"simulated": data.simulated, "probes": [p.to_json() for p in probes]}
    if journal.ranks.writes:
        write_text(folder / PROBE, json.dumps(fields, indent=1) + "\n")
    for each in probes:
        say(report.table(each, data.simulated))
    layers = routing(model, chips)
    journal.write("routing", step=config.steps, layers=layers)
    if layers:
        slots = max(experts * each for experts, each in model.config.mixtures)
        say(report.routing_line(layers, model.config.tokens + 1, slots))
    return layers


def ends(journal: Journal) -> dict[str, float]:
    """Mean of the followed loss over the first steps and the last, and how far it fell."""
    first, last = (sum(values) / max(len(values), 1) for values in (journal.first, journal.last))
    return {
        "first": first,
        "last": last,
        "steps": len(journal.first),
        "fall": 1 - last / first if first else 0.0,
    }


def silent(_: object) -> None:
    """Say nothing: one rank speaks for all."""
