"""What all tests share: which of them run, and where the real sample data lie."""

from __future__ import annotations

import os
from pathlib import Path

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
