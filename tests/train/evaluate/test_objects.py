"""Detection and tracking: metrics beside others' and beside what a person works out, and heads that learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from train.checkpoint import load_model
from train.evaluate.detection import CentreHead, Detections, centre_loss, decode, matched
from train.evaluate.evidence import Evidence, detection_precision, estimate
from train.evaluate.finding import detect, followed, track
from train.evaluate.finetune import Tuning
from train.evaluate.images import open_images
from train.evaluate.objects import MOST, Boxes, PlantedObjects, iou, move_boxes, place_boxes
from train.evaluate.task import Asked
from train.evaluate.tracking import Frame, associate, clear_and_identity, hota


def quiet(_: object) -> None:
    pass


def test_overlap_by_hand():
    boxes = np.array([[0, 0, 4, 4], [2, 2, 6, 6], [4, 4, 5, 5], [0, 0, 0, 0]], float)
    np.testing.assert_allclose(iou(boxes[:1], boxes)[0], [1, 4 / 28, 0, 0])


def test_boxes_lie_inside_and_apart():
    boxes = place_boxes(200, 48, 0)
    there = boxes.corners[boxes.there]
    assert there.min() >= 0 and there.max() <= 48 and boxes.there.any(1).all()
    between = iou(boxes.corners, boxes.corners) * boxes.there[:, None] * boxes.there[:, :, None]
    assert not between[:, ~np.eye(MOST, dtype=bool)].any()


def test_objects_are_painted_where_their_boxes_are(weights, toy):
    _, data = load_model(weights)
    chips = open_images(toy, data, "test")
    rows = np.arange(len(chips))
    boxes = place_boxes(len(chips), 32, 0)
    planted = PlantedObjects(chips, boxes, rows)
    bare = PlantedObjects(chips, Boxes(boxes.corners, np.zeros_like(boxes.there)), rows)
    brighter = (planted.gather(rows)["s2"] - bare.gather(rows)["s2"]).max(1) > 1e-6
    inside = np.zeros_like(brighter)
    for i, k in zip(*np.nonzero(boxes.there), strict=True):
        x0, y0, x1, y1 = boxes.corners[i, k].astype(int)
        inside[i, y0:y1, x0:x1] = True
    inside[:, 0, 0] = False  # no data there
    assert np.array_equal(brighter, inside)


def exact(boxes: Boxes, scores=None) -> Detections:
    return Detections(boxes.corners, boxes.there * (0.9 if scores is None else scores))


def test_perfect_detections_have_precision_one_and_none_has_zero():
    boxes = place_boxes(30, 48, 1)
    objects, ones = boxes.there.sum(1).astype(float), np.ones((1, 30))
    found = exact(boxes)
    hits = matched(found, boxes, 0.95)[:, :, None]
    assert detection_precision(found.scores, hits, objects, ones)[0] == pytest.approx(1)
    assert detection_precision(found.scores, np.zeros_like(hits), objects, ones)[0] == 0


def test_an_object_is_found_once():
    boxes = Boxes(np.array([[[0, 0, 10, 10], [20, 20, 30, 30]]], float), np.array([[True, True]]))
    corners = np.array([[[0, 0, 10, 9], [0, 0, 10, 10], [20, 20, 30, 24], [21, 20, 30, 30]]], float)
    found = Detections(corners, np.array([[0.9, 0.8, 0.7, 0.6]]))
    assert matched(found, boxes, 0.5).tolist() == [[True, False, False, True]]


def test_average_precision_equals_the_definition():
    """One ranking of all detections; the best precision at or beyond each of 101 recalls."""
    rng = np.random.default_rng(0)
    scores, hits = rng.random((12, 5)), rng.random((12, 5, 1)) < 0.4
    objects = hits.sum((1, 2)) + rng.integers(0, 2, 12).astype(float)
    order = np.argsort(-scores.ravel())
    hit = hits.ravel()[order]
    precision, recall = np.cumsum(hit) / np.arange(1, 61), np.cumsum(hit) / objects.sum()
    wanted = [max(precision[recall >= r - 1e-12], default=0.0) for r in np.linspace(0, 1, 101)]
    found = detection_precision(scores, hits, objects, np.ones((1, 12)))[0]
    assert found == pytest.approx(np.mean(wanted))
    evidence = Evidence("detection", np.arange(12).astype(str), (scores, hits.astype(float), objects))
    interval = estimate([evidence], draws=50)
    assert interval.low < found < interval.high


def test_targets_decode_to_their_boxes():
    boxes = place_boxes(6, 48, 2)
    cells = 12
    out = torch.full((6, 5, cells, cells), -9.0)
    for i, k in zip(*np.nonzero(boxes.there), strict=True):
        x0, y0, x1, y1 = boxes.corners[i, k]
        x, y = (x0 + x1) / 8, (y0 + y1) / 8
        size = [np.log(x1 - x0), np.log(y1 - y0), x % 1, y % 1]
        out[i, :, int(y), int(x)] = torch.tensor([9.0, *size])
    found = decode(out)
    for threshold in (0.5, 0.95):
        assert matched(found, boxes, threshold).sum() == boxes.there.sum()
    least = centre_loss(out, boxes)
    assert float(least) < 0.5 < float(centre_loss(torch.zeros_like(out), boxes))


def test_the_head_learns_its_boxes_by_heart():
    torch.manual_seed(0)
    boxes, maps = place_boxes(4, 32, 3), torch.randn(4, 16, 8, 8)
    head = CentreHead(16, 32)
    optimiser = torch.optim.Adam(head.parameters(), 3e-3)
    for _ in range(150):
        optimiser.zero_grad()
        centre_loss(head(maps), boxes).backward()
        optimiser.step()
    found = decode(head.eval()(maps).detach())
    hits = matched(found, boxes, 0.5)[:, :, None]
    objects = boxes.there.sum(1).astype(float)
    assert detection_precision(found.scores, hits, objects, np.ones((1, 4)))[0] > 0.9


def box(x: float, y: float = 0.0) -> list[float]:
    return [x, y, x + 10, y + 10]


def frames(*each: dict[int, list[float]]) -> list[Frame]:
    return [
        Frame(np.array([*frame.values()], float).reshape(-1, 4), np.array([*frame], np.int64))
        for frame in each
    ]


def test_tracks_by_hand():
    """Two objects over four frames; a switch of identity after two, and one box too many."""
    truth = frames(*({0: box(0), 1: box(50)} for _ in range(4)))
    same = clear_and_identity(truth, truth)
    assert same["mota"] == same["idf1"] == 1 and hota(truth, truth) == pytest.approx(1)
    switched = frames(
        {0: box(0), 1: box(50)}, {0: box(0), 1: box(50)}, {1: box(0), 0: box(50)},
        {1: box(0), 0: box(50), 7: box(100)},
    )  # fmt: skip
    row = clear_and_identity(truth, switched)
    assert row["num_switches"] == 2 and row["num_false_positives"] == 1 and row["num_misses"] == 0
    assert row["mota"] == pytest.approx(1 - 3 / 8)
    assert row["idf1"] == pytest.approx(2 * 4 / (8 + 9))
    # every box is found: DetA = 8 / 9. Each match's identities share 2 of 4 + 4 - 2 boxes: AssA = 1 / 3
    assert hota(truth, switched) == pytest.approx(np.sqrt(8 / 9 * 1 / 3))
    nothing = frames({}, {}, {}, {})
    assert hota(truth, nothing) == 0 and clear_and_identity(truth, nothing)["mota"] == 0
    assert hota(nothing, nothing) == 1


def test_hota_weighs_overlap():
    """Boxes shifted by 2 of 10 px: IoU 2/3, so that thresholds up to 0.65, 13 of 19, are met."""
    truth, own = frames({0: box(0)}, {0: box(0)}), frames({5: box(2)}, {5: box(2)})
    assert hota(truth, own) == pytest.approx(13 / 19)


def test_hota_equals_trackevals():
    trackeval = pytest.importorskip("trackeval")
    rng = np.random.default_rng(0)
    moving = move_boxes(6, 64, 8, 0)
    for s in range(6):
        truth, own = [], []
        for i in range(8 * s, 8 * s + 8):
            there = moving.boxes.there[i]
            corners, ids = moving.boxes.corners[i][there], moving.identity[i][there] % MOST
            truth.append(Frame(corners, ids))
            kept = rng.random(len(ids)) < 0.8
            own.append(
                Frame(corners[kept] + rng.normal(0, 1.5, (kept.sum(), 4)), (ids[kept] + (i % 8 > 4)) % 5)
            )
        data = {
            "num_gt_ids": MOST, "num_tracker_ids": 5, "num_timesteps": 8,
            "num_gt_dets": sum(len(f.ids) for f in truth), "num_tracker_dets": sum(len(f.ids) for f in own),
            "gt_ids": [f.ids for f in truth], "tracker_ids": [f.ids for f in own],
            "similarity_scores": [iou(a.boxes, b.boxes) for a, b in zip(truth, own, strict=True)],
        }  # fmt: skip
        expected = trackeval.metrics.HOTA().eval_sequence(data)["HOTA"].mean()
        assert hota(truth, own) == pytest.approx(expected)


def test_association_follows_what_moves_and_survives_a_gap():
    way = [np.array([box(4.0 * t), box(100 - 4.0 * t, 40)]) for t in range(8)]
    way[3] = way[3][1:]  # the first is not seen
    found = associate(way)
    ids = [frame.ids.tolist() for frame in found]
    assert ids[0] == [0, 1] and ids[3] == [1] and ids[4] == ids[7] == [0, 1]
    far = associate([np.array([box(0)]), np.array([box(300)])])
    assert far[1].ids.tolist() == [1]
    assert [len(f.ids) for f in associate([np.zeros((0, 4)), np.array([box(0)])])] == [0, 1]


def test_perfect_detections_are_followed_well():
    moving = move_boxes(20, 64, 8, 0)
    found = followed(exact(moving.boxes), moving, np.arange(20).astype(str))
    scores = {name: estimate([e], draws=20).value for name, e in found.items()}
    assert min(scores.values()) > 0.9


def test_detecting_learns_and_tracking_is_scored(weights, toy):
    asked = Asked([weights], toy, tuning=Tuning(60, 8, 5e-3), seeds=1, say=quiet)
    results = detect(asked)
    kinds = {"trained", "random weights", "mean-band values"}
    assert {r.features for r in results.rows} == kinds and {r.metric for r in results.rows} == {
        "AP50",
        "AP50-95",
    }
    best = max(r.estimate.value for r in results.find(metric="AP50"))
    assert best > 0.1
    tracked = track(replace(asked, tuning=Tuning(5, 8)))
    assert {r.metric for r in tracked.rows} == {"MOTA", "IDF1", "HOTA"}
