"""From what was asked for and what a catalog holds to all that decides a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow.compute as pc

from curate.catalog import Catalog, InputError
from train.data import Chips, DataConfig
from train.distributed import Ranks
from train.execution import PRECISIONS, Execution
from train.kinds import Kind, kind_of
from train.loggers import check_loggers
from train.models.base import Config
from train.optimise import TrainConfig
from train.settings import Settings, checked, merged, plain, settings_of

NOT_NEGATIVE = (
    *("seed", "probe_every", "validation_batches", "cache_gb"),
    *("scale_lr", "scale_decay", "weight_decay"),
)
FLAGS = {"train.steps": "--max-steps"}  # where a flag is not called as its key
DATA_KEYS = ("sensors", "image_size")  # of a model: the catalog decides them
FREE = {  # what may change when a run goes on
    *(
        "out",
        "device",
        "parallel",
        "workers",
        "cache",
        "cache_gb",
        "loggers",
        "probe",
        "execution",
        "catalog",
    ),
    *("train.steps", "train.log_every", "train.save_every", "train.keep_last", "train.probe_every"),
}


@dataclass(frozen=True)
class Plan:
    """All that decides a run."""

    kind: Kind
    preset: str
    model: Config
    data: DataConfig
    train: TrainConfig
    execution: Execution
    settings: Settings  # the same in full, so that the run can be repeated from them alone


def planned(settings: Settings, catalog: Catalog, among: Ranks) -> Plan:
    """The plan of a new run.

    Raises:
        InputError: a setting does not do, or not with this catalog or this number of ranks.
    """
    kind = kind_of(settings.kind)
    name = settings.preset or kind.default_preset(among.device.type == "cuda")
    size = kind.preset(name)
    data = DataConfig.of(catalog, settings.sensors)
    if len(data.sensors) < kind.least_sensors:
        raise InputError(
            f"{kind.name} needs at least {kind.least_sensors} sensors and found only "
            f"{', '.join(data.bands) or 'none'} in {catalog.path}",
            do="Give more with --sensors, or make the catalog with more",
        )
    pairs = pc.sum(pc.equal(catalog.table["split"], "train")).as_py()
    if not pairs:
        raise InputError(
            f"The train split of catalog {catalog.path} is empty",
            f"it has {catalog.table.num_rows:,} chips in other splits",
            "Draw the sample again with another share for training: curate sample",
        )
    defaults = {"steps": size.max_steps, "batch_size": size.batch_size, "lr": size.lr, **kind.defaults}
    train = checked(TrainConfig, {**defaults, **settings.train}, "train")
    check(settings, kind, train)
    train = replace(train, batch_size=min(train.batch_size, pairs))
    divides(train, among)
    if settings.epochs is not None:
        whole = settings.epochs * max(pairs // train.batch_size, 1)
        train = replace(train, steps=min(whole, train.steps) if "steps" in settings.train else whole)
    if "save_every" not in settings.train:
        train = replace(train, save_every=min(500, max(train.steps // 4, 1)))
    shape = size.model(data.bands, data.chip_px, settings.model.get("patch_size"))
    model = sized(settings, kind.fit(shape, Chips(catalog, data, "train")))
    return full(settings, kind, name, model, data, train, among)


def sized(settings: Settings, config: Config) -> Config:
    """*config* with the fields that the settings choose."""
    chosen = {key: value for key, value in settings.model.items() if key != "patch_size"}
    for key in DATA_KEYS:
        if key in chosen:
            raise InputError(f"model.{key} cannot be chosen", "the catalog decides it", f"Remove model.{key}")
    return checked(type(config), {**asdict(config), **chosen}, "model")  # type: ignore[call-overload]


def resumed(
    state: Mapping[str, Any], settings: Settings, given: Mapping[str, Any], catalog: Catalog, among: Ranks
) -> Plan:
    """The plan of a run that goes on; what may change is in `FREE`, `train.steps` among it.

    Args:
        given: what was asked for now, beyond the defaults.

    Raises:
        InputError: a setting says otherwise than the run, or the catalog is another.
    """
    kind = kind_of(state["kind"])
    if kind_of(settings.kind).model is not kind.model:
        raise InputError(f"The run to resume is of kind {kind.name}", do=f"Use: train {kind.name} --resume")
    found = state["settings"]
    for name, wanted in leaves(given):
        section, _, key = name.partition(".")
        was = found[section].get(key) if key else found[section]
        if name not in FREE and section not in FREE and name != "kind" and plain(wanted) != plain(was):
            flag = FLAGS.get(name, "--" + name.rpartition(".")[2].replace("_", "-"))
            shown = ",".join(wanted) if isinstance(wanted, list | tuple) else wanted
            raise InputError(
                f"{flag} {shown} is not what the run to resume was started with",
                f"that was {was}",
                "Leave the option out, or start anew with --overwrite or another --out",
            )
    model, data = kind.config(state["model_config"]), DataConfig.from_json(state["data"])
    free = {key: value for key, value in settings.train.items() if f"train.{key}" in FREE}
    train = checked(TrainConfig, {**state["train"], **free}, "train")
    check(settings, kind, train)
    divides(train, among)
    if data != DataConfig.of(catalog, tuple(data.bands)):
        raise InputError(
            f"Catalog {catalog.path} is not the one the run was started with",
            "its recipe, sensors or statistics differ",
            "Start anew with --overwrite or another --out",
        )
    stored = settings_of(merged(found, {k: v for k, v in plain(asdict(settings)).items() if k in FREE}))
    return full(stored, kind, state["preset"], model, data, train, among)


def full(
    settings: Settings,
    kind: Kind,
    preset: str,
    model: Config,
    data: DataConfig,
    train: TrainConfig,
    among: Ranks,
) -> Plan:
    """A plan whose settings say everything."""
    fast = "bf16" if among.device.type == "cuda" else "fp32"
    execution = checked(Execution, {"precision": fast, **settings.execution}, "execution")
    shape = {key: value for key, value in model.to_json().items() if key not in DATA_KEYS}
    complete = replace(
        settings,
        preset=preset,
        sensors=tuple(data.bands),
        epochs=None,
        model=shape,
        train=train.to_json(),
        execution=asdict(execution),
    )
    return Plan(kind, preset, model, data, train, execution, complete)


def divides(train: TrainConfig, among: Ranks) -> None:
    """Refuse a batch that cannot be shared evenly.

    Raises:
        InputError: by the ranks, or by the passes of a step.
    """
    parts = among.world * train.accumulate
    if train.batch_size % parts:
        raise InputError(
            f"A batch of {train.batch_size} cannot be divided evenly",
            f"{among.world} ranks × {train.accumulate} passes a step take {parts} parts",
            f"Choose a multiple of {parts} with --batch-size",
        )


def check(settings: Settings, kind: Kind, train: TrainConfig) -> None:
    """Refuse numbers and names that mean nothing.

    Raises:
        InputError: with the option's name.
    """
    beside = {name: getattr(settings, name) for name in ("epochs", "workers", "cache_gb")}
    given = {**beside, **train.to_json()}
    at_least_one = (
        "steps",
        "epochs",
        "batch_size",
        "accumulate",
        "workers",
        "save_every",
        "log_every",
        "keep_last",
    )
    for name, value in given.items():
        flag = FLAGS.get(f"train.{name}", f"--{name.replace('_', '-')}")
        if value is None or not isinstance(value, int | float):
            continue
        if name in at_least_one and not 1 <= value < float("inf"):
            raise InputError(f"{flag} is {value}", "it must be at least 1")
        if (name == "lr" and not 0 < value < float("inf")) or (name == "clip" and not value > 0):
            raise InputError(f"{flag} is {value}", "it must be greater than 0")
        if name in NOT_NEGATIVE and not 0 <= value < float("inf"):
            raise InputError(f"{flag} is {value}", "it must be 0 or more, and finite")
        if name == "mask_ratio" and not 0 < value < 1:
            raise InputError(f"{flag} is {value}", "it must lie between 0 and 1")
        if name in ("ema", "warmup", "final_lr") and not 0 <= value <= 1 - (name == "ema") * 1e-9:
            raise InputError(f"{flag} is {value}", "it must lie between 0 and 1")
    if not all(0 <= beta < 1 for beta in train.betas):
        raise InputError(f"train.betas is {list(train.betas)}", "both must lie between 0 and 1")
    for flag, value, choices in (
        ("masking", train.masking, kind.maskings),
        ("parallel", settings.parallel, kind.parallel),
        ("precision", settings.execution.get("precision"), PRECISIONS),
    ):
        if value is not None and value not in choices:
            raise InputError(f"There is no {flag} {value!r}", do=f"Choose one of: {', '.join(choices)}")
    check_loggers(settings.loggers)


def leaves(given: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Settings by dotted name."""
    found: list[tuple[str, Any]] = []
    for name, value in given.items():
        nested = isinstance(value, Mapping)
        found += [(f"{name}.{key}", each) for key, each in value.items()] if nested else [(name, value)]
    return found
