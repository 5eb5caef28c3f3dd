"""Segmentation, height and change: metrics beside torchmetrics, and heads that learn."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_f1_score,
    multiclass_jaccard_index,
)
from torchmetrics.functional.regression import mean_absolute_error, mean_squared_error, r2_score

from curate.catalog import InputError
from train.checkpoint import load_model
from train.evaluate.changes import AREA, PlantedChange, blobs
from train.evaluate.dense import EncodedMaps, PixelMaps, class_evidence, dense_loss, fit_head, value_evidence
from train.evaluate.evidence import value
from train.evaluate.finetune import Tuning
from train.evaluate.heads import HEADS, build_head
from train.evaluate.images import open_images
from train.evaluate.mapping import change, height, segment
from train.evaluate.targets import IGNORED, Targets, read_targets
from train.evaluate.task import Asked


def quiet(_: object) -> None:
    pass


def places(n):
    return np.array([f"{i // 2:02d}" for i in range(n)])


def test_class_metrics_equal_torchmetrics():
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(4, size=(12, 9, 9)), rng.integers(5, size=(12, 9, 9))
    truth[rng.random(truth.shape) < 0.2] = IGNORED
    found = {name: value(e) for name, e in class_evidence(predicted, truth, 5, places(12)).items()}
    p, t = torch.from_numpy(predicted), torch.from_numpy(truth)
    options = {"num_classes": 5, "average": "none", "ignore_index": IGNORED}
    # class 4 never is true: torchmetrics gives it 0, and we leave it out
    assert found["mean IoU"] == pytest.approx(float(multiclass_jaccard_index(p, t, **options)[:4].mean()))
    assert found["macro F1"] == pytest.approx(float(multiclass_f1_score(p, t, **options)[:4].mean()))
    micro = multiclass_accuracy(p, t, num_classes=5, average="micro", ignore_index=IGNORED)
    assert found["pixel accuracy"] == pytest.approx(float(micro))


def test_value_metrics_equal_torchmetrics():
    rng = np.random.default_rng(1)
    truth, predicted = rng.normal(size=(6, 5, 5)), rng.normal(size=(6, 5, 5))
    truth[rng.random(truth.shape) < 0.3] = np.nan
    found = {name: value(e) for name, e in value_evidence(predicted, truth, places(6)).items()}
    known = np.isfinite(truth)
    p, t = torch.from_numpy(predicted[known]), torch.from_numpy(truth[known])
    assert found["RMSE"] == pytest.approx(float(mean_squared_error(p, t, squared=False)))
    assert found["MAE"] == pytest.approx(float(mean_absolute_error(p, t)))
    assert found["R²"] == pytest.approx(float(r2_score(p, t)))


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("grid", [1, 5, 8])
def test_heads_give_every_pixel_and_a_gradient(name, grid):
    head = build_head(name, 12, 3, 40)
    maps = torch.randn(2, 12, grid, grid, requires_grad=True)
    out = head(maps)
    assert out.shape == (2, 3, 40, 40)
    out.sum().backward()
    assert maps.grad is not None and all(p.grad is not None for p in head.parameters())


def test_unknown_pixels_do_not_count_in_the_loss():
    scores, truth = torch.randn(2, 3, 4, 4), torch.randint(3, (2, 4, 4))
    truth[:, 0] = IGNORED
    other = scores.clone()
    other[:, :, 0] = 99
    assert torch.equal(dense_loss(scores, truth), dense_loss(other, truth))
    heights = torch.randn(2, 4, 4)
    heights[:, 0] = torch.nan
    assert torch.equal(dense_loss(scores[:, :1], heights), dense_loss(other[:, :1], heights))
    assert float(dense_loss(scores, torch.full_like(truth, IGNORED))) == 0


@pytest.fixture(scope="module")
def chips(weights, toy):
    _, data = load_model(weights)
    return open_images(toy, data, "train+val+test")


def brightness(chips):
    """What pixels themselves tell: the near infrared, in thirds of its range."""
    stored = chips.gather(np.arange(len(chips)))["s2"][:, 6].astype(np.float32)
    return stored, np.digitize(stored, np.quantile(stored, [1 / 3, 2 / 3]))


def write_labels(path, ids, stored, kind):
    classes = {10: "low", 20: "middle", 30: "high"} if kind == "classes" else {}
    about = {"name": "brightness", "kind": kind, "chip_px": 32, "nodata": 0, "classes": classes, "unit": "m"}
    dtype = pa.uint8() if kind == "classes" else pa.float32()
    flat = pa.array(stored.astype(dtype.to_pandas_dtype()).ravel())
    columns = [pa.array(ids, pa.string()), pa.FixedSizeListArray.from_arrays(flat, 32 * 32)]
    schema = pa.schema(
        [("chip_id", pa.string()), ("label", pa.list_(dtype, 32 * 32))],
        {b"labels": json.dumps(about).encode()},
    )
    with pa.ipc.new_file(str(path), schema) as writer:
        writer.write_batch(pa.record_batch(columns, schema=schema))
    return path


@pytest.fixture(scope="module")
def labels(chips, tmp_path_factory):
    """Label files in another order than the chips'."""
    folder = tmp_path_factory.mktemp("labels")
    stored, thirds = brightness(chips)
    order = np.random.default_rng(0).permutation(len(chips))
    ids = chips.ids[order]
    codes = (thirds + 1) * 10
    codes[:, 0] = 0
    return {
        "classes": write_labels(folder / "c.arrow", ids, codes[order], "classes"),
        "values": write_labels(folder / "v.arrow", ids, stored[order] / 100, "values"),
    }


def test_labels_are_joined_by_chip(chips, labels):
    found = read_targets(labels["classes"], chips.ids, 32)
    assert found.classes == ("low", "middle", "high")
    assert (
        np.array_equal(found.values[:, 1:], brightness(chips)[1][:, 1:])
        and (found.values[:, 0] == IGNORED).all()
    )
    for said, path, ids, px in (
        ("no chip strange", labels["classes"], np.array(["strange"]), 32),
        ("chips of 32 px", labels["classes"], chips.ids, 64),
        ("cannot be read", labels["classes"].with_name("absent"), chips.ids, 32),
    ):
        with pytest.raises(InputError, match=said):
            read_targets(path, ids, px)


def test_a_pixels_own_bands_tell_what_is_in_them(chips):
    stored, thirds = brightness(chips)
    targets = Targets("thirds", thirds.astype(np.int64), ("a", "b", "c"))
    maps = PixelMaps(chips, torch.device("cpu"))
    head = fit_head("pixel", maps, targets, np.arange(60), Tuning(steps=80, batch_size=8, lr=0.05))
    with torch.inference_mode():
        found = head(maps(np.arange(60, 96))).argmax(1).numpy()
    assert (found == thirds[60:]).mean() > 0.7
    assert stored.size


def test_kept_maps_are_those_computed_anew(weights, chips, monkeypatch):
    model, _ = load_model(weights)
    kept = EncodedMaps(model, chips)
    monkeypatch.setattr("train.evaluate.dense.HELD_MB", 0)
    anew = EncodedMaps(model, chips)
    rows = np.array([5, 80, 3])
    assert kept.held is not None and anew.held is None
    assert kept(rows).shape == (3, 2 * 24, 8, 8)
    assert (kept(rows) - anew(rows)).abs().max() < 1e-5


def test_tokens_are_read_after_any_block(weights, toy, chips, labels):
    model, _ = load_model(weights)
    images = chips.config.images({s: torch.from_numpy(v) for s, v in chips.gather(np.arange(3)).items()})
    with torch.inference_mode():
        last, first = model.encode_tokens(images, blocks=2)["s2"], model.encode_tokens(images, blocks=1)["s2"]
        assert torch.equal(model.norm(last), model.encode_tokens(images)["s2"])
    assert first.shape == last.shape and not torch.allclose(first, last)
    asked = Asked([weights], toy, blocks=3, say=quiet)
    with pytest.raises(InputError, match="has 2 blocks"):
        segment(asked, labels["classes"])


def test_segmenting_shows_everything_beside(weights, toy, labels, tmp_path):
    asked = Asked([weights], toy, tune=True, tuning=Tuning(4, 8, 5e-3), out=tmp_path / "s.json", say=quiet)
    results = segment(asked, labels["classes"], ("upernet",))
    kinds = {"trained", "random weights", "trained, tuned", "random weights, tuned"}
    assert {r.features for r in results.find(method="upernet")} == kinds
    assert {r.features for r in results.rows} - kinds == {"pixel's own bands", "commonest class"}
    assert all(len(r.seeds) == 2 for r in results.rows if r.features != "commonest class")
    assert (tmp_path / "s.json").exists() and results.about["cost"]["parameters"] > 0
    with pytest.raises(InputError, match="train segment"):
        height(asked, labels["classes"])
    with pytest.raises(InputError, match="train height"):
        segment(asked, labels["values"])
    with pytest.raises(InputError, match="no head 'magic'"):
        segment(asked, labels["classes"], ("magic",))


def test_height_is_learned_where_pixels_tell_it(weights, toy, labels):
    asked = Asked([weights], toy, tuning=Tuning(60, 16, 0.03), seeds=1, say=quiet)
    results = height(asked, labels["values"], ("linear",))
    found = {r.features: r.estimate for r in results.find(metric="R²")}
    assert found["pixel's own bands"].low > 0.2
    assert found["trained"].value > 0.05
    assert results.about["unit"] == "m"


def test_change_is_learned(weights, toy):
    asked = Asked([weights], toy, tuning=Tuning(60, 16, 0.03), seeds=1, say=quiet)
    results = change(asked, ("linear",))
    found = {r.features: r.estimate for r in results.find(metric="mean IoU")}
    assert found["trained"].value > found["commonest class"].high


def test_planted_changes_are_where_they_say(chips):
    after = PlantedChange(chips, noise=0.0)
    rows = np.arange(len(chips))
    first, second = after.before().gather(rows), after.gather(rows)
    for prefix in ("s2", "s1"):
        differs = (first[prefix] != second[prefix]).any(1)
        assert not differs[~after.masks].any()
        assert differs[after.masks].mean() > 0.9
    noisy = PlantedChange(chips)
    again = noisy.gather(np.array([4]))["s2"]
    assert np.array_equal(again[0], noisy.gather(np.array([9, 4]))["s2"][1])  # whatever stands beside it
    assert (noisy.before().gather(np.array([4]))["s2"] != again).mean() > 0.9


def test_blobs_cover_what_they_should():
    masks = blobs(200, 32, 0)
    share = masks.mean((1, 2))
    some = share[share > 0]
    assert 0.7 < len(some) / 200 < 0.9 and some.min() > AREA[0] - 0.01 and some.max() < AREA[1] + 0.01
