"""What all tests share: which of them run, where the real sample data lie, and a browser for pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    slow = [item for item in items if "slow" in item.keywords]
    if not config.getoption("--slow"):
        for item in slow:
            item.add_marker(pytest.mark.skip(reason="slow: make test-slow"))
    gpu = [item for item in items if "gpu" in item.keywords]
    if gpu and not _has_gpu():
        for item in gpu:
            item.add_marker(pytest.mark.skip(reason="gpu: there is no CUDA device"))


def _has_gpu() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real sample data; a test that uses it carries ``@pytest.mark.real``."""
    beside = Path(__file__).parents[1].parent / "shared" / "data"
    path = Path(os.environ.get("CURATE_REAL_DATA", beside))
    if not path.is_dir():
        pytest.skip(f"real: there is no sample data at {path}; set CURATE_REAL_DATA")
    return path


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
