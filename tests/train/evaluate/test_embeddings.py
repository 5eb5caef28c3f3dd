"""Embedding tables: what is in them, who takes them, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile

from curate.catalog import InputError
from curate.descriptors.embedding import open_descriptor
from curate.recipe import Recipe
from curate.workspace import Workspace
from train.checkpoint import load_model
from train.data import Chips
from train.evaluate import embeddings
from train.evaluate.embed import embed
from train.evaluate.folders import ImageFolder, Stored, fitted
from train.evaluate.images import check_values, narrowed, open_images
from train.evaluate.running import embed_images


def quiet(_: object) -> None:
    pass


@pytest.fixture(scope="module")
def tables(weights, toy, tmp_path_factory):
    out = tmp_path_factory.mktemp("embeddings")
    embed_images(weights, toy, out=out, joined=True, batch_size=17, say=quiet)
    return out


def test_rows_are_the_features_of_the_chips(weights, toy, tables):
    model, data = load_model(weights)
    chips = open_images(toy, data, "train+val+test")
    expected = embed(model, chips, 200)
    for prefix in ("s2", "s1", "all"):
        ids, vectors, card = embeddings.read_embeddings(tables / f"{prefix}.parquet")
        assert ids.tolist() == chips.ids.tolist()
        np.testing.assert_allclose(vectors, expected[prefix], atol=1e-5)
        assert (
            card["sensor"] == prefix
            and card["model"] == "CSMoE"
            and card["data"]
            == data.to_json() | {"sensors": json.loads(json.dumps(data.to_json()["sensors"]))}
        )


def test_columns_are_major_toms_and_geopandas_reads_them(tables):
    names = pq.read_schema(tables / "s2.parquet").names
    assert {
        "unique_id",
        "embedding",
        "timestamp",
        "product_id",
        "grid_cell",
        "geometry",
        "centre_lat",
    } <= set(names)
    frame = geopandas.read_parquet(tables / "s2.parquet")
    assert frame.crs is not None and len(frame) == 96 and frame.geometry.is_valid.all()
    inside = frame.geometry.bounds
    assert (inside.minx.to_numpy() <= frame.centre_lon + 1e-9).all()


def test_the_sampler_takes_the_table(tables, toy):
    recipe = Recipe().with_options({"descriptors.embedding": str(tables / "all.parquet")})
    descriptor = open_descriptor(recipe, Workspace(tables, "x"))
    ids, vectors, _ = embeddings.read_embeddings(tables / "all.parquet")
    wanted = [*ids[[5, 2, 70]], "another"]
    found = descriptor.describe(type("Asked", (), {"chip_id": np.array(wanted)})())["embedding"]
    np.testing.assert_allclose(found[:3], vectors[[5, 2, 70]], rtol=1e-6)
    assert np.isnan(found[3]).all()


def test_a_killed_run_goes_on(weights, toy, tables, tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings, "PART_ROWS", 20)
    seen = []

    def stop_at(limit):
        def say(line):
            seen.append(line)
            if len(seen) == limit:
                raise KeyboardInterrupt

        return say

    with pytest.raises(KeyboardInterrupt):
        embed_images(weights, toy, out=tmp_path, say=stop_at(3))
    assert not (tmp_path / "s2.parquet").exists()
    embed_images(weights, toy, out=tmp_path, say=seen.append)
    done = [line for line in seen if str(line).startswith("embedded")]
    assert len(done) == len(set(done)) == 5  # no part twice
    whole = embeddings.read_embeddings(tables / "s2.parquet")[1]
    np.testing.assert_allclose(embeddings.read_embeddings(tmp_path / "s2.parquet")[1], whole, atol=1e-5)
    assert not (tmp_path / "parts").exists()


def test_another_models_table_is_not_written_over(weights, toy, tables):
    with pytest.raises(InputError, match="another model or of other images"):
        embed_images(weights, toy, out=tables, split="test", say=quiet)


def test_one_sensor_alone(weights, toy, tmp_path):
    assert [p.name for p in embed_images(weights, toy, out=tmp_path, sensors=["s1"], say=quiet)] == [
        "s1.parquet"
    ]
    with pytest.raises(InputError, match="no sensor 's3'"):
        embed_images(weights, toy, out=tmp_path, sensors=["s3"], say=quiet)
    with pytest.raises(InputError, match="either --catalog or --images"):
        embed_images(weights, out=tmp_path, say=quiet)


@pytest.fixture(scope="module")
def chips(weights, toy) -> Chips:
    _, data = load_model(weights)
    return open_images(toy, data, "test", ["s2"])


def write_folder(folder, chips, bands, writer):
    stored = chips.gather(np.arange(6))["s2"]
    order = [chips.config.sensors[0].bands.index(band) for band in bands]
    folder.mkdir()
    for name, image in zip("abcdef", stored[:, order], strict=True):
        writer(folder / name, image)
    return stored


def as_tiff(path, image, names=()):
    items = "".join(
        f'<Item name="DESCRIPTION" sample="{i}" role="description">{b}</Item>' for i, b in enumerate(names)
    )
    tags = [(42112, "s", 0, f"<GDALMetadata>{items}</GDALMetadata>", True)] if names else []
    tifffile.imwrite(
        path.with_suffix(".tif"), np.moveaxis(image, 0, -1), planarconfig="contig", extratags=tags
    )


def test_a_folder_gives_the_features_that_its_chips_give(weights, chips, tmp_path):
    model, data = load_model(weights)
    names = chips.config.sensors[0].bands
    shuffled = (*names[5:], *names[:5])
    expected = embed(model, chips, 200)["s2"][:6]
    write_folder(tmp_path / "tiff", chips, shuffled, lambda p, x: as_tiff(p, x, shuffled))
    write_folder(tmp_path / "npy", chips, names, lambda p, x: np.save(p.with_suffix(".npy"), x))
    scaling = {"scale": 1e-4, "nodata": 0.0}
    for stored in (Stored(tmp_path / "tiff", None, **scaling), Stored(tmp_path / "npy", names, **scaling)):
        folder = ImageFolder({"s2": stored}, data)
        np.testing.assert_allclose(embed(model, folder)["s2"], expected, atol=1e-5)
        np.testing.assert_allclose(folder.band_means(), chips.band_means()[:6], atol=1e-5)


def test_a_folder_of_band_files(weights, chips, tmp_path):
    model, data = load_model(weights)
    names = chips.config.sensors[0].bands

    def write(path, image):
        path.mkdir()
        for band, values in zip(names, image, strict=True):
            tifffile.imwrite(path / f"{path.name}_{band}.tif", values[::2, ::2] if band == "B11" else values)

    stored = write_folder(tmp_path / "patches", chips, names, write)
    folder = ImageFolder({"s2": Stored(tmp_path / "patches", scale=1e-4)}, data)
    read = folder.gather(np.arange(6))["s2"]
    np.testing.assert_array_equal(read[:, :8], stored[:, :8])
    np.testing.assert_array_equal(read[:, 8, ::2, ::2], stored[:, 8, ::2, ::2])
    (tmp_path / "patches" / "c" / "c_B04.tif").unlink()
    with pytest.raises(InputError, match="no file of band B04"):
        embed(model, folder)


def test_wrong_units_and_bands_are_refused(weights, chips, tmp_path):
    _, data = load_model(weights)
    names = chips.config.sensors[0].bands
    write_folder(tmp_path / "npy", chips, names, lambda p, x: np.save(p.with_suffix(".npy"), x))
    write_folder(tmp_path / "tiff", chips, names, lambda p, x: as_tiff(p, x, names))
    write_folder(
        tmp_path / "rgb", chips, ("B04", "B03", "B02"), lambda p, x: np.save(p.with_suffix(".npy"), x)
    )

    def refused(said: str, folder: str, bands=names, **scaling: float) -> None:
        with pytest.raises(InputError, match=said):
            ImageFolder({"s2": Stored(tmp_path / folder, bands, **scaling)}, data)

    refused("are not reflectance.*--scale", "npy")
    refused("does not name its 10 bands", "npy", None, scale=1e-4)
    refused("--bands says", "tiff", names[::-1], scale=1e-4)
    refused("has no band B05", "rgb", ("B04", "B03", "B02"), scale=1e-4)
    refused("--bands names 10", "rgb", names, scale=1e-4)
    refused("There is no folder", "absent")


def test_power_in_the_place_of_decibels_is_refused(weights, toy):
    _, data = load_model(weights)
    chips = open_images(toy, data, "test", ["s1"])
    power = replace(chips.config.sensors[0], scale=-1e-4, offset=0.0)
    chips.config = replace(chips.config, sensors=(power,))
    chips._infos = {}
    chips.band_means = lambda: np.full((5, 2), 0.1)
    chips.some = lambda *_: chips
    with pytest.raises(InputError, match="power is not decibels"):
        check_values(chips)


def test_a_catalog_with_another_band_order_is_refused(weights, toy):
    _, data = load_model(weights)
    first = data.sensors[0]
    turned = replace(data, sensors=(replace(first, bands=first.bands[::-1]), *data.sensors[1:]))
    with pytest.raises(InputError, match="bands of sensor 's2'"):
        open_images(toy, turned, "test")
    with pytest.raises(InputError, match="no chips in split"):
        open_images(toy, data, "nothing")
    assert [s.prefix for s in narrowed(data, ["s1"]).sensors] == ["s1"]


@pytest.mark.parametrize("shape", [(5, 7), (12, 9), (8, 8), (3, 20)])
def test_images_are_cut_or_continued_about_their_middle(shape):
    image = np.arange(2 * shape[0] * shape[1]).reshape(2, *shape)
    found = fitted(image, 8)
    assert found.shape == (2, 8, 8)
    assert np.isin(found, image).all()
    top, left = max(0, (shape[0] - 8) // 2), max(0, (shape[1] - 8) // 2)
    high, low = (8 - min(8, n) for n in shape)
    assert found[0, high // 2, low // 2] == image[0, top, left]
