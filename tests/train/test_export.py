"""Exports load elsewhere and give the same features."""

from __future__ import annotations

import importlib.util
import json
import runpy
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from curate.catalog import InputError, RunError
from train import export as exporting
from train.checkpoint import load_model, save_weights
from train.data import DataConfig, open_catalog
from train.evaluate.embed import embed
from train.evaluate.images import open_images
from train.export import export
from train.kinds import KINDS
from train.models.ringmoe_presets import ring_preset
from train.optimise import TrainConfig

S2_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")


def quiet(_: object) -> None:
    pass


def save(folder: Path, config, toy: Path, kind: str = "csmoe") -> Path:
    save_weights(
        folder,
        KINDS[kind].untrained(config, 3),
        DataConfig.of(open_catalog(toy)),
        TrainConfig(10, 8, 1e-3),
        10,
    )
    return folder


@pytest.fixture(scope="module")
def weights(toy, small_config, tmp_path_factory):
    return save(tmp_path_factory.mktemp("run"), small_config, toy)


@pytest.fixture(scope="module")
def folder(weights, tmp_path_factory):
    return export(weights, tmp_path_factory.mktemp("export"), say=quiet)


@pytest.fixture(scope="module")
def physical(weights, toy):
    """Physical values of chips, NaN where there is no data, and the features that the trainer gives them."""
    model, data = load_model(weights)
    chips = open_images(toy, data, "test")
    images = {}
    for prefix, stored in chips.gather(np.arange(4)).items():
        sensor = next(s for s in chips.config.sensors if s.prefix == prefix)
        values = stored * sensor.scale + sensor.offset
        images[prefix] = torch.tensor(np.where(stored == sensor.nodata, np.nan, values), dtype=torch.float32)
    return images, {s: torch.from_numpy(f[:4]) for s, f in embed(model, chips).items() if s != "all"}


ELSEWHERE = """
import sys
class Closed:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"train", "curate", "safetensors", "pyarrow", "timm", "transformers", "scipy"}:
            raise ImportError(name)
sys.meta_path.insert(0, Closed())
folder, images, out = sys.argv[1:]
sys.path.insert(0, folder)
import torch
import importlib, pathlib
(path,) = (p for p in pathlib.Path(folder).glob("modeling_*.py") if not p.stem.endswith("_hf"))
load = importlib.import_module(path.stem).load
x = torch.load(images, weights_only=True)
with torch.inference_mode():
    torch.save(load(folder)(x), out)
"""


def by_onnx(folder, images):
    """Features of *images*, S2's and S1's, by the graph in *folder*."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / "encoder.onnx"), providers=["CPUExecutionProvider"])
    return session.run(["s2_features", "s1_features"], {s: x.numpy() for s, x in images.items()})


@pytest.fixture
def by_transformers(tmp_path, monkeypatch):
    """Features of images by the folder that transformers loads without network."""
    transformers = pytest.importorskip("transformers", reason="needs: pip install transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path))

    @torch.inference_mode()
    def features(folder, images):
        return transformers.AutoModel.from_pretrained(folder, trust_remote_code=True)(images)

    return features


def test_plain_torch_gives_the_same_features(folder, physical, tmp_path):
    images, expected = physical
    torch.save(images, tmp_path / "x.pt")
    arguments = [str(folder), str(tmp_path / "x.pt"), str(tmp_path / "f.pt")]
    subprocess.run([sys.executable, "-I", "-c", ELSEWHERE, *arguments], check=True, cwd=tmp_path)
    found = torch.load(tmp_path / "f.pt", weights_only=True)
    for sensor, features in expected.items():
        assert (found[sensor] - features).abs().max() < 1e-5
    assert found.keys() == expected.keys()


@pytest.mark.parametrize(
    "change",
    [{"experts": 0}, {"pool": "token"}, {"specific_depth": 0}, {"moe_blocks": (1,)}, {"shared_experts": 3}],
    ids=str,
)
def test_every_shape_is_exported(change, toy, small_config, tmp_path):
    config = replace(small_config, **change)
    said = []
    export(save(tmp_path / "run", config, toy), tmp_path / "out", say=said.append)  # compares features
    assert len(said) == 1


def ring(name: str = "tiny", patch: int = 4, **changes):
    """A small RingMoE for the toy catalog."""
    preset = replace(ring_preset(name), embed_dim=16, heads=(2,) * len(ring_preset(name).depths), window=3)
    bands = {"s2": S2_BANDS, "s1": ("VV", "VH")}
    return replace(preset.model(bands, 32, patch), **changes)


@pytest.fixture(scope="module")
def ring_weights(toy, tmp_path_factory):
    return save(tmp_path_factory.mktemp("ring"), ring(), toy, "ringmoe")


@pytest.fixture(scope="module")
def ring_folder(ring_weights, tmp_path_factory):
    return export(ring_weights, tmp_path_factory.mktemp("ring-export"), say=quiet)


def ring_features(weights: Path, images) -> dict[str, torch.Tensor]:
    """What the trainer gives the same physical values."""
    model, data = load_model(weights)
    with torch.inference_mode():
        return model.encode(normalised(data, images))


def normalised(data, images):
    """The images as the trainer's models take them."""
    found = {}
    for s in (each for each in data.sensors if each.prefix in images):
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (s.mean, s.std))
        found[s.prefix] = ((images[s.prefix] - mean) / std).nan_to_num()
    return found


def test_plain_torch_gives_a_ringmoes_features(ring_weights, ring_folder, physical, tmp_path):
    images, _ = physical
    torch.save(images, tmp_path / "x.pt")
    arguments = [str(ring_folder), str(tmp_path / "x.pt"), str(tmp_path / "f.pt")]
    subprocess.run([sys.executable, "-I", "-c", ELSEWHERE, *arguments], check=True, cwd=tmp_path)
    found, expected = torch.load(tmp_path / "f.pt", weights_only=True), ring_features(ring_weights, images)
    assert found.keys() == expected.keys()
    for sensor, features in expected.items():
        assert (found[sensor] - features).abs().max() < 1e-5


PRUNED = ({"s2": 1, "s2 closed": 3, "s1": 4, "collaborative": 2, "collaborative closed": 2},) * 4


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("tiny+top2+cosine", {}),
        ("tiny+no-shared", {"patch": 2}),  # windows that are moved, and padded
        ("tiny+no-specialised", {}),
        ("tiny+dense-active", {}),
        ("vit-tiny", {}),
        ("tiny", {"layout": PRUNED}),
    ],
    ids=["top2+cosine", "moved windows", "no specialised", "dense", "vit", "pruned"],
)
def test_every_shape_of_ringmoe_is_exported(name, fields, toy, tmp_path):
    said = []
    export(save(tmp_path / "run", ring(name, **fields), toy, "ringmoe"), tmp_path / "out", say=said.append)
    assert len(said) == 1


def test_a_ringmoes_tokens_and_pyramid(ring_weights, ring_folder, physical):
    from train import export_modeling

    images, _ = physical
    model, data = load_model(ring_weights)
    own = normalised(data, images)
    with torch.inference_mode():
        tokens = export_modeling.load(ring_folder).encode_tokens(images)
        pyramid = export_modeling.load(ring_folder, features_only=True, sensor="s1")
        maps, expected = pyramid(images["s1"]), model.pyramid({"s1": own["s1"]})["s1"]
        torch.testing.assert_close(tokens["s2"], model.encode_tokens(own)["s2"], atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(maps, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert [(i["num_chs"], i["reduction"]) for i in pyramid.feature_info] == [(16, 4), (32, 8)]


def test_a_ringmoes_onnx(ring_weights, physical, tmp_path):
    pytest.importorskip("onnxruntime")
    export(ring_weights, tmp_path, onnx=True, say=quiet)  # compares them on random images
    images, _ = physical
    found = by_onnx(tmp_path, images)
    expected = ring_features(ring_weights, images)
    for values, sensor in zip(found, ("s2", "s1"), strict=True):
        assert np.abs(values - expected[sensor].numpy()).max() < 1e-5


def test_transformers_loads_a_ringmoe(ring_weights, ring_folder, physical, by_transformers):
    images, _ = physical
    found = by_transformers(ring_folder, images)
    for sensor, features in ring_features(ring_weights, images).items():
        assert (found[sensor] - features).abs().max() < 1e-5


def test_a_capacity_is_refused(toy, tmp_path):
    weights = save(tmp_path / "run", ring("tiny+capacity"), toy, "ringmoe")
    with pytest.raises(InputError, match="capacity cannot be exported"):
        export(weights, tmp_path / "out", say=quiet)


def test_tokens_other_sizes_and_pyramids(folder, weights, physical):
    from train import export_modeling

    images, _ = physical
    model, data = load_model(weights)
    encoder = export_modeling.load(folder)
    larger = {"s2": torch.cat([images["s2"], images["s2"]], 3).nan_to_num(0.1)}
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (data.sensors[0].mean, data.sensors[0].std))
    with torch.inference_mode():
        expected = model.encode_tokens({"s2": (larger["s2"] - mean) / std})["s2"]
        found = encoder.encode_tokens(larger)["s2"]
        maps = export_modeling.load(folder, features_only=True, sensor="s2")(larger["s2"])
    assert (found - expected).abs().max() < 1e-4 and found.shape[1] == 8 * 16
    assert [tuple(m.shape[2:]) for m in maps] == [(32, 64), (16, 32), (8, 16), (4, 8)]
    info = export_modeling.load(folder, features_only=True).feature_info
    assert [i["reduction"] for i in info] == [1, 2, 4, 8] and {i["num_chs"] for i in info} == {24}


def test_what_was_not_converted_is_refused(folder, physical):
    from train import export_modeling

    images, _ = physical
    encoder = export_modeling.load(folder)
    with pytest.raises(ValueError, match="not in reflectance"):
        encoder({"s2": images["s2"].nan_to_num() * 1e4})
    with pytest.raises(ValueError, match="has 3 bands"):
        encoder({"s2": images["s2"][:, :3]})
    with pytest.raises(ValueError, match="no multiple of the patch"):
        encoder({"s2": images["s2"][..., :30]})


def test_what_the_files_say(folder):
    config = json.loads((folder / "config.json").read_text())
    assert config["auto_map"]["AutoModel"] == "modeling_csmoe_hf.CSMoEModel"
    assert [s["unit"] for s in config["sensors"]] == ["reflectance", "dB"] and config[
        "licence"
    ] == "Apache-2.0"
    with safe_open(folder / "model.safetensors", "pt") as file:
        card = json.loads(file.metadata()["card"])
        assert not [name for name in file.keys() if "decoder" in name]  # noqa: SIM118
    assert card["licence"] == "Apache-2.0" and card["data"]["sensors"][0]["bands"][0] == "B02"
    text = (folder / "README.md").read_text()
    assert text.startswith("---\nlicense: apache-2.0") and "simulated" in text and "B8A" in text


def test_onnx_gives_the_same_features(weights, physical, tmp_path):
    pytest.importorskip("onnxruntime")
    export(weights, tmp_path, onnx=True, say=quiet)  # compares them on random images
    images, expected = physical
    found = by_onnx(tmp_path, images)
    for values, sensor in zip(found, ("s2", "s1"), strict=True):
        assert np.abs(values - expected[sensor].numpy()).max() < 1e-5


def test_transformers_loads_the_folder(folder, physical, by_transformers):
    images, expected = physical
    found = by_transformers(folder, images)
    assert all((found[s] - features).abs().max() < 1e-5 for s, features in expected.items())


def test_the_torchgeo_entry(folder, physical, monkeypatch):
    """With a stand-in where torchvision is not installed: its two classes hold what they are given."""
    if importlib.util.find_spec("torchvision") is None:
        import enum

        class WeightsEnum(enum.Enum):
            @property
            def url(self):
                return self.value.url

            @property
            def meta(self):
                return self.value.meta

        api = types.ModuleType("torchvision.models._api")
        api.Weights, api.WeightsEnum = types.SimpleNamespace, WeightsEnum
        for name, module in (
            ("torchvision", types.ModuleType("torchvision")),
            ("torchvision.models._api", api),
        ):
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setitem(sys.modules, "torchvision.models", types.ModuleType("torchvision.models"))
    monkeypatch.syspath_prepend(str(folder))
    entry = runpy.run_path(str(folder / "torchgeo_weights.py"))
    chosen = entry["CSMoE_Weights"]["S1"]
    assert (
        chosen.meta["in_chans"] == 2
        and chosen.meta["bands"] == ["VV", "VH"]
        and chosen.url.startswith("file://")
    )
    images, expected = physical
    with torch.inference_mode():
        assert (entry["csmoe"](chosen)(images["s1"]) - expected["s1"]).abs().max() < 1e-5


def test_an_export_that_differs_is_said(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "SAME", -1.0)
    with pytest.raises(RunError, match="other features"):
        export(weights, tmp_path, say=quiet)


def test_a_file_in_the_way(weights, tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(InputError, match="is a file"):
        export(weights, tmp_path / "f", say=quiet)
