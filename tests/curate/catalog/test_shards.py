"""Shards, their moments, and the manifest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from curate.catalog import BandInfo, BandStatistics, InputError, Moments, SensorInfo
from curate.catalog.shards import (
    MANIFEST,
    ManifestEntry,
    SensorChips,
    moments,
    open_shard,
    pixels,
    read_manifest,
    record,
    write_shard,
)
from curate.catalog.statistics import read_statistics, write_statistics

S2 = SensorInfo(
    "s2",
    "sentinel-2-l2a",
    (BandInfo("B02"), BandInfo("B03"), BandInfo("B04")),
    "uint16",
    1e-4,
    0.0,
    0,
    "r",
    "b",
)
S1 = SensorInfo(
    "s1", "sentinel-1-rtc", (BandInfo("VV"), BandInfo("VH")), "int16", 0.01, 0.0, -32768, "dB", "b"
)
PX = 12


def chips(count: int = 5, seed: int = 1) -> dict[str, SensorChips]:
    random = np.random.default_rng(seed)
    optical = random.integers(1, 65_536, (count, 3, PX, PX)).astype(np.uint16)
    radar = random.integers(-3000, 500, (count, 2, PX, PX)).astype(np.int16)
    optical[0, 1, :3] = 0
    radar[1] = -32768
    full = np.ones(count, np.float32)
    return {
        "s2": SensorChips(optical, full * 0.75, np.linspace(0, 0.5, count, dtype=np.float32)),
        "s1": SensorChips(radar, full, np.full(count, np.nan, np.float32)),
    }


def write(path: Path, count: int = 5, seed: int = 1) -> dict[str, SensorChips]:
    made = chips(count, seed)
    write_shard(path, (S2, S1), [f"chip{i}" for i in range(count)], made)
    return made


def test_pixels_come_back_as_a_view_of_the_file(tmp_path: Path) -> None:
    made = write(tmp_path / "a.arrow")
    batch = open_shard(tmp_path / "a.arrow")
    allocated = pa.total_allocated_bytes()
    for info in (S2, S1):
        view = pixels(batch, info.prefix, len(info.bands), PX)
        assert view.dtype == info.dtype
        assert view.shape == (5, len(info.bands), PX, PX)
        assert np.array_equal(view, made[info.prefix].pixels)
        assert not view.flags.writeable
        assert not view.flags.owndata
    assert pa.total_allocated_bytes() == allocated
    assert batch.column("chip_id").to_pylist() == [f"chip{i}" for i in range(5)]
    assert batch.column("s2_valid").to_pylist() == [0.75] * 5
    assert batch.column("s1_cloud").null_count == 5
    assert list(tmp_path.iterdir()) == [tmp_path / "a.arrow"]


def test_moments_are_numpys_over_valid_pixels_in_physical_units(tmp_path: Path) -> None:
    made = write(tmp_path / "a.arrow")
    batch = open_shard(tmp_path / "a.arrow")
    for info in (S2, S1):
        found = moments(batch, info.prefix)
        for i in range(5):
            for band in range(len(info.bands)):
                stored = made[info.prefix].pixels[i, band].astype(float)
                values = stored[stored != info.nodata] * info.scale
                assert found.count[i, band] == values.size
                if values.size:
                    assert found.mean[i, band] == pytest.approx(values.mean(), rel=1e-12)
                    assert found.m2[i, band] == pytest.approx(values.var() * values.size, rel=1e-9)
                else:
                    assert found.mean[i, band] == found.m2[i, band] == 0


@given(
    arrays.arrays(
        np.uint16, st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))
    ),
    st.floats(-5, 5),
)
@settings(max_examples=150, deadline=None)
def test_merged_moments_are_those_of_all_pixels(stored: np.ndarray, offset: float) -> None:
    bands = stored.shape[1]
    info = SensorInfo(
        "x", "x", tuple(BandInfo(str(i)) for i in range(bands)), "uint16", 0.5, offset, 0, "", ""
    )
    total = Moments.of_chips(stored, info).merged()
    for band in range(bands):
        values = stored[:, band].astype(float).ravel()
        values = values[values != 0] * 0.5 + offset
        assert total.count[band] == values.size
        assert total.mean[band] == pytest.approx(values.mean() if values.size else 0, abs=1e-9)
        assert total.std[band] == pytest.approx(values.std() if values.size else 0, abs=1e-6, rel=1e-9)


def test_moments_of_bands_with_their_own_scale() -> None:
    bands = (BandInfo("red"), BandInfo("lwir11", 10_895, 100, 0.01, "K"))
    info = SensorInfo("ls", "landsat-c2-l2", bands, "uint16", 1e-4, 0.0, 0, "reflectance", "bilinear")
    stored = np.random.default_rng(0).integers(1, 30_000, (3, 2, 4, 4)).astype(np.uint16)
    total = Moments.of_chips(stored, info).merged()
    for band, scale in enumerate((1e-4, 0.01)):
        assert total.mean[band] == pytest.approx(stored[:, band].mean() * scale)
        assert total.std[band] == pytest.approx(stored[:, band].std() * scale)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_merging_does_not_depend_on_the_grouping(sizes: list[int], seed: int) -> None:
    stored = np.random.default_rng(seed).integers(0, 20, (sum(sizes), 3, 4, 4)).astype(np.uint16)
    whole = Moments.of_chips(stored, S2)
    parts = [Moments.of_chips(part, S2) for part in np.split(stored, np.cumsum(sizes)[:-1])]
    stacked = Moments.stack(parts)
    assert np.array_equal(stacked.mean, whole.mean)
    one, other = (
        whole.merged(),
        Moments.stack([Moments(*(f[None] for f in vars(p.merged()).values())) for p in parts]).merged(),
    )
    assert np.array_equal(one.count, other.count)
    assert other.mean == pytest.approx(one.mean)
    assert other.std == pytest.approx(one.std)


def test_statistics_survive_the_file(tmp_path: Path) -> None:
    total = Moments.of_chips(chips()["s2"].pixels, S2).merged()
    made = {"s2": BandStatistics.of(S2, total)}
    write_statistics(tmp_path / "s.json", made)
    assert read_statistics(tmp_path / "s.json") == made


@pytest.mark.parametrize("content", [None, b"", b"garbage", b"cut"])
def test_a_broken_shard_is_bad_input(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / f"{content!r}.arrow"
    if content == b"cut":
        write(path)
        path.write_bytes(path.read_bytes()[:-200])
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        open_shard(path)


def test_a_shard_without_a_batch_is_bad_input(tmp_path: Path) -> None:
    path = tmp_path / "empty.arrow"
    with pa.ipc.new_file(str(path), pa.schema([("chip_id", pa.string())])):
        pass
    with pytest.raises(InputError):
        open_shard(path)


def entry(name: str, **fields: object) -> ManifestEntry:
    values = {
        "shard": f"{name}.arrow",
        "chips": ("é", "b"),
        "rejected": (("c", "why", "where\n"),),
        "digest": "0" * 32,
    }
    return ManifestEntry(name, **{**values, **fields})  # type: ignore[arg-type]


def test_the_manifest_comes_back(tmp_path: Path) -> None:
    made = [entry("one"), entry("two", shard=None, chips=(), digest=None)]
    for one in made:
        record(tmp_path, one)
    assert read_manifest(tmp_path) == made
    assert read_manifest(tmp_path / "absent") == []


@pytest.mark.parametrize("length", [1, 5, 50, 120])
def test_a_torn_line_is_passed_over_and_later_ones_are_kept(tmp_path: Path, length: int) -> None:
    record(tmp_path, entry("one"))
    whole = (tmp_path / MANIFEST).read_bytes()
    record(tmp_path, entry("two"))
    (tmp_path / MANIFEST).write_bytes(whole + (tmp_path / MANIFEST).read_bytes()[len(whole) :][:length])
    assert read_manifest(tmp_path) == [entry("one")]
    record(tmp_path, entry("three"))
    assert read_manifest(tmp_path) == [entry("one"), entry("three")]
