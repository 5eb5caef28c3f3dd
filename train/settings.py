"""What a person may choose about a run: strict YAML, with flags over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from pydantic import TypeAdapter, ValidationError

from curate.catalog import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """A run as it was asked for; None, or a key that a section lacks, leaves it to the preset or the device."""

    catalog: str = ""
    kind: str = "csmoe"
    preset: str | None = None  # by default the kind's for the device
    sensors: tuple[str, ...] | None = None  # prefixes; by default all of the catalog's
    epochs: int | None = None  # passes over the train split, instead of `train: steps`
    out: str | None = None
    device: str | None = None
    parallel: str = "ddp"  # or fsdp, and experts of a RingMoE, where torchrun starts several processes
    workers: int = 1  # threads that prepare batches
    cache: str | None = None  # where a catalog that lies elsewhere is mirrored
    cache_gb: float | None = None  # of pixels that may lie there
    loggers: tuple[str, ...] = ()  # beside TensorBoard
    probe: bool = True  # kNN at the end
    model: dict[str, Any] = field(default_factory=dict)  # fields of the kind's configuration
    train: dict[str, Any] = field(default_factory=dict)  # fields of `TrainConfig`
    execution: dict[str, Any] = field(default_factory=dict)  # fields of `Execution`

    def to_yaml(self) -> str:
        """All of it as YAML."""
        return yaml.safe_dump(plain(asdict(self)), sort_keys=False)


class _Once(yaml.SafeLoader):
    """YAML without a key that is said twice, of which only the last would count."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise yaml.constructor.ConstructorError(problem=f"the key {name!r} is said twice")
        return super().construct_mapping(node, deep)


def read_yaml(path: Path | None) -> dict[str, Any]:
    """What a configuration file says; nothing where there is none.

    Raises:
        InputError: the file is missing, or no mapping.
    """
    if path is None:
        return {}
    try:
        said = _Once(path.read_text(encoding="utf-8")).get_single_data() or {}
    except OSError as error:
        raise InputError(f"Configuration {path} cannot be read", error.strerror or "") from error
    except yaml.YAMLError as error:
        raise InputError(f"Configuration {path} is not YAML", str(error)) from error
    if not isinstance(said, dict):
        raise InputError(f"Configuration {path} is no mapping", "it should be lines of key: value")
    return said


def assignments(pairs: Sequence[str]) -> dict[str, Any]:
    """What "train.ema=0.999" and its like say, as nested mappings with YAML values.

    Raises:
        InputError: one is no assignment.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InputError(f"--set {pair!r} is no assignment", do="Write it as --set train.ema=0.999")
        section, _, key = name.partition(".")
        try:
            parsed = _Once(value).get_single_data()
        except yaml.YAMLError as error:
            raise InputError(f"--set {pair!r} has a value that is not YAML", str(error)) from error
        found = merged(found, {section: {key: parsed}} if key else {section: parsed})
    return found


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """*under* with what *over* says otherwise; sections are merged key by key."""
    both = dict(under)
    for name, value in over.items():
        nested = isinstance(value, Mapping) and isinstance(both.get(name), Mapping)
        both[name] = merged(both[name], value) if nested else value
    return both


def without_none(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Only the flags that were given, in sections as they were."""
    nested = {
        name: without_none(value) if isinstance(value, Mapping) else value for name, value in flags.items()
    }
    return {name: value for name, value in nested.items() if value is not None and value != {}}


def settings_of(given: Mapping[str, Any]) -> Settings:
    """Settings from nested mappings.

    Raises:
        InputError: an unknown key, or a value of the wrong type.
    """
    return checked(Settings, given, "")


def checked(shape: type[T], given: Mapping[str, Any], section: str) -> T:
    """A dataclass of *shape* from plain values.

    Raises:
        InputError: an unknown key, with the one that may have been meant, or a value of the wrong type.
    """
    known = [each.name for each in fields(cast(Any, shape))]
    where = f"{section}." if section else ""
    for name in given:
        if name not in known:
            near = get_close_matches(str(name), known, n=1)
            raise InputError(
                f"The configuration has an unknown key '{where}{name}'",
                do=f"Did you mean '{where}{near[0]}'?" if near else f"Choose among: {', '.join(known)}",
            )
    try:
        found = TypeAdapter(shape).validate_python(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join([*([section] if section else []), *(str(part) for part in first["loc"])])
        why = str(first["msg"]).removeprefix("Value error, ")
        shown = "" if "Value error" in first["msg"] else f" is {first['input']!r}"
        raise InputError(f"The configuration's {name or 'values'}{shown}", why) from error
    for name, value in given.items():
        if isinstance(value, bool) and getattr(found, name) is not value:  # 1 or 0 otherwise
            raise InputError(f"The configuration's {where}{name} is {value}", "it should be a number")
    return found


def plain(value: Any) -> Any:
    """Tuples as lists, all the way down: what YAML and JSON know."""
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value
