"""What all tests share: which of them run, where the real sample data lie, and a browser for pages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from functools import partial
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:  # as many threads as there are cores for each would be too many
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")


def pytest_configure(config: pytest.Config) -> None:
    """Hypothesis tries the same examples in every quick run, and others in slow ones."""
    settings.register_profile("same", derandomize=True)
    if not config.getoption("--slow"):
        settings.load_profile("same")


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


def called_here(
    program: str, *arguments: object, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """A command in this process, which spares the seconds that a new one takes to import its libraries."""
    main: Callable[[], None] = import_module(f"{program}.cli").main
    code, said, errors = 0, StringIO(), StringIO()
    command = [program, *map(str, arguments)]
    with (
        mock.patch.object(sys, "argv", command),
        redirect_stdout(said),
        redirect_stderr(errors),
        chdir(cwd or "."),
    ):
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(command, code, said.getvalue(), errors.getvalue())


@pytest.fixture(scope="session")
def train_here() -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command `train` in this process."""
    return partial(called_here, "train")


@pytest.fixture(scope="session")
def curate_here() -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command `curate` in this process."""
    return partial(called_here, "curate")


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
                """async () => { await map; return new Promise((done) => requestAnimationFrame(() =>
                    requestAnimationFrame(() => done(document.getElementById('canvas').toDataURL())))); }"""
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
