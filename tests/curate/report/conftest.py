"""A catalog's page, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from curate.report import write_report
from curate.workspace import Workspace


@pytest.fixture(scope="session")
def page(built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the built catalog; its figures lie beside it in ``figures``."""
    folder = tmp_path_factory.mktemp("page")
    return write_report(built.catalog, folder / "page.html", folder / "figures").path
