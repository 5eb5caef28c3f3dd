import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.catalog import Catalog, InputError, SensorInfo
from curate.catalog.schema import METADATA_KEY
from curate.catalog.shards import SensorChips, checksums, open_shard, pixels, write_shard
from train.data import Chips, DataConfig, Sensor, open_catalog
from train.evaluate.images import open_images
from train.kinds import KINDS, Rows
from train.loader import Loader, Order
from train.optimise import TrainConfig


@pytest.fixture(scope="module")
def catalog(toy):
    return open_catalog(toy)


@pytest.fixture(scope="module")
def config(catalog):
    return DataConfig.of(catalog)


def test_normalised_pixels_have_zero_mean_and_unit_deviation(catalog, config):
    chips = Chips(catalog, config, "train")
    stored = chips.gather(np.arange(len(chips)))
    images = config.images({s: torch.from_numpy(v) for s, v in stored.items()})
    for sensor in config.sensors:
        image, missing = images[sensor.prefix], torch.from_numpy(stored[sensor.prefix]) == sensor.nodata
        assert image.dtype == torch.float32
        assert missing.any()
        assert not image[missing].any()
        for band in range(len(sensor.bands)):
            values = image[:, band][~missing[:, band]].double()
            assert values.mean().abs() < 1e-3
            assert (values.std() - 1).abs() < 1e-3


def test_normalising_is_scale_then_offset_then_statistics():
    sensor = Sensor("x", "x", ("a", "b"), "m", 0.5, -3.0, -1, (10.0, 20.0), (2.0, 0.0))
    stored = torch.tensor([[[[4, -1]], [[7, 8]]]], dtype=torch.int16)
    expected = [[[[(4 * 0.5 - 3 - 10) / 2, 0.0]], [[7 * 0.5 - 3 - 20, 8 * 0.5 - 3 - 20]]]]
    torch.testing.assert_close(sensor.normalise(stored), torch.tensor(expected))


def test_bands_are_normalised_by_their_own_scale():
    sensor = Sensor("x", "x", ("a", "b"), "m", 0.5, -3.0, -1, (10.0, 300.0), (2.0, 4.0), (0.5, 0.01))
    stored = torch.tensor([[[[4, -1]], [[30_300, 30_700]]]], dtype=torch.int16)
    expected = [[[[(4 * 0.5 - 3 - 10) / 2, 0.0]], [[0.0, 1.0]]]]
    torch.testing.assert_close(sensor.normalise(stored), torch.tensor(expected), atol=1e-4, rtol=0)


def test_unsigned_and_wide_integers_are_read_exactly():
    high = Sensor("x", "x", ("a",), "m", 1.0, 0.0, 0, (0.0,), (1.0,))
    stored = torch.from_numpy(np.array([[[[65535, 0]]]], np.uint16))
    assert high.normalise(stored).flatten().tolist() == [65535.0, 0.0]
    wide = replace(high, nodata=-(2**31))
    assert wide.normalise(torch.tensor([[[[-(2**31), 5]]]], dtype=torch.int32)).flatten().tolist() == [
        0.0,
        5.0,
    ]


def test_gathered_pixels_are_those_of_the_chips_asked_for(catalog, config):
    chips = Chips(catalog, config, "test")
    asked = np.random.default_rng(0).permutation(len(chips))[:17]
    for order in (asked, chips.in_storage_order(asked)):
        found = chips.gather(order)
        for prefix, info in catalog.sensors.items():
            for place, chip in enumerate(order):
                shard = open_shard(catalog.chips_folder / chips.columns["shard"][chip])
                row = chips.columns["shard_row"][chip]
                truth = pixels(shard, prefix, len(info.bands), 32)[row]
                assert np.array_equal(found[prefix][place], truth)
                assert shard["chip_id"][int(row)].as_py() == chips.ids[chip]


def test_splits_share_no_chip_and_lose_none(catalog, config):
    splits = [set(Chips(catalog, config, split).ids) for split in ("train", "val", "test")]
    assert sum(map(len, splits)) == len(set.union(*splits)) == catalog.table.num_rows


def test_band_means_are_in_physical_units(catalog, config):
    chips = Chips(catalog, config, "val")
    stored = chips.gather(np.arange(len(chips)))
    for sensor, columns in (("s2", slice(0, 10)), ("s1", slice(10, 12))):
        info = catalog.sensors[sensor]
        values = np.where(stored[sensor] == info.nodata, np.nan, stored[sensor].astype(float))
        expected = np.nanmean(values, axis=(2, 3)) * info.scale + info.offset
        np.testing.assert_allclose(chips.band_means()[:, columns], expected, rtol=1e-9)


def test_some_chips_are_a_seeded_draw(catalog, config):
    chips = Chips(catalog, config, "train")
    few = chips.some(10, seed=1)
    assert len(few) == 10
    assert set(few.ids) < set(chips.ids)
    assert list(few.ids) == list(chips.some(10, seed=1).ids) != list(chips.some(10, seed=2).ids)
    index = [list(chips.ids).index(chip) for chip in few.ids]
    assert np.array_equal(few.gather(np.arange(10))["s1"], chips.gather(np.array(index))["s1"])
    assert chips.some(10**6, seed=1) is chips


def test_a_configuration_survives_json(config):
    import json

    assert DataConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_a_model_keeps_its_statistics_on_another_catalog(catalog, config):
    mine = replace(
        config, sensors=tuple(replace(s, mean=tuple(m + 1 for m in s.mean)) for s in config.sensors)
    )
    assert mine.on(catalog) == mine


@pytest.mark.parametrize("field", ["bands", "unit", "name"])
def test_a_catalog_that_means_something_else_is_refused(catalog, config, field):
    other = {"bands": tuple(reversed(config.sensors[0].bands)), "unit": "DN", "name": "sentinel-2-l1c"}[field]
    mine = replace(config, sensors=(replace(config.sensors[0], **{field: other}), config.sensors[1]))
    with pytest.raises(InputError, match=f"{field} of sensor 's2'"):
        mine.on(catalog)


def test_a_missing_sensor_is_named(catalog):
    with pytest.raises(InputError, match=r"no sensor 'dem'.*s2, s1"):
        DataConfig.of(catalog, ["s2", "dem"])


def test_no_catalog(tmp_path):
    with pytest.raises(InputError, match="There is no catalog"):
        open_catalog(tmp_path / "none.parquet")


def test_a_catalog_without_pixels(make_catalog, tmp_path):
    with pytest.raises(InputError, match="have no pixels"):
        open_catalog(make_catalog(tmp_path, chips=4, cut=False))


def test_a_catalog_of_another_version(toy, tmp_path):
    table = pq.read_table(toy)
    key = b"curate"
    fields = table.schema.metadata[key].replace(b'"schema_version": 1', b'"schema_version": 99')
    pq.write_table(table.replace_schema_metadata({key: fields}), tmp_path / "new.parquet")
    with pytest.raises(InputError, match="schema version 99"):
        open_catalog(tmp_path / "new.parquet")


def test_statistics_that_are_not_finite(make_catalog, tmp_path):
    path = make_catalog(tmp_path, chips=4, shares=(1, 0, 0))
    broken = tmp_path / "toy" / "statistics.json"
    broken.write_text(broken.read_text().replace('"mean": [\n', '"mean": [\nNaN,', 1))
    with pytest.raises(InputError, match="not all finite"):
        DataConfig.of(Catalog.open(path))


@pytest.mark.parametrize("damage", ["missing", "truncated", "short", "another"])
def test_a_shard_that_is_not_what_the_catalog_says(make_catalog, tmp_path, damage):
    path = make_catalog(tmp_path, chips=8, per_shard=4, shares=(1, 0, 0))
    shard = tmp_path / "toy" / "chips" / "00000.arrow"
    if damage == "missing":
        shard.unlink()
    elif damage == "truncated":
        shard.write_bytes(shard.read_bytes()[:1000])
    else:
        size = 2 if damage == "short" else 4
        make_catalog(tmp_path / "other", chips=8, per_shard=size, shares=(1, 0, 0))
        shard.write_bytes((tmp_path / "other" / "toy" / "chips" / f"{8 - size:05d}.arrow").read_bytes())
    catalog = open_catalog(path)
    chips = Chips(catalog, DataConfig.of(catalog), "train")
    for _ in range(2):  # a second look sees no more than the first
        with pytest.raises(InputError, match=r"00000\.arrow"):
            chips.gather(np.arange(8))


@pytest.mark.parametrize("there", [True, False], ids=["opened before", "opened after"])
def test_a_shard_whose_bytes_change_never_gives_a_wrong_sample(make_catalog, tmp_path, there):
    opened = open_catalog(make_catalog(tmp_path, chips=8, per_shard=4, shares=(1, 0, 0)))
    chips = Chips(opened, DataConfig.of(opened), "train")
    shard = tmp_path / "toy" / "chips" / "00004.arrow"
    stored = pixels(open_shard.__wrapped__(shard), "s2", 10, 32)
    start = shard.read_bytes().index(stored[2].tobytes())
    if there:
        chips.gather(np.arange(8))
    with shard.open("r+b") as file:
        file.seek(start + stored[2].nbytes // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 16]))
    chips.gather(np.array([0, 1, 2, 3, 4, 5, 7]))  # others of the shard are as they were
    with pytest.raises(InputError, match=r"00004\.arrow has changed") as told:
        chips.gather(np.arange(8))
    assert chips.named(np.array([6]))[0] in str(told.value)


@settings(max_examples=20, deadline=None)
@given(bands=st.integers(1, 3), px=st.integers(1, 9), seed=st.integers(0, 99), bit=st.integers(0, 7))
def test_any_flipped_bit_changes_a_chips_sum(bands, px, seed, bit):
    random = np.random.default_rng(seed)
    chips = random.integers(0, 2**16, (3, bands, px, px), np.uint16)
    whole = b"".join(part + bytes(-len(part) % 8) for part in (chip.tobytes() for chip in chips))
    words = np.frombuffer(whole, "<u8").reshape(3, -1)
    before = checksums(chips)
    assert before.tolist() == [sum(row.tolist()) % 2**64 for row in words]
    flat = chips.view(np.uint8).reshape(3, -1)
    flat[1, random.integers(flat.shape[1])] ^= np.uint8(1 << bit)
    assert (checksums(chips) == before).tolist() == [True, False, True]


def without_s1(path, rows):
    """The shard at *path* with no data of s1 in *rows*."""
    batch, px = open_shard.__wrapped__(path), 32
    described = json.loads(batch.schema.metadata[METADATA_KEY])["sensors"]
    sensors = [SensorInfo.from_json(fields) for fields in described]
    stored = {}
    for info in sensors:
        values = pixels(batch, info.prefix, len(info.bands), px).copy()
        valid = np.ones(len(values), np.float32)
        if info.prefix == "s1":
            values[rows], valid[rows] = info.nodata, 0
        stored[info.prefix] = SensorChips(values, valid, np.zeros_like(valid))
    write_shard(path, sensors, batch.column("chip_id").to_pylist(), stored)


def test_a_sensor_that_chips_lack_is_masked_and_reaches_nothing(make_catalog, tmp_path, small_config):
    """What is in the place of missing pixels changes neither a loss nor a gradient."""
    catalog = make_catalog(tmp_path, chips=16)
    shard = tmp_path / "toy" / "chips" / "00000.arrow"
    opened = open_catalog(catalog)
    chips = Chips(opened, DataConfig.of(opened), "train")
    assert next(iter(Loader(chips, 4, 0).batches(0, 1))).present == {}
    lacking = [1, 5, 6]
    without_s1(shard, lacking)
    open_shard.cache_clear()
    chips = Chips(opened, DataConfig.of(opened), "train")
    batch = Loader(chips, len(chips), 0).fetch(Order(0, np.arange(len(chips))))
    rows = chips.columns["shard_row"][batch.chips]
    assert set(batch.present) == {"s1"}
    assert np.array_equal(batch.present["s1"].numpy(), ~np.isin(rows, lacking))

    gradients = []
    for filling in (0.0, float("nan")):
        images, present = batch.on(torch.device("cpu"), chips.config)
        images["s1"][~present["s1"]] = filling
        model = KINDS["csmoe"].untrained(small_config, 0)
        learning = KINDS["csmoe"].pretraining(model, TrainConfig(steps=1, batch_size=len(chips), lr=1e-3))
        learning(images, present, Rows(0, 0, len(chips), len(chips)))["total"].backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert all(gradient.isfinite().all() for gradient in gradients[0])


def test_features_are_judged_on_chips_that_have_all_sensors(make_catalog, tmp_path):
    catalog = make_catalog(tmp_path, chips=16)
    data = DataConfig.of(open_catalog(catalog))
    everything = open_images(catalog, data, "train+val+test")
    assert everything.complete() is everything
    shard = tmp_path / "toy" / "chips" / "00000.arrow"
    lacking = open_shard.__wrapped__(shard).column("chip_id").take(pa.array([1, 5, 6])).to_pylist()
    without_s1(shard, [1, 5, 6])
    open_shard.cache_clear()
    complete = open_images(catalog, data, "train+val+test")
    assert complete.ids.tolist() == [chip for chip in everything.ids if chip not in lacking]
    assert len(open_images(catalog, data, "train+val+test", ["s2"])) == 16
    assert np.isfinite(complete.band_means()).all()


def test_chips_of_which_none_has_all_sensors_are_refused(make_catalog, tmp_path):
    catalog = make_catalog(tmp_path, chips=16)
    for shard in (tmp_path / "toy" / "chips").glob("*.arrow"):
        without_s1(shard, slice(None))
    open_shard.cache_clear()
    with pytest.raises(InputError, match="has all of s2, s1"):
        open_images(catalog, DataConfig.of(open_catalog(catalog)), "train")


def test_columns_become_arrays_when_they_are_asked_for(catalog, config):
    chips = Chips(catalog, config, "train")
    assert chips.named(np.array([3, 0])) == chips.ids[[3, 0]].tolist()
    some = np.array([5, 2, 2])
    fewer = chips.take(some)
    assert list(fewer.columns) == list(chips.columns)
    assert all(np.array_equal(fewer.columns[name], chips.columns[name][some]) for name in chips.columns)
    fewer.columns["more"] = np.arange(3)
    assert fewer.take(np.array([2])).columns["more"].tolist() == [2]
    del fewer.columns["place"]
    assert "place" not in fewer.columns
    assert "place" in chips.columns


def test_a_digest_is_of_the_chips_and_their_order(catalog, config):
    chips = Chips(catalog, config, "train")
    forth = np.arange(len(chips))
    assert chips.digest() == Chips(catalog, config, "train").digest() == chips.take(forth).digest()
    assert len({chips.digest(), chips.take(forth[::-1].copy()).digest(), chips.take(forth[1:]).digest()}) == 3


def test_a_shard_deleted_under_training_is_named(make_catalog, tmp_path):
    opened = open_catalog(make_catalog(tmp_path, chips=32))
    chips = Chips(opened, DataConfig.of(opened), "train")
    chips.gather(np.arange(len(chips)))  # all shards are mapped now
    batches = Loader(chips, 4, 0).batches(0, 100, workers=2)
    next(batches)
    fresh = Chips(opened, DataConfig.of(opened), "train")
    open_shard.cache_clear()
    (tmp_path / "toy" / "chips" / "00016.arrow").unlink()
    next(batches)  # who has it mapped goes on
    with pytest.raises(InputError, match=r"00016\.arrow"):
        list(Loader(fresh, 4, 0).batches(0, 8, workers=2))
    batches.close()
