"""Where a region's tables lie, and whether they are fresh."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.catalog.errors import InputError
from curate.catalog.schema import METADATA_KEY
from curate.recipe import Recipe
from curate.workspace import Workspace, find, is_fresh, key_of, read_table


def test_paths_of_a_region(tmp_path: Path) -> None:
    place = Workspace(tmp_path, "eu")
    assert place.catalog == tmp_path / "eu.parquet"
    assert place.chips("k") == tmp_path / "eu" / "chips" / "k"


@pytest.mark.parametrize(
    "href", ["/elsewhere/a.tif", "https://host/a.tif", "s3://bucket/a.tif", "/vsicurl/https://h/a.tif"]
)
def test_hrefs_elsewhere_stay(tmp_path: Path, href: str) -> None:
    place = Workspace(tmp_path, "eu")
    assert place.relative(href) == href == place.absolute(href)


def test_hrefs_below_the_root_move_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Workspace(tmp_path, "eu")
    href = str(tmp_path / "eu" / "archive" / "a.tif")
    assert place.relative(href) == "eu/archive/a.tif"
    assert place.absolute("eu/archive/a.tif") == href
    monkeypatch.chdir(tmp_path.parent)
    assert Workspace(Path(tmp_path.name), "eu").relative(href) == "eu/archive/a.tif"
    assert place.relative(str(tmp_path) + "2/a.tif") == str(tmp_path) + "2/a.tif"


def test_the_only_region_is_found(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no pool"):
        find(tmp_path, None)
    Recipe().save(Workspace(tmp_path, "eu").recipe)
    assert find(tmp_path, None).slug == "eu"
    assert find(tmp_path, None).load_recipe() == Recipe()
    Recipe().save(Workspace(tmp_path, "af").recipe)
    with pytest.raises(InputError, match="af, eu"):
        find(tmp_path, None)
    assert find(tmp_path, "eu").slug == "eu"
    with pytest.raises(InputError, match="no pool for region 'xx'"):
        find(tmp_path, "xx").load_recipe()


def test_a_stage_that_has_not_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="curate pair"):
        Workspace(tmp_path, "eu").require(tmp_path / "pairs.parquet", "pair")


def test_freshness(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    assert not is_fresh(path, "k")
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({METADATA_KEY: b'{"key": "k"}'}), path)
    assert is_fresh(path, "k") and not is_fresh(path, "other")
    path.write_bytes(path.read_bytes()[:-10])
    assert not is_fresh(path, "k")
    with pytest.raises(InputError, match=r"t\.parquet cannot be read"):
        read_table(path)
    pq.write_table(pa.table({"a": [1]}), path)
    assert not is_fresh(path, "k")


def test_keys_follow_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("1")
    one = key_of([path], {"x": 1})
    assert one == key_of([path], {"x": 1}) != key_of([path], {"x": 2})
    path.write_text("2")
    assert one != key_of([path], {"x": 1})
