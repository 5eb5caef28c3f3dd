"""The page of a run, from the files that a run leaves behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from curate.catalog import InputError
from train.reporting import write_run


@pytest.fixture(scope="session")
def run_page(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(run_folder, tmp_path_factory.mktemp("page") / "run.html")


def test_a_run_is_shown_with_what_it_left_behind(run_page: Path) -> None:
    text = run_page.read_text(encoding="utf-8")
    assert text.index("Simulated.") < text.index("<h1>")
    for said in (
        "fell by",
        "50%",
        "0.700 [0.600, 0.800]",
        "Not made: too few chips",
        "tokens per slot",
        "4.50",
    ):
        assert said in text, said
    for name in (
        "total",
        "learning rate",
        "pairs a second",
        "routing scale, over layers",
        "land cover, accuracy",
    ):
        assert f"<figcaption>{name}</figcaption>" in text, name
    assert "<figcaption>chips</figcaption>" not in text  # of validation: a count, not a loss
    for said in (
        "train.lr",
        "toy.parquet",
        "train csmoe --catalog",
        "version of torch",
        "CSMoE,",
        "B8A",
        "Apache-2.0",
    ):
        assert said in text, said


def test_a_run_is_shown_with_what_its_model_does(run_page: Path) -> None:
    text = run_page.read_text(encoding="utf-8")
    for sensor, cells in (
        ("s2", ("input", "seen", "from s2 itself", "from s1 alone")),
        ("s1", ("from s2 alone",)),
    ):
        for said in cells:
            assert text.count(f'alt="{sensor}, {said}"') == 4, (sensor, said)
    for said in (
        "land cover in s2, ",
        "climate in s1, ",
        "by land cover",
        "retrieval of toy-run",
        "landcovers, s2, s1, best",
    ):
        assert said in text, said


def test_what_the_page_cannot_show_it_says(run_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    text = write_run(folder, catalog=tmp_path / "gone.parquet").read_text(encoding="utf-8")
    assert "None: " in text and "gone.parquet" in text
    (folder / "weights.safetensors").unlink()
    assert "There are no weights" in write_run(folder).read_text(encoding="utf-8")
    (folder / "config.yaml").unlink()
    assert "give it with --catalog" in write_run(folder).read_text(encoding="utf-8")


def test_a_run_that_broke_off_says_where(tmp_path: Path) -> None:
    lines = [
        {"event": "train", "step": 10, "total": 1.0},
        {"event": "not_finite", "step": 12, "losses": ["umr"]},
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert "At step 12 umr became not finite." in write_run(tmp_path).read_text(encoding="utf-8")


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        write_run(tmp_path)


@pytest.mark.browser
@pytest.mark.parametrize("width", [1440, 390])
def test_it_opens_in_a_browser(run_page: Path, visit: Any, width: int) -> None:
    seen = visit(run_page, viewport={"width": width, "height": 844})
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    assert seen.page.evaluate("[...document.images].every((i) => i.complete && i.naturalWidth > 0)")
    assert seen.page.locator(".rebuilt img").count() == 4 * (4 + 4)
    box = seen.page.locator(".rebuilt img").first.bounding_box()
    assert box["width"] >= 70 and abs(box["width"] - box["height"]) < 1
    seen.page.click("summary")
    assert seen.page.get_by_text("train.lr").is_visible()
