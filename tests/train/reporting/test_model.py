"""What the page says of a model: its errors are those of training, and experts' shares are what the layers give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from train.layers import patch_grid, patch_targets
from train.objectives import draw_masks
from train.reporting.experts import expert_weights, experts, information
from train.reporting.reconstructions import _errors, reconstructions, unpatched
from train.reporting.subject import Subject, open_subject


@pytest.fixture(scope="module")
def subject(run_folder: Path, toy: Path) -> Subject:
    return open_subject(run_folder, toy)


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(1, 4))
def test_patches_become_the_image_they_were_cut_from(batch: int, bands: int, grid: int, patch: int) -> None:
    image = torch.rand(batch, bands, grid * patch, grid * patch)
    patches = patch_targets(patch_grid(image, patch).flatten(1, 2))
    assert torch.equal(unpatched(patches, image.shape, patch), image)


def test_errors_are_those_of_the_training_loss(subject: Subject) -> None:
    model, chips = subject.model, subject.chips
    generator = torch.Generator().manual_seed(1)
    masks = draw_masks("random", model.sensors, len(chips), model.config.tokens, 0.5, generator)
    errors, blank = _errors(model, subject, masks)
    stored = chips.gather(np.arange(len(chips)))
    images = chips.config.images({s: torch.from_numpy(x) for s, x in stored.items()})
    with torch.inference_mode():
        terms = model(images, masks).terms
    assert {f"{s}->{t}" for s, t in errors} == set(terms)
    for (source, target), values in errors.items():
        assert values.mean() == pytest.approx(float(terms[f"{source}->{target}"]), rel=1e-4)
        assert blank[source, target].shape == (len(chips),)


def test_reconstructions_name_what_they_show(subject: Subject) -> None:
    found = reconstructions(subject)
    assert not isinstance(found, str)
    assert len({chip["title"].split(",")[0] for chip in found.chips}) == len(found.chips)
    assert {(source, target) for source, target, *_ in found.errors} == {
        (s, t) for s in ("s1", "s2") for t in ("s1", "s2")
    }


def test_shares_of_experts_are_whole(subject: Subject) -> None:
    weights = expert_weights(subject)
    assert weights
    for by_sensor in weights.values():
        for each in by_sensor.values():
            assert each.shape[0] == len(subject.chips)
            np.testing.assert_allclose(each.sum(1), 1, rtol=1e-5)
    used = experts(subject)
    assert not isinstance(used, str) and len(used.rows) == len(weights)
    assert any(row[3] != "–" for row in used.rows)  # a common layer, which both sensors meet


def test_information_is_what_labels_tell() -> None:
    alike, apart = np.full((6, 2), 0.5), np.repeat(np.eye(2), 3, axis=0)
    codes = np.repeat([0, 1], 3)
    assert information(alike, codes) == pytest.approx(0, abs=1e-12)
    assert information(apart, codes) == pytest.approx(1)
    assert information(apart, np.tile([0, 1, 2], 2)) == pytest.approx(0, abs=1e-12)
