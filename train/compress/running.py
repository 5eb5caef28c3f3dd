"""From a trained model to smaller ones, step by step: what `train prune` and `train grow` do."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table
from safetensors import safe_open

from curate.catalog import InputError
from curate.catalog.files import write_text
from train.checkpoint import KEY, WEIGHTS, load_model, save_weights
from train.compress import soft, sparse
from train.compress.distil import adapt, distance, distil
from train.compress.merging import METHODS
from train.compress.scoring import step, steps_table
from train.compress.usage import Use, collect
from train.data import Chips, DataConfig, open_catalog
from train.execution import choose_device
from train.layers.hierarchical import COLLABORATIVE
from train.models import CSMoE, Model
from train.models.ringmoe import RingMoE
from train.optimise import TrainConfig
from train.terminal import Say, Shown

TABLE = "compression.json"


@dataclass(frozen=True)
class Compression:
    """What a person may choose."""

    weights: Path
    catalog: Path  # whose training chips say what is used, and teach
    out: Path
    sensor: str | None = None  # by default the model's first
    keep: int | None = None  # experts of a pool
    share: float | None = None  # of the use that the kept experts hold
    pools: str = "collaborative"  # or all
    merges: tuple[str, ...] = ()
    distil_steps: int = 0
    lr: float = 3e-4
    seed: int = 0
    device: str | None = None


def compress(options: Compression, say: Say = print) -> Path:
    """Write the model of every step under `out`, and say what each costs and scores.

    Raises:
        InputError: an option contradicts the model or the catalog.
    """
    check(options)
    model, data, about = opened(options.weights, options.device)
    sensor = options.sensor or model.sensors[0]
    if sensor not in model.sensors:
        raise InputError(
            f"The model has no sensor {sensor!r}",
            do=f"Choose with --sensor among: {', '.join(model.sensors)}",
        )
    catalog = open_catalog(options.catalog)
    here = data.on(catalog)
    chips, queries = Chips(catalog, here, "train"), Chips(catalog, here, "val+test")
    if not len(chips) or not len(queries):
        raise InputError(
            f"Catalog {catalog.path} needs chips to train and chips held out", do="curate sample"
        )
    use = collect(model, chips)
    say(use_table(use))

    steps, full = [step("full", model, sensor, chips, queries)], model

    def note(name: str, smaller: Model) -> None:
        own = {s: here.sensors[[x.prefix for x in here.sensors].index(s)] for s in smaller.sensors}
        mine = replace(data, sensors=tuple(s for s in data.sensors if s.prefix in own))
        folder = options.out / name.replace(" ", "-").replace(",", "").replace("+", "")
        save_weights(folder / WEIGHTS, smaller, mine, *about)
        config = replace(here, sensors=tuple(own.values()))
        bank, asked = (Chips(catalog, config, split) for split in ("train", "val+test"))
        steps.append(step(name, smaller, sensor, bank, asked, distance(smaller, full, asked)))

    if isinstance(model, RingMoE):
        model = sparse.extract(model, sensor)
        use = {
            name: {pool: {sensor: by[sensor]} for pool, by in pools.items() if sensor in by}
            for name, pools in use.items()
        }
        note(f"{sensor} alone", model)
    whole, whole_use = model, use
    if options.keep is not None or options.share is not None:
        kept = f"keep {options.keep}" if options.keep is not None else f"share {options.share:g}"
        if isinstance(model, RingMoE):
            pools = (COLLABORATIVE, sensor) if options.pools == "all" else (COLLABORATIVE,)
            model = sparse.prune(model, use, options.keep, options.share, pools)
        else:
            model = soft.prune(as_csmoe(model), use, options.keep, options.share, (sensor,))
        note(kept, model)
        if options.distil_steps:
            teach(model, full, chips, options)
            note(f"{kept} taught", model)
    for how in options.merges:
        dense = (
            sparse.merged(whole, whole_use, how)
            if isinstance(whole, RingMoE)
            else soft.merged(as_csmoe(whole), whole_use, how)
        )
        note(f"dense {how}", dense)
        if options.distil_steps:
            teach(dense, full, chips, options)
            note(f"dense {how} taught", dense)
    caption = (
        f"of images of {sensor}{' (simulated)' if data.simulated else ''}; parameters without decoders; distance: "
        f"squared error of the tokens to the full model's, relative to their variance; {len(chips):,} chips vote on "
        f"{len(queries):,}; taught: {options.distil_steps} steps of distillation"
    )
    fields = {"sensor": sensor, "simulated": data.simulated, "steps": [asdict(each) for each in steps]}
    say(Shown(steps_table(steps, f"compression of {options.weights}", caption), fields))
    write_text(options.out / TABLE, json.dumps(fields, indent=1) + "\n")
    return options.out


def expand(
    weights: Path,
    catalog_path: Path,
    out: Path,
    experts: int,
    steps: int,
    lr: float = 3e-4,
    seed: int = 0,
    device: str | None = None,
    say: Say = print,
) -> Path:
    """Add *experts* to every pool that all sensors share, teach them alone on the catalog, and write the model.

    Raises:
        InputError: an option means nothing, or the model has no such pool.
    """
    if experts < 1 or steps < 0:
        raise InputError(
            f"{experts} experts and {steps} steps make no larger model", do="Give --experts 1 or more"
        )
    model, data, about = opened(weights, device)
    catalog = open_catalog(catalog_path)
    chips = Chips(catalog, data.on(catalog), "train")
    use = collect(model, chips)
    if isinstance(model, RingMoE):
        grown: Model = sparse.grow(model, use, experts, seed=seed)
    else:
        grown = soft.grow(as_csmoe(model), use, experts, seed=seed)
    losses = adapt(grown, experts, chips, steps, lr=lr, seed=seed)
    path = save_weights(out / WEIGHTS, grown, data, *about)
    fields: dict[str, Any] = {"weights": str(path), "experts": experts, "steps": steps}
    told = f"weights  {path}: {experts} experts more in every layer"
    if losses:
        n = max(len(losses) // 10, 1)
        first, last = sum(losses[:n]) / n, sum(losses[-n:]) / n
        fields["loss"] = {"first": first, "last": last}
        told += f"; their loss of the first {n} steps {first:.4f} -> of the last {n} {last:.4f}"
    say(Shown(told, fields))
    return out


def teach(student: Model, teacher: Model, chips: Chips, options: Compression) -> None:
    """Distil on what the options say."""
    distil(student, teacher, chips, options.distil_steps, lr=options.lr, seed=options.seed)


def as_csmoe(model: Model) -> CSMoE:
    """*model*, if it is one with Soft MoEs.

    Raises:
        InputError: it is not.
    """
    if not isinstance(model, CSMoE) or not model.config.experts:
        raise InputError("The model has no experts", "it is dense already", "Give weights of a mixture")
    return model


def opened(weights: Path, device: str | None) -> tuple[Model, DataConfig, tuple[TrainConfig, int]]:
    """A model, its data, and how it was trained.

    Raises:
        InputError: no such weights.
    """
    model, data = load_model(weights, choose_device(device))
    path = weights / WEIGHTS if weights.is_dir() else weights
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()[KEY])
    return model, data, (TrainConfig.from_json(about["train"]), int(about["step"]))


def check(options: Compression) -> None:
    """Refuse what means nothing.

    Raises:
        InputError: with the option's name.
    """
    if options.keep is not None and options.share is not None:
        raise InputError("--keep and --share contradict each other", do="Give one of them")
    if options.keep is not None and options.keep < 1:
        raise InputError(f"--keep is {options.keep}", "it must be at least 1")
    if options.share is not None and not 0 < options.share <= 1:
        raise InputError(f"--share is {options.share}", "it must lie between 0 and 1")
    if options.pools not in (COLLABORATIVE, "all"):
        raise InputError(f"--pools is {options.pools!r}", do=f"Choose {COLLABORATIVE} or all")
    for how in options.merges:
        if how not in METHODS:
            raise InputError(
                f"There is no way to merge called {how!r}", do=f"Choose of: {', '.join(METHODS)}"
            )
    if options.distil_steps < 0 or not 0 < options.lr < float("inf"):
        raise InputError(f"--distil-steps {options.distil_steps} and --lr {options.lr} mean nothing")
    if options.out.is_file():
        raise InputError(f"{options.out} is a file", do="Choose a folder with --out")


def use_table(use: Use) -> Table:
    """Share of the use of every layer's experts, by sensor."""
    view = Table(title="use of the experts by layer", title_justify="left")
    for name in ("layer", "pool", "sensor"):
        view.add_column(name)
    view.add_column("share by expert", no_wrap=True)
    for layer, pools in use.items():
        for pool, by_sensor in pools.items():
            if pool == "shared":
                continue
            for each, seen in by_sensor.items():
                shares = " ".join(f"{share:.2f}" for share in seen.share.tolist())
                view.add_row(layer, pool, each, shares)
    return view
