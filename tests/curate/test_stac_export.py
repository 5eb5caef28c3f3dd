"""Chips as STAC items, opened again by the libraries of the field."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.catalog import Catalog, InputError
from curate.catalog.shards import open_shard
from curate.stac_export import export_stac
from curate.workspace import Workspace


@pytest.fixture(scope="module")
def exported(built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_stac(built.catalog, tmp_path_factory.mktemp("stac") / "eu-stac.parquet")


def test_items_are_those_of_the_specification(built: Workspace, exported: Path) -> None:
    stac_geoparquet = pytest.importorskip("stac_geoparquet")
    pystac = pytest.importorskip("pystac")
    catalog = Catalog.open(built.catalog)
    found: list[dict[str, Any]] = list(stac_geoparquet.arrow.stac_table_to_items(pq.read_table(exported)))
    assert [item["id"] for item in found] == catalog.table["chip_id"].to_pylist()
    collection = pystac.Collection.from_file(str(exported.with_suffix(".json")))
    assert collection.id == found[0]["collection"]
    for item, row in zip(found, catalog.table.to_pylist(), strict=True):
        json.dumps(item)  # all of it is plain
        assert [link["href"] for link in item["links"] if link["rel"] == "collection"] == ["eu-stac.json"]
        parsed = pystac.Item.from_dict(item)
        assert parsed.datetime == row["s2_datetime"]
        assert parsed.properties["proj:code"] == f"EPSG:{row['epsg']}"
        assert parsed.properties["proj:transform"] == row["transform"]
        assert parsed.properties["curate:lc_dominant"] == row["lc_dominant"]
        assert parsed.properties["curate:simulated"] is True
        np.testing.assert_allclose(parsed.bbox, list(row["bbox"].values()))
        shard = open_shard(exported.parent / item["assets"]["pixels"]["href"])
        assert shard.column("chip_id")[item["properties"]["curate:shard_row"]].as_py() == item["id"]


def test_rustac_and_geopandas_open_it(exported: Path) -> None:
    rustac, geopandas = pytest.importorskip("rustac"), pytest.importorskip("geopandas")

    async def read() -> dict[str, Any]:
        return await rustac.read(str(exported))

    with ThreadPoolExecutor(1) as thread:  # this one may have a browser's loop running in it
        found = thread.submit(asyncio.run, read()).result()
    frame = geopandas.read_parquet(exported)
    assert [item["id"] for item in found["features"]] == frame["id"].tolist()
    assert set(found["features"][0]["assets"]) == {"pixels"}
    assert frame.crs.to_string() == "OGC:CRS84"


def test_a_chip_without_pixels_has_no_asset(workspace: Workspace, tmp_path: Path) -> None:
    stac_geoparquet = pytest.importorskip("stac_geoparquet")
    table = pq.read_table(workspace.catalog)
    for name in ("shard", "shard_row"):
        column = table[name].to_pylist()
        index = table.column_names.index(name)
        field = table.schema.field(name)
        table = table.set_column(index, field, pa.array([None, *column[1:]], field.type))
    pq.write_table(table, workspace.catalog)
    found = list(
        stac_geoparquet.arrow.stac_table_to_items(
            pq.read_table(export_stac(workspace.catalog, tmp_path / "x.parquet"))
        )
    )
    assert not found[0]["assets"] and found[1]["assets"]


def test_the_catalog_is_not_written_over(built: Workspace) -> None:
    with pytest.raises(InputError, match="the catalog itself"):
        export_stac(built.catalog, built.catalog)


def test_items_and_collection_keep_to_the_schema_of_stac(exported: Path) -> None:
    pytest.importorskip("jsonschema")
    stac_geoparquet, pystac = pytest.importorskip("stac_geoparquet"), pytest.importorskip("pystac")
    for item in stac_geoparquet.arrow.stac_table_to_items(pq.read_table(exported)):
        pystac.Item.from_dict(
            {**item, "stac_extensions": []}
        ).validate()  # extensions' schemas lie on the network
    pystac.Collection.from_file(str(exported.with_suffix(".json"))).validate()
