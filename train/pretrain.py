"""From a catalog to a trained, probed model: what `train csmoe` does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curate.catalog import Catalog, InputError
from curate.catalog.files import sweep, write_text
from train import report
from train.checkpoint import CHECKPOINT, WEIGHTS, read_checkpoint, save_weights
from train.data import Chips, DataConfig, open_catalog
from train.evaluate.probe import probe
from train.evaluate.routing import routing
from train.execution import choose_device
from train.journal import LOG, Journal
from train.kinds import Kind, kind_of
from train.loop import train
from train.models.base import Config, Model
from train.optimise import TrainConfig

ENOUGH_QUERIES = 1000
CONFIG, PROBE, SUMMARY = "config.json", "probe.json", "summary.json"


@dataclass(frozen=True)
class Options:
    """What a person may choose; None leaves it to the preset, or to the run that is resumed."""

    catalog: Path
    kind: str = "csmoe"
    preset: str | None = None  # by default the kind's for this device
    max_steps: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    seed: int | None = None
    out: Path | None = None
    device: str | None = None
    masking: str | None = None
    mask_ratio: float | None = None
    patch_size: int | None = None
    sensors: tuple[str, ...] | None = None
    resume: bool = False
    overwrite: bool = False
    probe: bool = True


def pretrain(options: Options, say: Callable[[object], None] = print) -> Path:
    """Train, save, validate and probe; the run's folder.

    Args:
        say: takes the lines and tables that a person should see.

    Raises:
        InputError: the catalog or an option does not do, or the run's folder is taken.
        RunError: a loss was not finite.
    """
    kind = kind_of(options.kind)
    check(options, kind)
    device = choose_device(options.device)
    catalog = open_catalog(options.catalog)
    name = options.preset or kind.default_preset(device.type == "cuda")
    kind.preset(name)
    folder = options.out or Path("runs") / f"{kind.name}-{catalog.path.stem}-{name}-s{options.seed or 0}"
    claim(folder, options)

    state = read_checkpoint(folder) if options.resume else None
    name = state["preset"] if state else name
    model_config, data, config = (
        resumed(state, kind, options, catalog) if state else fresh(name, kind, options, catalog)
    )
    chips, validation = Chips(catalog, data, "train"), Chips(catalog, data, "val")
    if state and state["train_chips"] != fingerprint(chips):
        raise InputError(
            f"Run {folder} cannot be resumed",
            f"the training chips of {catalog.path} are no longer those it was trained on",
            "Start anew with --overwrite or another --out",
        )

    model = kind.untrained(model_config, config.seed).to(device)
    pretraining = kind.pretraining(model, config)
    say(report.heading(catalog, data, chips, validation, pretraining, config, name, device))
    about = {
        "kind": model.kind,
        "model": model_config.to_json(),
        "data": data.to_json(),
        "train": config.to_json(),
    }
    write_text(
        folder / CONFIG, json.dumps({**about, "catalog": str(catalog.path.resolve())}, indent=1) + "\n"
    )

    (folder / SUMMARY).unlink(missing_ok=True)  # from here on the run is not finished
    marks = {"train_chips": fingerprint(chips), "preset": name}
    step, journal = train(pretraining, data, chips, validation, config, folder, state, marks)
    weights = save_weights(folder, model, data, config, step)
    if step < config.steps:
        say(report.stopped(folder, step, config.steps))
        return folder
    summary = {"steps": step, "simulated": data.simulated, "reconstruction": ends(journal)}
    say(report.fall(ends(journal)))
    if options.probe:
        summary["routing"] = measure(kind, model, catalog, chips, config, folder, journal, say)
    write_text(folder / SUMMARY, json.dumps(summary, indent=1) + "\n")
    say(report.ending(weights))
    return folder


def measure(
    kind: Kind,
    model: Model,
    catalog: Catalog,
    chips: Chips,
    config: TrainConfig,
    folder: Path,
    journal: Journal,
    say: Callable[[object], None],
) -> dict[str, dict[str, float]]:
    """Probe the features; how the layers route.

    Queries are the chips held out from training: the test split where it is large enough to tell anything, else
    it and the validation split together.
    """
    device = next(model.parameters()).device
    model.eval()
    queries = Chips(catalog, chips.config, "test")
    if len(queries) < ENOUGH_QUERIES:
        queries = Chips(catalog, chips.config, "val+test")
    probes = probe(
        model, kind.untrained(model.config, config.seed).to(device).eval(), chips, queries, config.seed
    )
    fields = {"simulated": chips.config.simulated, "probes": [p.to_json() for p in probes]}
    write_text(folder / PROBE, json.dumps(fields, indent=1) + "\n")
    for each in probes:
        say(report.table(each, chips.config.simulated))
    layers = routing(model, chips)
    journal.write("routing", step=config.steps, layers=layers)
    if layers:
        say(report.routing_line(layers, model.config.tokens + 1, model.config.experts * model.config.slots))
    return layers


def fresh(
    name: str, kind: Kind, options: Options, catalog: Catalog
) -> tuple[Config, DataConfig, TrainConfig]:
    """Configuration of a new run."""
    data = DataConfig.of(catalog, options.sensors)
    if len(data.sensors) < kind.least_sensors:
        raise InputError(
            f"{kind.name} learns across sensors and found only {', '.join(data.bands) or 'none'} in {catalog.path}",
            do="Give at least two with --sensors, or make the catalog with two",
        )
    size = kind.preset(name)
    chips = Chips(catalog, data, "train")
    pairs = len(chips)
    if not pairs:
        raise InputError(
            f"The train split of catalog {catalog.path} is empty",
            f"it has {catalog.table.num_rows:,} chips in other splits",
            "Draw the sample again with another share for training: curate sample",
        )
    batch_size = min(options.batch_size or size.batch_size, pairs)
    steps = size.max_steps if options.epochs is None else options.epochs * max(pairs // batch_size, 1)
    steps = (
        min(steps, options.max_steps)
        if options.epochs is not None and options.max_steps
        else (options.max_steps or steps)
    )
    defaults = {"masking": "random", "mask_ratio": 0.5, **kind.defaults}
    config = TrainConfig(
        steps=steps,
        batch_size=batch_size,
        lr=options.lr or size.lr,
        seed=options.seed or 0,
        masking=options.masking or defaults["masking"],
        mask_ratio=defaults["mask_ratio"] if options.mask_ratio is None else options.mask_ratio,
        save_every=min(500, max(steps // 4, 1)),
    )
    model = kind.fit(size.model(data.bands, data.chip_px, options.patch_size), chips)
    return model, data, config


def resumed(
    state: dict[str, Any], kind: Kind, options: Options, catalog: Catalog
) -> tuple[Config, DataConfig, TrainConfig]:
    """Configuration of a run that goes on; --max-steps may move its end, nothing else may change.

    Raises:
        InputError: an option says otherwise than the run, or the catalog is another.
    """
    if options.epochs is not None:
        raise InputError("--epochs does not go with --resume", do="Move the end of the run with --max-steps")
    if kind_of(state["kind"]).model is not kind.model:
        raise InputError(f"The run to resume is of kind {state['kind']}", do=f"Use: train {state['kind']}")
    model = kind.config(state["model_config"])
    data, config = DataConfig.from_json(state["data"]), TrainConfig.from_json(state["train"])
    found = {
        "preset": state["preset"],
        "patch_size": model.patch_size,
        "sensors": tuple(data.bands),
        **config.to_json(),
    }
    for name in ("preset", "batch_size", "lr", "seed", "masking", "mask_ratio", "patch_size", "sensors"):
        wanted = getattr(options, name)
        if wanted is not None and wanted != found[name]:
            raise InputError(
                f"--{name.replace('_', '-')} {wanted} is not what the run to resume was started with",
                f"that was {found[name]}",
                "Leave the option out, or start anew with --overwrite or another --out",
            )
    if data != DataConfig.of(catalog, tuple(data.bands)):
        raise InputError(
            f"Catalog {catalog.path} is not the one the run was started with",
            "its recipe, sensors or statistics differ",
            "Start anew with --overwrite or another --out",
        )
    return model, data, replace(config, steps=options.max_steps or config.steps)


def check(options: Options, kind: Kind) -> None:
    """Refuse numbers that mean nothing.

    Raises:
        InputError: with the option's name.
    """
    for name in ("max_steps", "epochs", "batch_size", "lr"):
        value = getattr(options, name)
        if value is not None and not 0 < value < float("inf"):
            raise InputError(f"--{name.replace('_', '-')} is {value}", "it must be greater than 0")
    if options.seed is not None and options.seed < 0:
        raise InputError(f"--seed is {options.seed}", "it must not be negative")
    if options.mask_ratio is not None and not 0 < options.mask_ratio < 1:
        raise InputError(f"--mask-ratio is {options.mask_ratio}", "it must lie between 0 and 1")
    if options.masking is not None and options.masking not in kind.maskings:
        raise InputError(
            f"There is no masking {options.masking!r}", do=f"Choose one of: {', '.join(kind.maskings)}"
        )
    if options.resume and options.overwrite:
        raise InputError("--resume and --overwrite contradict each other", do="Give one of them")


def claim(folder: Path, options: Options) -> None:
    """Make sure that nobody's run is written over by accident.

    Raises:
        InputError: the folder holds a run and neither --resume nor --overwrite was given.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file", "a run needs a folder", "Choose another with --out")
    if options.resume:
        return
    if (folder / CHECKPOINT).exists() and not options.overwrite:
        finished = (folder / SUMMARY).exists()
        raise InputError(
            f"{folder} already holds a run"
            + (", which is finished" if finished else ", which is not finished"),
            do="Go on with --resume, replace it with --overwrite, or choose another folder with --out",
        )
    for name in (CHECKPOINT, WEIGHTS, CONFIG, PROBE, SUMMARY, LOG):
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir():
        sweep(folder)


def fingerprint(chips: Chips) -> str:
    """A digest of which chips there are, in which order."""
    return hashlib.blake2b("\n".join(chips.ids.tolist()).encode(), digest_size=16).hexdigest()


def ends(journal: Journal) -> dict[str, float]:
    """Mean reconstruction loss of the first steps and of the last, and how far it fell."""
    first, last = (sum(values) / max(len(values), 1) for values in (journal.first, journal.last))
    return {
        "first": first,
        "last": last,
        "steps": len(journal.first),
        "fall": 1 - last / first if first else 0.0,
    }
