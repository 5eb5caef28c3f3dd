"""Charts as SVG: small, quiet, readable at the width of a phone, coloured by the page's own variables.

Every chart is a text that goes into a page as it is; `standalone` makes a file of it. Widths are in CSS pixels, and
text stays as large as the page's small print, since no chart is wider than `WIDTH`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

from curate.catalog.page import figure, percent

WIDTH = 360
_ROW, _GAP, _TEXT = 14, 5, 11
COLOURS = {  # light values of the page's variables, for charts that stand alone
    "--paper": "#fdfdfb", "--ink": "#1d2529", "--soft": "#5b666c", "--line": "#e2e5e2", "--accent": "#0f6e84",
    "--pool": "#b3bbb9", "--chance": "#8d7a5b", "--train": "#0072b2", "--val": "#e69f00", "--test": "#cc79a7",
}  # fmt: skip

Floats = npt.NDArray[np.float64]


class Svg(str):
    """Markup that may stand in a page as it is."""

    def __html__(self) -> str:
        return str(self)


@dataclass(frozen=True)
class Series:
    """Values of one kind, and the colour that stands for it."""

    name: str
    values: Sequence[float | None]
    colour: str  # a variable of the page, "--accent"


def svg(width: float, height: float, title: str, parts: Sequence[str]) -> Svg:
    """A drawing of *parts*; *title* says to who cannot see it what it shows."""
    body = "".join(parts)
    return Svg(
        f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" style="max-width:{width:g}px" role="img" '
        f'aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg">{body}</svg>'
    )


def standalone(drawing: str) -> str:
    """*drawing* as a file of its own: with the light colours and a font."""
    values = ";".join(f"{name}:{value}" for name, value in COLOURS.items())
    style = f"<style>svg{{{values};background:#fdfdfb;font-family:Helvetica,Arial,sans-serif}}</style>"
    head, tail = drawing.split(">", 1)
    return f"{head}>{style}{tail}\n"


def text(
    x: float, y: float, content: str, anchor: str = "start", size: float = _TEXT, ink: str = "--soft"
) -> str:
    """One line of text."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size:g}" fill="var({ink})">'
        f"{escape(content)}</text>"
    )


def box(
    x: float, y: float, width: float, height: float, colour: str, title: str = "", opacity: float = 1
) -> str:
    """A filled rectangle; *colour* is a variable or a value."""
    fill = f"var({colour})" if colour.startswith("--") else colour
    shown = f' fill-opacity="{opacity:.3f}"' if opacity < 1 else ""
    tip = f"<title>{escape(title)}</title>" if title else ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}" fill="{fill}"'
        f"{shown}>{tip}</rect>"
    )


def line(x1: float, y1: float, x2: float, y2: float, colour: str = "--line", width: float = 1) -> str:
    """A straight line."""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="var({colour})" '
        f'stroke-width="{width:g}"/>'
    )


def key(series: Sequence[Series], y: float, x: float = 0) -> list[str]:
    """Which colour is which, in a row."""
    parts: list[str] = []
    for one in series if len(series) > 1 else ():
        parts += [box(x, y - 8, 9, 9, one.colour), text(x + 13, y, one.name)]
        x += 26 + 6.0 * len(one.name)
    return parts


def bars(title: str, labels: Sequence[str], series: Sequence[Series], *, shares: bool = True) -> Svg:
    """Horizontal bars, a group a label; *shares* are written in percent, other values as numbers."""
    shown = percent if shares else figure
    left = min(150.0, 10 + 7.0 * max(map(len, labels), default=0))
    most = max((value or 0 for one in series for value in one.values), default=0) or 1
    thick = _ROW if len(series) == 1 else 10
    y = 14.0 if len(series) > 1 else 0.0
    parts = key(series, 9)
    for i, label in enumerate(labels):
        y += _GAP + 2
        height = thick * len(series)
        parts.append(text(left - 6, y + height / 2 + 4, _short(label, 24), "end", ink="--ink"))
        for one in series:
            value = one.values[i] or 0
            width = (WIDTH - left - 44) * value / most
            parts.append(box(left, y, width, thick - 1, one.colour, f"{label}, {one.name}: {shown(value)}"))
            parts.append(
                text(left + width + 4, y + thick - (3 if thick > 10 else 1.5), shown(value), size=9.5)
            )
            y += thick
    return svg(WIDTH, y + 4, title, parts)


def histogram(title: str, edges: Floats, series: Sequence[Series], unit: str) -> Svg:
    """Shares of values between *edges*: the first series as an area, the others as outlines above it."""
    height, left, right, top = 130.0, 4.0, 4.0, 20.0
    most = max((value or 0 for one in series for value in one.values), default=0) or 1
    low, high = float(edges[0]), float(edges[-1])
    x = left + (np.asarray(edges) - low) / ((high - low) or 1) * (WIDTH - left - right)
    parts = key(series, 9)
    for place, one in enumerate(series):
        y = [top + (height - top) * (1 - (value or 0) / most) for value in one.values]
        steps = " ".join(f"H{x[i]:.1f}V{v:.1f}H{x[i + 1]:.1f}" for i, v in enumerate(y))
        path = f"M{x[0]:.1f} {height:.1f} {steps} V{height:.1f}"
        if place == 0:
            parts.append(f'<path d="{path}Z" fill="var({one.colour})" fill-opacity=".85"/>')
        else:
            parts.append(f'<path d="{path}" fill="none" stroke="var({one.colour})" stroke-width="1.6"/>')
    parts.append(line(left, height, WIDTH - right, height, "--soft"))
    for value in ticks(low, high):
        at = left + (value - low) / ((high - low) or 1) * (WIDTH - left - right)
        anchor = "start" if at < 15 else "end" if at > WIDTH - 15 else "middle"
        parts.append(text(at, height + 14, f"{value:g}", anchor))
    parts.append(text(WIDTH / 2, height + 28, unit, "middle"))
    parts.append(text(WIDTH - right, 9, f"highest {percent(most)}", "end", 9.5))
    return svg(WIDTH, height + 34, title, parts)


def matrix(
    title: str, rows: Sequence[str], columns: Sequence[str], shares: Floats, most: float, colour: str
) -> Svg:
    """Shares as a field of squares, darker for more (by the square root); *most* is the darkest share."""
    left, top = 40.0, 108.0
    side = min(38.0, (WIDTH - left - 46) / max(1, len(columns)))
    tall = min(side, 20.0)
    parts = []
    for j, name in enumerate(columns):
        x = left + side * (j + 0.5)
        parts.append(
            f'<text transform="translate({x + 3:.1f} {top - 6:.1f}) rotate(-55)" font-size="10" '
            f'fill="var(--soft)">{escape(_short(name, 24))}</text>'
        )
    for i, name in enumerate(rows):
        y = top + tall * i
        parts.append(text(left - 6, y + tall / 2 + 4, name, "end", ink="--ink"))
        for j, column in enumerate(columns):
            share = float(shares[i, j])
            x = left + side * j
            if share <= 0:
                parts.append(
                    box(x + 0.5, y + 0.5, side - 1, tall - 1, "--line", f"{name} × {column}: none", 0.45)
                )
                continue
            depth = min(1.0, 0.12 + 0.88 * (share / most) ** 0.5) if most else 0
            parts.append(
                box(
                    x + 0.5,
                    y + 0.5,
                    side - 1,
                    tall - 1,
                    colour,
                    f"{name} × {column}: {percent(share)}",
                    depth,
                )
            )
            if share >= 0.01 and side >= 20:
                ink = "--paper" if depth > 0.6 and colour not in ("--pool", "--val") else "--ink"
                parts.append(text(x + side / 2, y + tall / 2 + 3, f"{share * 100:.0f}", "middle", 8.5, ink))
    return svg(WIDTH, top + tall * len(rows) + 6, title, parts)


def lines(
    title: str,
    series: Sequence[tuple[str, Floats, Floats, str]],
    x_label: str,
    y_label: str,
    *,
    from_zero: bool = False,
    marks: bool = False,
) -> Svg:
    """Curves (name, x, y, colour); gaps where y is not finite."""
    height, left, right = 190.0, 40.0, 6.0
    top = 8.0 + 15 * ((len(series) + 1) // 2 if len(series) > 1 else 0)
    every_x = np.concatenate([x for _, x, _, _ in series])
    every_y = np.concatenate([y for _, _, y, _ in series])
    every_y = every_y[np.isfinite(every_y)]
    if not len(every_y):
        return svg(WIDTH, 20, title, [text(0, 12, "no values")])
    low_x, high_x = float(every_x.min()), float(every_x.max())
    low, high = 0.0 if from_zero else float(every_y.min()), float(every_y.max())
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)

    def place(x: Floats, y: Floats) -> tuple[Floats, Floats]:
        across = left + (x - low_x) / ((high_x - low_x) or 1) * (WIDTH - left - right)
        return across, top + (height - top) * (1 - (y - low) / (high - low))

    parts: list[str] = []
    values = ticks(low, high, 4)
    for value, said in zip(values, labels(values), strict=True):
        at = float(place(np.zeros(1), np.array([value]))[1][0])
        parts += [line(left, at, WIDTH - right, at), text(left - 5, at + 4, said, "end", 10)]
    for value in ticks(low_x, high_x, 5):
        at = float(place(np.array([value]), np.zeros(1))[0][0])
        parts.append(text(min(at, WIDTH - right - 8), height + 14, f"{value:g}", "middle", 10))
    for i, (name, x, y, colour) in enumerate(series):
        fill = f"var({colour})" if colour.startswith("--") else colour
        across, up = place(np.asarray(x, np.float64), np.asarray(y, np.float64))
        known = np.isfinite(up)
        pen = np.where(known & ~np.r_[False, known[:-1]], "M", "L")
        path = "".join(f"{p}{a:.1f} {u:.1f}" for p, a, u, k in zip(pen, across, up, known, strict=True) if k)
        parts.append(
            f'<path d="{path}" fill="none" stroke="{fill}" stroke-width="1.6" stroke-linejoin="round"/>'
        )
        if marks:
            parts += [
                f'<circle cx="{a:.1f}" cy="{u:.1f}" r="2.2" fill="{fill}"/>'
                for a, u, k in zip(across, up, known, strict=True)
                if k
            ]
        if len(series) > 1:
            x0, y0 = (left if i % 2 == 0 else WIDTH / 2 + 10), 10 + 15 * (i // 2)
            parts += [box(x0, y0 - 4, 12, 2.5, colour), text(x0 + 17, y0, _short(name, 22))]
    parts.append(text((WIDTH + left) / 2, height + 28, x_label, "middle"))
    parts.append(text(2, height + 28, y_label))
    return svg(WIDTH, height + 34, title, parts)


def interval(low: float, high: float, marks: Sequence[tuple[float | None, float | None, str]]) -> Svg:
    """A small line from *low* to *high* with marks (value, half its interval, colour) on it."""
    width, height = 150.0, 16.0

    def at(value: float) -> float:
        return 6 + ((value - low) / (high - low) if high > low else 0.5) * (width - 12)

    parts = [line(6, 8, width - 6, 8)]
    for value, half, colour in marks:
        if value is None:
            continue
        if half:
            parts.append(line(max(at(value - half), 0), 8, min(at(value + half), width), 8, colour, 3))
        parts.append(f'<circle cx="{at(value):.1f}" cy="8" r="4" fill="var({colour})"/>')
    return svg(width, height, "", parts)


def ticks(low: float, high: float, number: int = 6) -> list[float]:
    """Round values between *low* and *high*."""
    span = (high - low) or 1.0
    rough = span / number
    size = 10.0 ** np.floor(np.log10(rough))
    step = next(size * m for m in (1, 2, 2.5, 5, 10) if size * m >= rough * 0.999)
    first = int(np.ceil(low / step - 1e-9))
    last = int(np.floor(high / step + 1e-9))
    return [float(np.round(i * step, 10)) for i in range(first, last + 1)]


def labels(values: Sequence[float]) -> list[str]:
    """*values* with as many digits as tell neighbours apart."""
    said = [f"{value:.10g}" for value in values]
    if any("e" in one for one in said):
        return said
    digits = max((len(one.partition(".")[2]) for one in said), default=0)
    return [f"{value:,.{digits}f}" for value in values]


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1].rstrip() + "…"
