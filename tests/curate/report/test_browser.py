"""The page in a real browser: nothing asked for, nothing broken, and everything within reach of hands and keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curate.catalog.page import unpacked

pytestmark = pytest.mark.browser


def test_the_map_zooms_moves_and_comes_home(page: Path, visit: Any) -> None:
    seen = visit(page)
    first = seen.ink()
    seen.page.click("#zoom-in")
    nearer = seen.ink()
    assert nearer != first
    seen.page.focus("#canvas")
    seen.page.keyboard.press("ArrowRight")
    assert seen.ink() != nearer
    box = seen.page.locator("#canvas").bounding_box()
    before = seen.page.evaluate("map.then((drawn) => drawn.view.scale)")
    seen.page.mouse.move(box["x"] + 200, box["y"] + 200)
    seen.page.mouse.wheel(0, -400)
    seen.ink()
    assert seen.page.evaluate("map.then((drawn) => drawn.view.scale)") < before / 2
    seen.page.click("#zoom-home")
    assert seen.ink() == first


def test_a_filter_chooses_chips_and_pairs(page: Path, visit: Any) -> None:
    seen = visit(page)
    pairs = seen.page.locator(".pair:visible").count()
    first, said = seen.ink(), seen.page.inner_text("#count")
    cover = seen.page.eval_on_selector("#f-cover", "s => s.options[1].value")
    seen.page.select_option("#f-cover", cover)
    assert seen.page.inner_text("#count") != said
    assert seen.ink() != first
    left = seen.page.locator(".pair:visible")
    assert 0 < left.count() < pairs
    assert all(cover in text for text in left.all_inner_texts())
    seen.page.click("#clear")
    assert seen.page.inner_text("#count") == said
    seen.page.select_option("#colour", "climate")
    assert seen.page.locator("#legend li i").count() >= 1
    assert seen.ink() != first


def test_a_place_says_what_is_there(page: Path, visit: Any) -> None:
    seen = visit(page)
    seen.ink()
    data = json.loads(seen.page.inner_html("#map-data"))
    layer = data["layers"]["sample"]
    steps = [int(unpacked(layer[axis])[0]) for axis in ("x", "y")]
    x, y = seen.page.evaluate(
        """async (steps) => {
            const v = (await map).view, c = document.getElementById('canvas'), [x, y] = steps;
            return [(x - v.x) / v.scale + c.clientWidth / 2, (y - v.y) / v.scale + c.clientHeight / 2];
        }""",
        [(step + 0.5) * data["frame"]["side"] / layer["steps"] for step in steps],
    )
    seen.page.click("#canvas", position={"x": x, "y": y})
    said = seen.page.inner_text("#inspect")
    assert "drawn" in said and "climate" in said and "°" in said


def test_a_pair_shows_all_that_is_known_of_it(page: Path, visit: Any) -> None:
    seen = visit(page)
    seen.page.locator(".pair").first.focus()
    seen.page.keyboard.press("Enter")
    dialog = seen.page.locator("dialog#chip")
    assert dialog.is_visible()
    said = dialog.inner_text()
    for name in (
        "chip id",
        "stratum",
        "weight",
        "relative orbit",
        "dt hours",
        "offset source",
        "hrefs",
        "bbox",
        "Land cover",
    ):
        assert name in said, name
    box = dialog.locator("img").first.bounding_box()
    assert abs(box["width"] - box["height"]) < 1
    title = seen.page.inner_text("#chip-title")
    seen.page.keyboard.press("ArrowRight")
    assert seen.page.inner_text("#chip-title") != title
    seen.page.keyboard.press("ArrowLeft")
    assert seen.page.inner_text("#chip-title") == title
    seen.page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert seen.page.evaluate("document.activeElement.className") == "pair"


def test_keys_reach_everything_in_reading_order(page: Path, visit: Any) -> None:
    seen = visit(page)
    order: list[str] = []
    for _ in range(60):
        seen.page.keyboard.press("Tab")
        order.append(
            seen.page.evaluate("document.activeElement.id || document.activeElement.className || 'link'")
        )
        if order[-1] == "pair":
            break
    wanted = ["skip", "f-climate", "f-season", "colour", "clear", "canvas", "zoom-in", "zoom-home", "pair"]
    places = [order.index(name) for name in wanted if name not in ("f-season", "f-climate") or name in order]
    assert places == sorted(places)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_one_way_only(page: Path, visit: Any, scheme: str) -> None:
    seen = visit(
        page, viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True, is_mobile=True
    )
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390
    seen.ink()
    seen.page.tap("#zoom-in")
    paper = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(253, 253, 251)", "dark": "rgb(20, 25, 27)"}[scheme]


def test_it_prints_without_controls(page: Path, visit: Any) -> None:
    seen = visit(page)
    seen.page.emulate_media(media="print")
    for name in ("nav", "#filters", ".zoom"):
        assert not seen.page.locator(name).first.is_visible()
    assert len(seen.page.pdf()) > 10_000
