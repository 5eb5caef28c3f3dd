"""Linear probes, fine-tuning, and the study around them."""

from __future__ import annotations

import json
from dataclasses import replace

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from curate.catalog import InputError
from train.checkpoint import load_model
from train.evaluate.arrays import from_torchgeo
from train.evaluate.datasets import open_labelled
from train.evaluate.finetune import Tuning, finetune
from train.evaluate.folds import folds_of
from train.evaluate.images import open_images
from train.evaluate.judging import probe_models
from train.evaluate.knn import neighbour_votes
from train.evaluate.labels import catalog_labels, from_names, from_sets, label_columns
from train.evaluate.linear import choose_strength, fit
from train.evaluate.results import Results
from train.evaluate.study import Setting


def quiet(_: object) -> None:
    pass


@pytest.mark.parametrize("strength", [0.1, 1.0])
def test_linear_probes_equal_scikit_learns(strength):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((120, 7)) * rng.uniform(0.1, 10, 7)
    y = (x[:, 0] / 3 + rng.normal(size=120) > 0).astype(int) + 2 * (rng.random(120) > 0.8)
    scaled = (x - x.mean(0)) / x.std(0)
    theirs = LogisticRegression(C=strength, tol=1e-10, max_iter=5000).fit(scaled, y)
    hot = np.eye(4, dtype=int)[y]
    np.testing.assert_allclose(
        fit(x, hot, False, strength).scores(x), theirs.predict_proba(scaled), atol=2e-4
    )
    labels = np.stack([y > 0, y > 1], 1).astype(int)
    mine = fit(x, labels, True, strength).scores(x)
    for i in range(2):
        alone = LogisticRegression(C=strength, tol=1e-10, max_iter=5000).fit(scaled, labels[:, i])
        np.testing.assert_allclose(mine[:, i], alone.predict_proba(scaled)[:, 1], atol=2e-4)


def test_the_penalty_is_chosen_on_held_out_places():
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((60, 40))
    y = np.eye(2, dtype=int)[rng.integers(2, size=60)]
    places = np.arange(60).astype(str)
    assert choose_strength(noise, y, False, places) == 0.01  # nothing to learn: the strongest penalty
    assert (
        choose_strength(noise, y, False, np.zeros(60).astype(str)) == 1.0
    )  # one place: nothing to choose by


def test_votes_for_several_labels_equal_scikit_learns():
    rng = np.random.default_rng(2)
    bank, queries, hot = rng.normal(size=(80, 5)), rng.normal(size=(30, 5)), rng.integers(2, size=(80, 3))
    theirs = KNeighborsClassifier(
        9, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07)
    ).fit(bank, hot)
    expected = np.stack([p[:, 1] for p in theirs.predict_proba(queries)], 1)
    np.testing.assert_allclose(neighbour_votes(bank, hot, queries, 9), expected, atol=1e-5)


def test_every_labelled_image_is_a_query_once_and_classes_are_spread():
    labels = from_names("x", ["a"] * 10 + ["b"] * 5 + [None] * 3)
    folds = folds_of(labels, 5, seed=1)
    assert sorted(np.concatenate([f.queries for f in folds]).tolist()) == list(range(15))
    for fold in folds:
        assert not set(fold.bank) & set(fold.queries)
        assert (labels.single[fold.queries] == 0).sum() == 2 and len(fold.queries) == 3
    few = folds_of(from_sets("y", [["a"], ["b"], ["a", "b"]]), 5, 0)
    assert len(few) == 3


def test_the_catalogs_labels(toy, weights):
    _, data = load_model(weights)
    chips = open_images(toy, data, "test", None, label_columns(toy))
    single = catalog_labels("landcover", toy, chips.columns)
    assert [single.classes[i] for i in single.single] == chips.columns["lc_dominant_name"].tolist()
    present = catalog_labels("landcovers", toy, chips.columns)
    shares = np.stack([chips.columns[f"lc_{code}"] for code in (10, 30, 40, 50, 80)], 1)
    assert np.array_equal(present.hot, shares >= 0.05) and present.several
    with pytest.raises(InputError, match="no label"):
        catalog_labels("soil", toy, chips.columns)


def test_probes_of_a_catalog_show_everything_beside(weights, toy, tmp_path):
    out = tmp_path / "p.json"
    results = probe_models([weights], toy, label_names=("landcover", "landcovers"), out=out, say=quiet)
    assert Results.read(out).rows == results.rows
    assert {r.method for r in results.rows} == {"knn", "linear", "no image"}
    kinds = {"trained", "random weights", "mean-band values"}
    for label in ("dominant land cover", "land covers present"):
        for method in ("knn", "linear"):
            for sensors in ("all", "s2", "s1"):
                found = results.find(target=label, method=method, sensors=sensors, metric="macro F1")
                assert {r.features for r in found} == kinds, (label, method, sensors)
    fields = json.loads(out.read_text())
    assert fields["about"]["cost"]["images_per_s"] > 0 and fields["about"]["simulated"] is True
    assert "one seed of training" in fields["notes"][0]
    means = results.find(
        features="mean-band values", target="dominant land cover", metric="accuracy", sensors="s2"
    )
    shares = results.find(features="shares of classes", target="dominant land cover", metric="accuracy")
    assert max(r.estimate.value for r in means) > shares[0].estimate.value  # pixels tell of the classes


def test_fine_tuning_learns_what_pixels_tell(weights, toy):
    model, data = load_model(weights)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    bank, asked = (open_images(toy, data, split, None, label_columns(toy)) for split in ("train", "test"))
    hot = catalog_labels("landcover", toy, bank.columns).hot
    truth = catalog_labels("landcover", toy, asked.columns).single
    found = finetune(model, bank, hot, asked, False, Tuning(steps=40, batch_size=16, encoder_lr=1e-3))
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    assert (found.argmax(1) == truth).mean() > 0.5
    after = model.state_dict()
    assert all((after[name] == tensor).all() for name, tensor in before.items())  # a copy was tuned


def test_one_class_is_said_and_not_probed(weights, toy, tmp_path):
    images, labels = np.full((4, 32, 32), 0.1), "first,label\n"
    _, data = load_model(weights)
    (tmp_path / "s2").mkdir()
    means = np.array(data.sensors[0].mean)[:, None, None]
    for i in range(6):
        np.save(tmp_path / "s2" / f"{i}.npy", np.broadcast_to(means, (10, 32, 32)))
        labels += f"{i}.npy,same\n"
    (tmp_path / "labels.csv").write_text(labels)
    (tmp_path / "s2" / "sensor.json").write_text(json.dumps({"bands": data.sensors[0].bands}))
    results = probe_models([weights], dataset=f"folder:{tmp_path}", sensors=["s2"], say=quiet)
    assert not results.rows and "every image among the bank is same" in " ".join(results.notes)
    assert images.size


def test_what_cannot_be_probed_is_refused(weights, toy):
    with pytest.raises(InputError, match="no probe 'magic'"):
        probe_models([weights], toy, setting=Setting(("magic",)), say=quiet)
    with pytest.raises(InputError, match="either --catalog or --dataset"):
        probe_models([weights], say=quiet)
    with pytest.raises(InputError, match="no data set"):
        probe_models([weights], dataset="imagenet:x", say=quiet)


@pytest.fixture
def s2(weights):
    """Physical values [12, 10, 40, 40] in the model's unit, its data configuration, and its bands."""
    _, data = load_model(weights)
    sensor = data.sensors[0]
    rng = np.random.default_rng(0)
    noise = 0.1 * rng.standard_normal((12, 10, 40, 40))
    values = np.array(sensor.mean)[:, None, None] + noise * np.array(sensor.std)[:, None, None]
    return np.maximum(values, 1e-4), data, sensor.bands


def test_eurosat_by_folder_and_flat(s2, tmp_path):
    values, data, bands = s2
    order = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A")
    for i, image in enumerate(values):
        name = ("Forest", "River")[i % 2]
        full = np.zeros((40, 40, 13), np.uint16)
        for band, layer in zip(bands, image, strict=True):
            full[..., order.index(band)] = np.rint(layer * 1e4)
        (tmp_path / name).mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / name / f"{name}_{i}.tif", full, planarconfig="contig")
    found = open_labelled(f"eurosat:{tmp_path}", data)
    assert found.labels.classes == ("Forest", "River") and found.folds == []
    assert sorted(found.labels.single.tolist()) == [0] * 6 + [1] * 6
    first = found.images.gather(np.array([0]))["s2"][0]
    np.testing.assert_allclose(first * 1e-4, values[0][:, 4:36, 4:36], atol=1e-4)


def test_bigearthnet_of_both_versions(s2, tmp_path):
    values, data, bands = s2
    for version, top in ((1, tmp_path / "v1"), (2, tmp_path / "v2")):
        rows = []
        for i, image in enumerate(values):
            scene = f"S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_{i % 3}"
            patch = f"{scene.rsplit('_', 1)[0]}_{i % 3}_{i}" if version == 2 else f"S2A_{i}"
            folder = top / "BigEarthNet-S2" / patch.rsplit("_", 2)[0] / patch if version == 2 else top / patch
            folder.mkdir(parents=True)
            for band, layer in zip(bands, image, strict=True):
                tifffile.imwrite(folder / f"{patch}_{band}.tif", np.rint(layer * 1e4).astype(np.uint16))
            shown = [["Pastures"], ["Pastures", "Urban fabric"]][i % 2]
            split = ("train", "validation", "test")[i % 3]
            rows.append({"patch_id": patch, "s1_name": "S1A_x_1_2_3", "labels": shown, "split": split})
            if version == 1:
                (folder / f"{patch}_labels_metadata.json").write_text(json.dumps({"labels": shown}))
        if version == 2:
            pq.write_table(pa.Table.from_pylist(rows), top / "metadata.parquet")
        found = open_labelled(f"bigearthnet:{top}", data)
        assert found.labels.classes == ("Pastures", "Urban fabric") and found.labels.several
        assert len(found.images) == 12 and [s.prefix for s in found.images.config.sensors] == ["s2"]
        if version == 2:
            (fold,) = found.folds
            assert len(fold.bank) == len(fold.queries) == 4
    with pytest.raises(InputError, match="no BigEarthNet"):
        open_labelled(f"bigearthnet:{tmp_path}", data)


def test_so2sat_and_its_radar_becomes_decibels(s2, tmp_path):
    values, data, _ = s2
    path = tmp_path / "so2sat.h5"
    radar = np.zeros((12, 40, 40, 8), np.float32)
    db = np.array(data.sensors[1].mean)  # VV, VH
    radar[..., 5], radar[..., 4] = 10 ** (db[0] / 10), 10 ** (db[1] / 10)
    with h5py.File(path, "w") as file:
        file["sen2"] = np.moveaxis(values, 1, -1)
        file["sen1"] = radar
        file["label"] = np.eye(17)[np.arange(12) % 4]
    found = open_labelled(f"so2sat:{path}", data)
    assert found.labels.classes[:2] == ("LCZ 1", "LCZ 2") and len(found.images) == 12
    got = found.images.gather(np.array([7, 2]))
    np.testing.assert_allclose(got["s2"], values[[7, 2]][:, :, 4:36, 4:36], rtol=1e-5)
    np.testing.assert_allclose(got["s1"][0, :, 0, 0], db, rtol=1e-4)
    with pytest.raises(InputError, match="no file of So2Sat"):
        open_labelled(f"so2sat:{tmp_path / 'absent.h5'}", data)


def test_geobench_and_torchgeo(s2, tmp_path):
    values, data, bands = s2
    ids = [f"id_{i}" for i in range(12)]
    for i, (name, image) in enumerate(zip(ids, values, strict=True)):
        with h5py.File(tmp_path / f"{name}.hdf5", "w") as file:
            for band, layer in zip(bands, image, strict=True):
                file[f"{band[1:]} - any name_2018-01-{i + 1:02d}"] = np.rint(layer * 1e4)
    (tmp_path / "label_map.json").write_text(json.dumps({"a": ids[::2], "b": ids[1::2]}))
    (tmp_path / "default_partition.json").write_text(
        json.dumps({"train": ids[:6], "valid": ids[6:8], "test": ids[8:]})
    )
    found = open_labelled(f"geobench:{tmp_path}", data)
    (fold,) = found.folds
    assert fold.bank.tolist() == list(range(6)) and fold.queries.tolist() == [8, 9, 10, 11]
    np.testing.assert_allclose(
        found.images.gather(np.array([3]))["s2"][0], values[3][:, 4:36, 4:36], atol=1e-4
    )

    (tmp_path / "label_map.json").unlink()
    (tmp_path / "label_stats.json").write_text(
        json.dumps({name: [i % 2, 1, 0] for i, name in enumerate(ids)})
    )
    several = open_labelled(f"geobench:{tmp_path}", data).labels
    assert several.several and several.hot[:2].tolist() == [[0, 1, 0], [1, 1, 0]]

    class Samples(list):
        all_band_names = (*bands[::-1], "B10")

    def sample(i):
        return {"image": np.concatenate([values[i][::-1], values[i][:1]]) * 1e4, "label": i % 2}

    parts = {
        "train": Samples([sample(i) for i in range(8)]),
        "test": Samples([sample(i) for i in range(8, 12)]),
    }
    found = from_torchgeo("Some", parts, data)
    np.testing.assert_allclose(
        found.images.gather(np.array([9]))["s2"][0], values[9][:, 4:36, 4:36], rtol=1e-5
    )
    with pytest.raises(InputError, match="does not name the bands"):
        Samples.all_band_names = ()
        from_torchgeo("Some", parts, data)


def test_models_that_are_averaged_were_trained_on_the_same_data(weights, toy, tmp_path):
    from train.checkpoint import save_weights
    from train.optimise import TrainConfig

    model, data = load_model(weights)
    other = replace(data, recipe_hash="1" * 32)
    save_weights(tmp_path, model, other, TrainConfig(10, 8, 1e-3), 10)
    with pytest.raises(InputError, match="other data"):
        probe_models([weights, tmp_path], toy, say=quiet)
