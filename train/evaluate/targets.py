"""Targets of dense tasks: label chips that `curate labels` cut, joined to images by chip id."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.catalog import InputError

IGNORED = -1  # class of pixels that nobody knows


@dataclass(frozen=True)
class Targets:
    """What each pixel of some images shows."""

    name: str
    values: npt.NDArray[
        Any
    ]  # [n, H, W]: numbers of classes, `IGNORED` where unknown; or values, NaN where unknown
    classes: tuple[str, ...]  # empty among values
    unit: str = ""


def read_targets(path: Path, ids: npt.NDArray[Any], chip_px: int) -> Targets:
    """The labels of the chips *ids* from an Arrow file of `curate labels`.

    Raises:
        InputError: no such file, another chip size, or a chip without labels.
    """
    try:
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        about = json.loads((table.schema.metadata or {})[b"labels"])
    except (OSError, pa.ArrowInvalid, KeyError, ValueError) as error:
        raise InputError(
            f"Labels {path} cannot be read", str(error), "Make them with: curate labels CATALOG"
        ) from error
    if about["chip_px"] != chip_px:
        raise InputError(
            f"Labels {path} are of chips of {about['chip_px']} px", f"the images have {chip_px} px"
        )
    there = table["chip_id"].to_numpy(zero_copy_only=False).astype(str)
    order = np.argsort(there)
    at = np.searchsorted(there[order], ids.astype(str)).clip(max=len(order) - 1)
    rows = order[at]
    if len(missing := ids[there[rows] != ids.astype(str)]):
        raise InputError(
            f"Labels {path} have no chip {missing[0]}",
            f"{len(missing):,} chips lack labels",
            "Cut them again",
        )
    flat = table["label"].take(pa.array(rows)).combine_chunks().flatten().to_numpy()
    stored = flat.reshape(len(rows), chip_px, chip_px)
    if about["kind"] == "values":
        return Targets(about["name"], stored.astype(np.float32), (), about["unit"])
    codes = {int(code): name for code, name in about["classes"].items()}
    present = [code for code in codes if (stored == code).any()]
    numbers = np.full(stored.shape, IGNORED, np.int64)
    for i, code in enumerate(present):  # a dozen classes
        numbers[stored == code] = i
    return Targets(about["name"], numbers, tuple(codes[code] for code in present))
