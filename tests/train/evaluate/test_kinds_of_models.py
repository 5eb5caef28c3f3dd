"""Every kind of model is judged by the same commands."""

from __future__ import annotations

from dataclasses import replace

import pytest

from train.checkpoint import save_weights
from train.data import DataConfig, open_catalog
from train.evaluate.finetune import Tuning
from train.evaluate.judging import probe_models, retrieve_by
from train.evaluate.mapping import change
from train.evaluate.study import Setting
from train.evaluate.task import Asked
from train.models.ringmoe import RingMoE
from train.models.ringmoe_presets import ring_preset
from train.optimise import TrainConfig


def quiet(_: object) -> None:
    pass


@pytest.fixture(scope="module")
def ringmoe(toy, tmp_path_factory):
    data = DataConfig.of(open_catalog(toy))
    preset = replace(ring_preset("tiny"), embed_dim=16, heads=(2, 2)[: len(ring_preset("tiny").heads)])
    model = RingMoE(preset.model(data.bands, data.chip_px, 4))
    folder = tmp_path_factory.mktemp("ring")
    save_weights(folder, model, data, TrainConfig(10, 8, 1e-3), 10)
    return folder


def test_ringmoe_is_judged_too(ringmoe, toy):
    results = probe_models([ringmoe], toy, label_names=("koppen",), setting=Setting(("knn",)), say=quiet)
    assert {r.features for r in results.find(method="knn")} >= {"trained", "random weights"}
    assert results.about["cost"]["gflop_per_image"] > 0 and results.about["cards"][0]["model"] == "RingMoE"
    assert retrieve_by([ringmoe], toy, ("koppen",), k=3, say=quiet).find(
        sensors="s2 -> s1", features="trained"
    )
    found = change(Asked([ringmoe], toy, tuning=Tuning(3, 8), seeds=1, say=quiet), ("linear",))
    assert found.find(features="trained", metric="mean IoU")
