"""The look of the pages that both programs write: one HTML file each, that opens offline and asks no network.

It lies under `curate.catalog` because that is the only door between the programs; the contract itself does not import
it. Needs jinja2; pictures need Pillow.
"""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["packed", "picture", "render", "unpacked"]

HERE = Path(__file__).parent
_TYPED = {"u1": "Uint8Array", "u2": "Uint16Array", "u4": "Uint32Array", "f4": "Float32Array"}


def render(folder: Path, template: str, scripts: Sequence[str] = (), **content: Any) -> str:
    """The page that *template* of *folder* makes of *content*, with its styles and *scripts* within it.

    Templates extend ``base.html``. Text is escaped; charts are marked as safe by their makers.

    Args:
        folder: where the template and the scripts lie; those of this package are found, too.
        scripts: names of JavaScript files, in their order.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([folder, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": figure, "percent": percent}
    sources = [next(p for p in (folder / name, HERE / name) if p.exists()) for name in scripts]
    style = (HERE / "page.css").read_text(encoding="utf-8")
    script = "\n".join(source.read_text(encoding="utf-8") for source in sources)
    return environment.get_template(template).render(style=style, script=script, **content)


def figure(value: Any) -> str:
    """A number as a person reads it, about three figures; a dash for None and NaN."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "–"
    if isinstance(value, float):
        size = abs(value)
        return f"{value:,.{0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3}f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def percent(share: float | None) -> str:
    """A share in percent, with a figure after the point below ten."""
    if share is None or not np.isfinite(share):
        return "–"
    return f"{share:.0%}" if share >= 0.0995 or share == 0 else f"{share:.1%}"


def packed(values: npt.NDArray[Any], *, differences: bool = False) -> dict[str, Any]:
    """A flat array for a script: the name of its typed array, and its bytes, deflated, as base64.

    Of numbers of several bytes all first bytes come first, little-endian, then all second ones, since those of high
    value vary least (the shuffle filter of HDF5).

    Args:
        differences: keep differences of neighbours, modulo the type's range; smaller where values are in order.
    """
    kept = np.diff(values, prepend=values.dtype.type(0)) if differences else values
    planes = np.ascontiguousarray(kept, kept.dtype.newbyteorder("<")).view(np.uint8)
    planes = planes.reshape(-1, values.itemsize).T
    data = base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode()
    return {"type": _TYPED[values.dtype.str[1:]], "differences": differences, "data": data}


def unpacked(found: dict[str, Any]) -> npt.NDArray[Any]:
    """The array that `packed` was given."""
    kind = np.dtype("<" + next(kind for kind, name in _TYPED.items() if name == found["type"]))
    planes = np.frombuffer(zlib.decompress(base64.b64decode(found["data"])), np.uint8).reshape(
        kind.itemsize, -1
    )
    values = np.ascontiguousarray(planes.T).view(kind).ravel()
    return np.cumsum(values, dtype=kind) if found["differences"] else values


def picture(pixels: npt.NDArray[np.uint8], *, lossless: bool = False) -> str:
    """A picture of shape (rows, columns, 3) or (rows, columns) as a data address (WebP)."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", lossless=lossless, quality=82, method=4)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
