"""A catalog's page, written once, and a browser to open it with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curate.report import write_report
from curate.workspace import Workspace


@pytest.fixture(scope="session")
def page(built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the built catalog; its figures lie beside it in ``figures``."""
    folder = tmp_path_factory.mktemp("page")
    return write_report(built.catalog, folder / "page.html", folder / "figures").path


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="browser: playwright is not installed")
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("browser: there is no Chromium; install it, or set CHROMIUM")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Visit:
    """A page in the browser, and what went wrong on it."""

    def __init__(self, browser: Any, path: Path, **context: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **context})
        self.page = self.context.new_page()
        self.faults: list[str] = []
        self.page.on(
            "console", lambda m: self.faults.append(m.text) if m.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", self._note)
        self.page.goto(path.resolve().as_uri())
        self.page.wait_for_function("document.readyState === 'complete'")

    def _note(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:")):
            self.faults.append(f"asked for {request.url}")

    def ink(self) -> str:
        """What the map shows, after the next frame."""
        return str(
            self.page.evaluate(
                """() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() =>
                    done(document.getElementById('canvas').toDataURL()))))"""
            )
        )


@pytest.fixture
def visit(browser: Any) -> Iterator[Any]:
    """Opens a page; whatever goes wrong on it fails the test."""
    visits: list[Visit] = []

    def open_page(path: Path, **context: Any) -> Visit:
        visits.append(Visit(browser, path, **context))
        return visits[-1]

    yield open_page
    for one in visits:
        one.context.close()
    assert not [fault for one in visits for fault in one.faults]
