"""The pictures of the pages in the documentation: catalog, two catalogs side by side, and run, in headless Chromium.

    curate report catalogs/eu.parquet
    curate report diverse/eu.parquet representative/eu.parquet --out both.html
    train report runs/first
    python benchmarks/screenshots.py catalogs/eu.html both.html runs/first/report.html docs/images

Needs playwright and Chromium (CHROMIUM, or on the PATH). Pictures over 300 kB are given fewer colours.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

MOST_BYTES = 300_000
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def keep(shot: bytes, path: Path) -> None:
    image = Image.open(io.BytesIO(shot)).convert("RGB")
    image.save(path, optimize=True)
    colours = 256
    while path.stat().st_size > MOST_BYTES:
        image.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)
        colours //= 2
    print(f"{path}: {image.size[0]} × {image.size[1]}, {path.stat().st_size / 1000:.0f} kB")


def opened(browser: Any, page: Path, size: dict[str, int], **more: Any) -> Any:
    view = browser.new_page(viewport=size, **more)
    faults: list[str] = []
    view.on("console", lambda message: faults.append(message.text))
    view.on("pageerror", lambda error: faults.append(str(error)))
    view.on("request", lambda request: faults.append(request.url) if request.url.startswith("http") else None)
    view.goto(page.resolve().as_uri())
    view.wait_for_timeout(500)
    assert not faults, faults
    return view


def stretch(view: Any, first: str, last: str) -> bytes:
    """From the top of one section to the end of another."""
    box = view.evaluate(
        """([first, last]) => { const top = document.querySelector(first).getBoundingClientRect(),
            end = document.querySelector(last).getBoundingClientRect();
            return {x: 0, y: top.top + scrollY, width: innerWidth, height: end.bottom - top.top}; }""",
        [first, last],
    )
    return bytes(view.screenshot(clip=box, full_page=True))


def main(catalog: Path, both: Path, run: Path, folder: Path) -> None:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        view = opened(browser, catalog, DESKTOP)
        keep(stretch(view, "body", "#map"), folder / "report-desktop.png")
        keep(stretch(view, "#mix", "#measures"), folder / "report-diversity.png")
        view.locator(".pair").nth(8).click()
        view.wait_for_timeout(200)
        keep(view.locator("dialog").screenshot(), folder / "report-chip.png")
        dark = opened(browser, catalog, DESKTOP, color_scheme="dark")
        dark.select_option("#colour", "climate")
        dark.locator("#canvas").scroll_into_view_if_needed()
        keep(dark.locator("#map").screenshot(), folder / "report-dark.png")
        keep(opened(browser, catalog, PHONE, is_mobile=True).screenshot(), folder / "report-phone.png")
        view = opened(browser, both, DESKTOP)
        keep(stretch(view, "body", "#measures"), folder / "report-both.png")
        view = opened(browser, run, DESKTOP)
        keep(stretch(view, "#rebuilt", "#rebuilt .rebuilt"), folder / "run-page.png")
        keep(stretch(view, "#experts", "#experts .charts"), folder / "run-experts.png")
        keep(opened(browser, run, PHONE, is_mobile=True).screenshot(), folder / "run-phone.png")
        browser.close()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:5]))
