"""`curate chips`: what is wrong is named, what is right is shown and handed on unchanged."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.warp
from PIL import Image
from typer.testing import CliRunner

from curate.catalog import Catalog, InputError
from curate.catalog.shards import MANIFEST, mask, open_shard, pixels
from curate.cli import app
from curate.pixels.export import export
from curate.pixels.verify import verify
from curate.workspace import Workspace


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["chips", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def stored(catalog: Catalog, row: int, prefix: str) -> np.ndarray:
    info = catalog.sensors[prefix]
    batch = open_shard(catalog.chips_folder / catalog.table["shard"][row].as_py())
    every = pixels(batch, prefix, len(info.bands), catalog.meta.chip_px)
    return every[catalog.table["shard_row"][row].as_py()]


def test_a_whole_catalog_verifies(built: Workspace) -> None:
    code, said = run("verify", built.catalog)
    assert code == 0, said
    rows = Catalog.open(built.catalog).table.num_rows
    assert f"{rows:,} chips in" in said and "all as written" in said
    assert "Alignment of s1 to the anchor" in said
    assert run("verify", "--root", built.root)[0] == 0


@pytest.mark.parametrize("fault", ["flipped", "cut short", "deleted", "unknown", "swapped"])
def test_a_broken_shard_is_named(fault: str, workspace: Workspace) -> None:
    catalog = Catalog.open(workspace.catalog)
    folder = catalog.chips_folder
    name, other = sorted(set(catalog.table["shard"].to_pylist()))[:2]
    content = bytearray((folder / name).read_bytes())
    if fault == "flipped":
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)
    elif fault == "cut short":
        (folder / name).write_bytes(content[:-100])
    elif fault == "deleted":
        (folder / name).unlink()
    elif fault == "swapped":
        (folder / name).write_bytes((folder / other).read_bytes())
    else:
        lines = (folder / MANIFEST).read_text().splitlines(keepends=True)
        (folder / MANIFEST).write_text("".join(line for line in lines if name not in line))
    open_shard.cache_clear()
    code, said = run("verify", workspace.catalog)
    assert code == 2
    assert f"shard {name}: " in said and other not in said


def test_statistics_that_are_not_those_of_the_chips_are_found(workspace: Workspace) -> None:
    content = json.loads(workspace.statistics.read_text())
    content["s1"]["mean"][0] += 1e-6
    workspace.statistics.write_text(json.dumps(content))
    found = verify(Catalog.open(workspace.catalog))
    assert [text for text in found.violations if "statistics of s1" in text]


def test_statistics_hold_histograms_of_every_pixel(built: Workspace) -> None:
    for prefix, found in Catalog.open(built.catalog).statistics().items():
        assert [sum(counts) for counts in found.histogram] == list(found.count), prefix
        median = np.array(found.percentile(50))
        assert (np.abs(median - found.mean) < 2 * np.array(found.std) + 0.01).all()


def test_masks_say_of_every_pixel_what_the_shares_say_of_the_chip(built: Workspace) -> None:
    catalog = Catalog.open(built.catalog)
    px = catalog.meta.chip_px
    for name in set(catalog.table["shard"].to_pylist()):
        batch = open_shard(catalog.chips_folder / name)
        for info in catalog.meta.sensors:
            data = (pixels(batch, info.prefix, len(info.bands), px) != info.nodata).all(1)
            valid, cloud = mask(batch, info.prefix, "valid", px), mask(batch, info.prefix, "cloud", px)
            assert not (valid & ~data).any()
            np.testing.assert_allclose(valid.mean((1, 2)), batch.column(f"{info.prefix}_valid"), atol=1e-6)
            share = batch.column(f"{info.prefix}_cloud").to_numpy(zero_copy_only=False)
            assert np.isnan(share).all() == (info.prefix == "s1")
            np.testing.assert_allclose(cloud.mean((1, 2)), np.nan_to_num(share), atol=1e-6)


def test_a_chip_is_shown(built: Workspace, tmp_path: Path) -> None:
    catalog = Catalog.open(built.catalog)
    chip = catalog.table["chip_id"][1].as_py()
    code, said = run("show", chip, "--root", built.root, "--out", tmp_path / "a.png", "--times", 2)
    assert code == 0 and chip in said and "s1_relative_orbit" in said and "stratum" in said
    image = np.asarray(Image.open(tmp_path / "a.png"))
    side = 2 * catalog.meta.chip_px
    assert image.shape == (side, 2 * side + 8, 3)
    for part in (image[:, :side], image[:, -side:]):
        assert part.std() > 3  # something is to be seen
    with pytest.raises(InputError, match="no chip 'absent'"):
        run("show", "absent", "--root", built.root)


def test_exported_geotiffs_hold_the_pixels_and_lie_in_their_place(built: Workspace, tmp_path: Path) -> None:
    code, said = run("export", "--root", built.root, "--out", tmp_path, "--limit", 5)
    assert code == 0 and "5 chips" in said
    catalog = Catalog.open(built.catalog)
    for row in range(5):
        chip = {
            name: catalog.table[name][row].as_py()
            for name in ("chip_id", "split", "epsg", "transform", "lon", "lat")
        }
        for prefix, info in catalog.sensors.items():
            with rasterio.open(tmp_path / chip["split"] / f"{chip['chip_id']}_{prefix}.tif") as file:
                assert np.array_equal(file.read(), stored(catalog, row, prefix))
                assert file.crs.to_epsg() == chip["epsg"] and list(file.transform)[:6] == chip["transform"]
                assert file.descriptions == info.band_names and file.nodata == info.nodata
                assert file.scales == info.scales and set(file.offsets) == {info.offset}
                assert set(file.units) == {info.unit} and file.tags()["chip_id"] == chip["chip_id"]
                west, south, east, north = rasterio.warp.transform_bounds(file.crs, "EPSG:4326", *file.bounds)
                assert west < chip["lon"] < east and south < chip["lat"] < north
    assert len(list(tmp_path.rglob("*.tif"))) == 10


def test_exported_tars_are_webdatasets(built: Workspace, tmp_path: Path) -> None:
    catalog = Catalog.open(built.catalog)
    assert export(catalog, "webdataset", tmp_path) == catalog.table.num_rows
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(tmp_path.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, kind = member.name.partition(".")
                content = tar.extractfile(member)
                assert content is not None
                found.setdefault(key, {})[kind] = content.read()
    assert len(found) == catalog.table.num_rows
    for row in (0, catalog.table.num_rows - 1):
        sample = found[catalog.table["chip_id"][row].as_py()]
        assert sorted(sample) == ["json", "s1.npy", "s2.npy"]
        assert np.array_equal(np.load(io.BytesIO(sample["s2.npy"])), stored(catalog, row, "s2"))
        about = json.loads(sample["json"])
        assert about["split"] == catalog.table["split"][row].as_py()
        assert about["sensors"]["s1"]["nodata"] == catalog.sensors["s1"].nodata and about["simulated"]
    again = tmp_path / "again"
    export(catalog, "webdataset", again)
    assert all((again / path.name).read_bytes() == path.read_bytes() for path in tmp_path.glob("*.tar"))


def test_webdataset_itself_reads_the_tars(built: Workspace, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    catalog = Catalog.open(built.catalog)
    export(catalog, "webdataset", tmp_path, split="train", limit=7)
    (path,) = tmp_path.glob("train-*.tar")
    samples = list(webdataset.WebDataset(str(path), shardshuffle=False).decode())
    assert len(samples) == 7
    assert samples[0]["s2.npy"].dtype == np.uint16 and samples[0]["json"]["chip_id"] == samples[0]["__key__"]


@pytest.mark.parametrize(
    ("options", "why"), [({"format": "zarr"}, "no format"), ({"split": "all"}, "no split")]
)
def test_wrong_options_are_named(options: dict[str, str], why: str, built: Workspace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=why):
        export(Catalog.open(built.catalog), **{"format": "geotiff", "out": tmp_path, **options})  # type: ignore[arg-type]
