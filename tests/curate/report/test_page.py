"""The page as a file: what it holds, what it is made of, and what it says where something is not there."""

from __future__ import annotations

import json
import re
import shutil
import xml.dom.minidom
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from curate.catalog import Catalog, InputError
from curate.catalog.page import unpacked
from curate.catalog.page.charts import labels
from curate.cli import app
from curate.report import write_report
from curate.report.figures import shares_of, spectra, split_distances
from curate.report.subject import Subject
from curate.workspace import Workspace


def data(page: Path, name: str) -> dict[str, object]:
    found = re.search(rf'id="{name}">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    loaded: dict[str, object] = json.loads(found[1])
    return loaded


def test_it_is_one_file_that_asks_for_nothing(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    asked = re.findall(r'(?:src|href)="(?!data:|#)([^"]*)"', text)
    assert asked == []
    assert "default-src 'none'" in text and "@import" not in text
    assert len(text) < 15e6

    class Tags(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag in ("section", "dialog", "table", "main", "figure"):
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            if tag in ("section", "dialog", "table", "main", "figure"):
                assert self.open.pop() == tag

    tags = Tags()
    tags.feed(text)
    assert tags.open == []


def test_simulated_catalogs_say_so_first(page: Path) -> None:
    body = page.read_text(encoding="utf-8").split("<body>")[1]
    assert body.index("Simulated.") < body.index("<h1>")


def test_every_rejection_is_on_it(page: Path, built: Workspace) -> None:
    text = page.read_text(encoding="utf-8")
    for stage in json.loads(built.summary.read_text()).values():
        for reason, number in stage["rejected"].items():
            assert f"<li><b>{number:,}</b>{reason}</li>" in text


def test_the_map_holds_every_chip_and_candidate_once(page: Path, built: Workspace) -> None:
    layers = data(page, "map-data")["layers"]
    for name, rows in (
        ("sample", Catalog.open(built.catalog).table.num_rows),
        ("pool", sum(pq.read_metadata(part).num_rows for part in built.pool.glob("*.parquet"))),
    ):
        assert unpacked(layers[name]["count"]).sum() == rows  # type: ignore[index]


def test_the_gallery_shows_each_climate_and_land_cover_that_was_cut(page: Path, built: Workspace) -> None:
    found = data(page, "gallery-data")
    table = Catalog.open(built.catalog).table
    there = set(zip(table["koppen_symbol"].to_pylist(), table["lc_dominant_name"].to_pylist(), strict=True))
    chips: list[dict[str, str]] = found["chips"]  # type: ignore[assignment]
    assert {(chip["climate"], chip["cover"]) for chip in chips} == there
    assert len({chip["id"] for chip in chips}) == len(chips)
    assert found["names"] == ["S2 true colour", "S2 false colour", "S1 VV, VH, VV − VH", "Land cover"]


def test_matrices_are_shares_of_the_chips(built: Workspace) -> None:
    table = Catalog.open(built.catalog).table
    rows = pc.unique(table["koppen_symbol"]).to_pylist()
    columns = pc.unique(table["lc_dominant_name"]).to_pylist()
    shares = shares_of(table, rows, columns)
    assert shares.sum() == pytest.approx(1)
    of = pc.and_(pc.equal(table["koppen_symbol"], rows[0]), pc.equal(table["lc_dominant_name"], columns[0]))
    assert shares[0, 0] == pytest.approx(pc.sum(of).as_py() / table.num_rows if pc.any(of).as_py() else 0)


def test_distances_of_splits_are_those_of_the_draw(built: Workspace) -> None:
    catalog = Catalog.open(built.catalog)
    found = [km for name, km in split_distances(catalog.table) if name.startswith("train") and km is not None]
    said = catalog.meta.notes["draw"]["least_train_eval_km"]
    assert (min(found) if found else None) == (pytest.approx(said) if said is not None else None)


def test_figures_come_as_files(page: Path) -> None:
    folder = page.parent / "figures"
    drawings = sorted(folder.glob("*.svg"))
    assert {path.name.split("-")[0] for path in drawings} == {"mix", "distribution", "bands", "splits"}
    for path in drawings:
        xml.dom.minidom.parse(str(path))
    assert Image.open(folder / "pairs.png").width > 200


def test_without_its_pool_a_catalog_still_has_a_page(built: Workspace, tmp_path: Path) -> None:
    shutil.copy(built.catalog, tmp_path)
    alone = tmp_path / built.catalog.name
    shutil.copytree(built.root / Catalog.open(alone).meta.chips, tmp_path / Catalog.open(alone).meta.chips)
    text = write_report(alone).path.read_text(encoding="utf-8")
    assert "No summaries of the stages lie beside this catalog." in text
    assert "does not exist" in text
    assert "land-cover map is not shown" in text


def test_chips_that_were_not_cut_are_not_shown(workspace: Workspace) -> None:
    table = pq.read_table(workspace.catalog)
    for name in ("shard", "shard_row"):
        column = table.schema.get_field_index(name)
        field = table.schema.field(name)
        table = table.set_column(column, field, pa.nulls(table.num_rows, field.type))
    pq.write_table(table, workspace.catalog)
    text = write_report(workspace.catalog).path.read_text(encoding="utf-8")
    assert "No chip of this catalog has been cut yet" in text


def test_the_command_writes_it_again_only_where_something_changed(workspace: Workspace) -> None:
    first = write_report(workspace.catalog)
    assert not first.reused
    assert write_report(workspace.catalog, again=False).reused
    workspace.summary.write_text(workspace.summary.read_text() + " ")
    assert not write_report(workspace.catalog, again=False).reused
    result = CliRunner().invoke(app, ["report", "--root", str(workspace.root)])
    assert result.exit_code == 0 and (workspace.root / f"{workspace.slug}.html").exists()


def test_no_catalog_no_page(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no catalog"):
        write_report(tmp_path / "none.parquet")


def test_what_lies_beside_is_read_with_care(workspace: Workspace) -> None:
    subject = Subject.open(workspace.catalog)
    (workspace.folder / "alignment.json").write_text("{broken")
    assert subject.beside("alignment.json") is None
    shift = {
        "bands": ["B08", "VV"],
        "chips": 7,
        "clear": 5,
        "median_px": [0.5, -0.25],
        "spread_px": [0.1, 0.2],
    }
    found = {"resolution_m": 10.0, "sensors": {"s1": {**shift, "together_px": None}}}
    (workspace.folder / "alignment.json").write_text(json.dumps(found))
    text = write_report(workspace.catalog).path.read_text(encoding="utf-8")
    assert "B08 and VV" in text and "+0.50, -0.25" in text
    assert '<td class="number">7</td><td class="number">5</td>' in text


def test_histograms_of_bands_are_drawn_where_they_were_kept(workspace: Workspace) -> None:
    path = workspace.statistics
    kept = json.loads(path.read_text())
    bands = len(kept["s1"]["bands"])
    kept["s1"] |= {"edges": [[-40, -20, -10, 0, 10]] * bands, "histogram": [[1, 5, 9, 2]] * bands}
    for name in ("edges", "histogram"):
        kept["s2"].pop(name, None)
    path.write_text(json.dumps(kept))
    subject = Subject.open(workspace.catalog)
    (_, s2), (_, s1) = spectra(subject.statistics, subject)
    assert s1.count("<path") == bands and s2.count("<path") == 0


def test_labels_of_an_axis_tell_its_values_apart() -> None:
    assert labels([13.86, 13.865, 13.87]) == ["13.860", "13.865", "13.870"]
    assert labels([0, 5000, 10000]) == ["0", "5,000", "10,000"]
    assert labels([]) == [] and labels([1e-7, 2e-7]) == ["1e-07", "2e-07"]
