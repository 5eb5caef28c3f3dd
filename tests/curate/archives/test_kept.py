"""A search that failed in part, or was killed, asks the next time only for what it did not get."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import shapely

from curate import stages
from curate.archives.api import ApiArchive
from curate.archives.kept import Kept
from curate.archives.pacing import Patience
from curate.catalog.geoparquet import read_metadata
from curate.engine import Engine
from curate.recipe import Period, Recipe
from curate.sensors import SENSORS
from curate.summary import load
from curate.workspace import read_table

S2, S1 = SENSORS["sentinel-2-l2a"], SENSORS["sentinel-1-rtc"]
WIDE = "bbox:0,40,20,52"
QUICK = Patience(
    requests_per_s=500, repeats=0, backoff_s=0.01, tries=2, threads=1, lost=2, read_s=2, connect_s=2
)


def item(k: int) -> dict[str, Any]:
    """Every other one optical; spread over 20° × 12°."""
    west, south = (k * 7) % 19, 40 + (k * 5) % 11
    sensor = S2 if k % 2 else S1
    shape = shapely.box(west, south, west + 1, south + 1)
    keys = [band.asset_keys[0] for band in sensor.bands]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"item-{k:03d}",
        "collection": sensor.name,
        "geometry": json.loads(shapely.to_geojson(shape)),
        "bbox": list(shape.bounds),
        "properties": {
            "datetime": f"2022-05-{k % 28 + 1:02d}T10:{k % 60:02d}:00Z",
            "platform": "sentinel-2a" if k % 2 else "sentinel-1a",
            "s2:processing_baseline": "03.01",
        },
        "links": [],
        "assets": {key: {"href": f"https://example.org/{k}/{key}.tif"} for key in keys},
    }


ITEMS = [item(k) for k in range(200)]


class Api:
    """A STAC API that can be told to fail."""

    def __init__(self, url: str) -> None:
        self.url = url

    def plan(self, **fault: Any) -> None:
        request = urllib.request.Request(f"{self.url}/-/plan", json.dumps(fault).encode())
        urllib.request.urlopen(request, timeout=5).read()

    def asked(self) -> list[tuple[str, str]]:
        """Collection and box of each search that came."""
        log = json.load(urllib.request.urlopen(f"{self.url}/-/log", timeout=5))
        return [(str(x["asked"]["collections"]), str(x["asked"]["bbox"])) for x in log]


@pytest.fixture
def api(stac_api: Callable[[list[dict[str, Any]]], str]) -> Iterator[Api]:
    yield Api(stac_api(ITEMS))


@pytest.fixture
def wide(api: Api, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A recipe that searches the API without much patience."""
    monkeypatch.setattr("curate.archives.api.Patience", lambda: QUICK)
    options = {"region": WIDE, "archive": api.url, "descriptors.landcover": "map.tif"}
    return Recipe().with_options(options)


def test_a_rerun_asks_only_for_what_is_missing(api: Api, wide: Recipe, tmp_path: Path) -> None:
    workspace = stages.start(wide, tmp_path)
    api.plan()
    whole = stages.search(wide, stages.start(wide, tmp_path / "other"), Engine(workers=1))
    boxes = list(dict.fromkeys(api.asked()))
    assert len(boxes) == len(api.asked()) > 20
    api.plan(kind="status", status=503, skip=5)
    with pytest.raises(Exception, match="no usable"):  # not one radar scene came
        stages.search(wide, workspace, Engine(workers=1))
    assert not workspace.scenes.exists()
    api.plan(kind="status", status=503, skip=17)
    partly = stages.search(wide, workspace, Engine(workers=1))
    assert api.asked()[0] == boxes[5]
    lacking = len(boxes) - 5 - 17
    assert len(partly.notes["missing"]) == lacking > 0
    assert (read_metadata(workspace.scenes) or {})["key"] == ""
    api.plan()
    again = stages.search(wide, workspace, Engine(workers=1))
    assert api.asked() == boxes[-lacking:]
    assert again.notes["missing"] == [] and again.left == whole.left > partly.left
    assert (again.rejected, again.came_in) == (whole.rejected, whole.came_in)
    assert read_table(workspace.scenes).equals(
        read_table(tmp_path / "other" / workspace.slug / "scenes.parquet")
    )
    assert not (workspace.folder / "search").exists()
    assert load(workspace.summary)["search"]["left"] == whole.left
    api.plan()
    assert stages.search(wide, workspace, Engine(workers=1)).reused and not api.asked()


def test_other_settings_ask_for_everything(api: Api, tmp_path: Path) -> None:
    def search(cloud: float = 100.0, period: Period = Period(), sensor: Any = S2) -> int:  # noqa: B008
        api.plan()
        archive = ApiArchive.open(api.url, QUICK, Kept(tmp_path / "kept"))
        assert archive is not None
        archive.search(shapely.box(0, 40, 20, 52), period, sensor, (sensor.bands[0].name,), cloud)
        return len(api.asked())

    number = search()
    assert number > 5 and search() == 0
    assert search(cloud=50) == number and search(sensor=S1) == number
    assert search(period=Period.model_validate({"start": "2022-05-03"})) == number
    assert search() == 0
    for path in (tmp_path / "kept").iterdir():
        os.utime(path, (time.time() - 8 * 86_400,) * 2)
    assert search() == number  # answers of last week
    newest = max((tmp_path / "kept").iterdir(), key=lambda path: path.stat().st_mtime)
    newest.write_bytes(b"PAR1 torn")
    assert search() == 1


def test_a_search_that_was_killed_continues(api: Api, wide: Recipe, tmp_path: Path) -> None:
    api.plan(kind="hang", seconds=60, skip=9)
    command = [sys.executable, "-m", "curate.cli", "search", "--region", WIDE, "--archive", api.url]
    command += ["--set", "descriptors.landcover=map.tif", "--root", str(tmp_path), "--workers", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(400):
            if len(api.asked()) > 9:
                break
            time.sleep(0.05)
        time.sleep(0.3)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    workspace = stages.start(wide, tmp_path)
    first = api.asked()[:9]
    assert len(list((workspace.folder / "search").glob("*.parquet"))) >= 5
    api.plan()
    with workspace.locked():
        stages.search(wide, workspace, Engine(workers=1))
    assert len(set(first) - set(api.asked())) >= 5  # answers that were whole are not asked for again
    assert len(read_table(workspace.scenes, ["id"])) == 200
