"""From a trained model to smaller ones, step by step: what `train prune` and `train grow` do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from safetensors import safe_open

from curate.catalog import Catalog, InputError
from curate.catalog.files import write_text
from train.checkpoint import KEY, WEIGHTS, load_model, save_weights
from train.compress import soft, sparse
from train.compress.distil import adapt, distance, distil
from train.compress.merging import METHODS
from train.compress.scoring import step, steps_table
from train.compress.usage import Use, collect
from train.data import Chips, DataConfig, open_catalog
from train.evaluate.images import narrowed
from train.execution import choose_device
from train.layers.hierarchical import COLLABORATIVE
from train.models import CSMoE, Model
from train.models.ringmoe import RingMoE
from train.optimise import TrainConfig
from train.terminal import Say, Shown

TABLE = "compression.json"
HELD_OUT = "val+test"


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


@dataclass(frozen=True)
class Given:
    """A trained model, and the catalog whose chips say what it uses, teach and judge."""

    model: Model
    data: DataConfig  # that it was trained on
    trained: tuple[TrainConfig, int]  # how, and for how many steps
    catalog: Catalog
    sensor: str  # that is judged

    def chips(self, split: str, sensors: Sequence[str] | None = None) -> Chips:
        """Chips of the catalog, with all of the model's sensors or some."""
        return Chips(self.catalog, narrowed(self.data.on(self.catalog), sensors), split)

    @cached_property
    def judged(self) -> tuple[Chips, Chips]:
        """Chips to train and held out that have the judged sensor: the first vote on the second."""
        bank, queries = (self.chips(split, [self.sensor]).complete() for split in ("train", HELD_OUT))
        return bank, queries


def compress(options: Compression, say: Say = print) -> Path:
    """Write the model of every step under `out`, and say what each costs and scores.

    Raises:
        InputError: an option contradicts the model or the catalog.
    """
    check(options)
    given = opened(options.weights, options.catalog, options.sensor, options.device)
    full, sensor, chips, shown = given.model, given.sensor, given.chips("train"), given.chips(HELD_OUT)
    bank, queries = given.judged
    use = collect(full, chips)
    say(use_table(use))
    steps, model = [step("full", full, sensor, bank, queries)], full

    def note(name: str, smaller: Model) -> None:
        folder = options.out / name.replace(" ", "-")
        save_weights(folder / WEIGHTS, smaller, narrowed(given.data, smaller.sensors), *given.trained)
        steps.append(step(name, smaller, sensor, bank, queries, distance(smaller, full, shown)))

    def note_and_teach(name: str, smaller: Model) -> None:
        note(name, smaller)
        if options.distil_steps:
            distil(smaller, full, chips, options.distil_steps, lr=options.lr, seed=options.seed)
            note(f"{name} taught", smaller)

    if isinstance(full, RingMoE):
        model = sparse.extract(full, sensor)
        shown = given.chips(HELD_OUT, [sensor])
        use = {
            name: {pool: {sensor: by[sensor]} for pool, by in pools.items() if sensor in by}
            for name, pools in use.items()
        }
        note(f"{sensor} alone", model)
    whole = model
    if options.keep is not None or options.share is not None:
        kept = f"keep {options.keep}" if options.keep is not None else f"share {options.share:g}"
        if isinstance(model, RingMoE):
            pools = (COLLABORATIVE, sensor) if options.pools == "all" else (COLLABORATIVE,)
            model = sparse.prune(model, use, options.keep, options.share, pools)
        else:
            model = soft.prune(as_csmoe(model), use, options.keep, options.share, (sensor,))
        note_and_teach(kept, model)
    for how in options.merges:
        dense = (
            sparse.merged(whole, use, how)
            if isinstance(whole, RingMoE)
            else soft.merged(as_csmoe(whole), use, how)
        )
        note_and_teach(f"dense {how}", dense)
    simulated = " (simulated)" if given.data.simulated else ""
    caption = (
        f"of images of {sensor}{simulated}; parameters without decoders; distance: squared error of the tokens to the "
        f"full model's, relative to their variance; {len(bank):,} chips vote on {len(queries):,}; taught: "
        f"{options.distil_steps} steps of distillation"
    )
    fields = {"sensor": sensor, "simulated": given.data.simulated, "steps": [asdict(each) for each in steps]}
    say(Shown(steps_table(steps, f"compression of {options.weights}", caption), fields))
    write_text(options.out / TABLE, json.dumps(fields, indent=1) + "\n")
    return options.out


def expand(
    weights: Path,
    catalog: Path,
    out: Path,
    experts: int,
    steps: int,
    lr: float = 3e-4,
    seed: int = 0,
    device: str | None = None,
    sensor: str | None = None,
    say: Say = print,
) -> Path:
    """Add *experts* to every pool that all sensors share, teach them alone on the catalog, and write the model.

    Says what the model costs and scores on the catalog before, with untaught experts, and after.

    Raises:
        InputError: an option means nothing, or the model has no such pool.
    """
    if experts < 1 or steps < 0:
        raise InputError(
            f"{experts} experts and {steps} steps make no larger model", do="Give --experts 1 or more"
        )
    given = opened(weights, catalog, sensor, device)
    model, chips, shown = given.model, given.chips("train"), given.chips(HELD_OUT)
    bank, queries = given.judged
    use = collect(model, chips)
    if isinstance(model, RingMoE):
        grown: Model = sparse.grow(model, use, experts, seed=seed)
    else:
        grown = soft.grow(as_csmoe(model), use, experts, seed=seed)
    scored = [step("full", model, given.sensor, bank, queries)]

    def note(name: str) -> None:
        scored.append(step(name, grown, given.sensor, bank, queries, distance(grown, model, shown)))

    note(f"{experts} more")
    losses = adapt(grown, experts, chips, steps, lr=lr, seed=seed)
    path = save_weights(out / WEIGHTS, grown, given.data, *given.trained)
    told = f"weights  {path}: {experts} experts more in every layer"
    fields: dict[str, Any] = {"weights": str(path), "sensor": given.sensor}
    if losses:
        note(f"{experts} more, taught")
        n = max(len(losses) // 10, 1)
        first, last = sum(losses[:n]) / n, sum(losses[-n:]) / n
        fields["loss"] = {"first": first, "last": last}
        told += f"; loss of the first {n} of {steps} steps {first:.4f} -> of the last {n} {last:.4f}"
    fields["steps"] = [asdict(each) for each in scored]
    caption = f"of images of {given.sensor}; {len(bank):,} chips vote on {len(queries):,}"
    say(Shown(Group(steps_table(scored, f"growth of {weights}", caption), told), fields))
    return out


def as_csmoe(model: Model) -> CSMoE:
    """*model*, if it is one with Soft MoEs.

    Raises:
        InputError: it is not.
    """
    if not isinstance(model, CSMoE) or not model.config.experts:
        raise InputError("The model has no experts", "it is dense already", "Give weights of a mixture")
    return model


def opened(weights: Path, catalog: Path, sensor: str | None, device: str | None) -> Given:
    """A model, how it was trained, and a catalog; by default its first sensor is judged.

    Raises:
        InputError: no such weights or sensor, or a catalog without chips to learn from or to judge by.
    """
    model, data = load_model(weights, choose_device(device))
    if sensor is not None and sensor not in model.sensors:
        raise InputError(
            f"The model has no sensor {sensor!r}",
            do=f"Choose with --sensor among: {', '.join(model.sensors)}",
        )
    path = weights / WEIGHTS if weights.is_dir() else weights
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()[KEY])
    trained = TrainConfig.from_json(about["train"]), int(about["step"])
    given = Given(model, data, trained, open_catalog(catalog), sensor or model.sensors[0])
    if not all(map(len, given.judged)):
        raise InputError(f"Catalog {catalog} needs chips to train and chips held out", do="curate sample")
    return given


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
