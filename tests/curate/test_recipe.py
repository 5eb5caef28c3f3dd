"""Recipes: strict, hashable, the same after a round trip."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.catalog.errors import InputError
from curate.recipe import Budget, Recipe, keys, load, parse


@pytest.mark.parametrize(
    ("text", "pool", "number"),
    [
        ("250k", 10, 250_000),
        ("250K", 10, 250_000),
        ("1M", 10, 1_000_000),
        ("1m", 10, 1_000_000),
        ("1_000_000", 10, 1_000_000),
        ("1 000", 10, 1000),
        ("1e6", 10, 1_000_000),
        ("1E6", 10, 1_000_000),
        ("1e+6", 10, 1_000_000),
        ("2.3M", 10, 2_300_000),
        ("1.005k", 10, 1005),
        ("0.5k", 10, 500),
        (" 7 ", 10, 7),
        ("25%", 1000, 250),
        ("25 %", 1000, 250),
        ("100%", 1000, 1000),
        ("0.01%", 10, 1),  # a share of a pool that has any is at least one
        ("12.5%", 0, 0),
    ],
)
def test_budgets(text: str, pool: int, number: int) -> None:
    assert Budget(text).of(pool) == number


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "-5",
        "NaN",
        "101%",
        "1.5",
        "",
        "0%",
        "-1%",
        "inf",
        "1e400",
        "1e999999999",
        "1G",
        "k",
        "%",
        "1k%",
        "0x10",
        "½",
    ],
)
def test_nonsense_budgets(text: str) -> None:
    with pytest.raises(InputError, match="makes no sense"):
        Budget(text).of(1000)
    with pytest.raises(InputError, match=r"sampling\.budget"):
        Recipe().with_options({"sampling.budget": text})


@given(st.integers(1, 10**9), st.sampled_from(["", "k", "K", "m", "M"]))
def test_whole_counts_mean_what_they_say(number: int, unit: str) -> None:
    factor = {"": 1, "k": 1000, "m": 1_000_000}[unit.lower()]
    assert Budget(f"{number}{unit}").of(3) == number * factor
    assert Budget(f"{number:_}{unit}").of(3) == number * factor


@given(st.integers(1, 10**9), st.integers(1, 1000))
def test_shares_lie_within_the_pool(pool: int, per_mille: int) -> None:
    number = Budget(f"{per_mille / 10}%").of(pool)
    assert 1 <= number <= pool
    assert abs(number - pool * per_mille / 1000) <= 1


@given(st.text(max_size=12))
def test_a_budget_is_a_number_or_an_input_error(text: str) -> None:
    with contextlib.suppress(InputError):
        assert Budget(text).of(100) >= 1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"budgett": 1}, "budgett: unknown key"),
        ({"sampling": {"sed": 1}}, "sampling.sed: unknown key"),
        ({"chips": {"size_px": 0}}, "chips.size_px"),
        ({"chips": {"size_px": "many"}}, "chips.size_px"),
        ({"pairing": {"max_dt_days": float("inf")}}, "pairing.max_dt_days"),
        ({"pairing": {"max_dt_days": float("nan")}}, "pairing.max_dt_days"),
        ({"pixels": {"min_valid": 1.1}}, "pixels.min_valid"),
        ({"period": {"start": "2021-01-01", "end": "2020-01-01"}}, "period"),
        ({"sampling": {"allocation": "best"}}, "sampling.allocation"),
    ],
)
def test_errors_name_the_key(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        parse(fields, "recipe x.yaml")
    assert said in str(error.value)
    assert "recipe x.yaml" in str(error.value)


def test_every_error_is_named_at_once() -> None:
    with pytest.raises(InputError) as error:
        parse({"chips": {"size_px": 0}, "nonsense": 1}, "r")
    assert "2 errors" in str(error.value)
    assert "chips.size_px" in str(error.value) and "nonsense" in str(error.value)


def test_the_hash_is_one_in_every_process() -> None:
    command = "from curate.recipe import Recipe; print(Recipe().with_options({'sampling.budget': '1M'}).hash)"
    hashes = {
        subprocess.run(
            [sys.executable, "-c", command],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert hashes == {Recipe().with_options({"sampling.budget": "1M"}).hash}


def test_the_hash_does_not_depend_on_the_order_of_keys_and_tells_recipes_apart() -> None:
    fields = json.loads(Recipe().model_dump_json())
    turned = {
        key: dict(reversed(v.items())) if isinstance(v, dict) else v for key, v in reversed(fields.items())
    }
    assert parse(turned, "r").hash == Recipe().hash
    assert parse({"pairing": {"max_dt_days": 3}}, "r").hash == Recipe().hash  # 3 and 3.0 are one number
    assert Recipe().with_options({"sampling.seed": 1}).hash != Recipe().hash


def test_options_replace_dotted_keys_and_none_leaves_them() -> None:
    recipe = Recipe().with_options(
        {
            "sampling.budget": "1M",
            "region": "DE",
            "chips.size_px": None,
            "sensors.bands.sentinel-2-l2a": ["B02"],
        }
    )
    assert (recipe.sampling.budget, recipe.region, recipe.chips.size_px) == ("1M", "DE", 120)
    assert recipe.sensors.bands == {"sentinel-2-l2a": ("B02",)}
    assert Recipe().sampling.budget == "25%"


@pytest.mark.parametrize("key", ["sampling.budgett", "samplng.budget", "region.x", "a.b.c", ""])
def test_unknown_options(key: str) -> None:
    with pytest.raises(InputError):
        Recipe().with_options({key: "1"})


def test_a_recipe_survives_yaml(tmp_path: Path) -> None:
    recipe = Recipe().with_options(
        {
            "period.start": "2020-01-01",
            "period.end": "2021-06-30",
            "sampling.budget": "1_000",
            "sensors.partners": ["sentinel-1-rtc", "cop-dem-glo-30"],
            "sensors.bands.sentinel-1-rtc": ["VV"],
        }
    )
    recipe.save(tmp_path / "recipe.yaml")
    again = load(tmp_path / "recipe.yaml")
    assert again == recipe
    assert again.hash == recipe.hash
    assert list(tmp_path.iterdir()) == [tmp_path / "recipe.yaml"]


def test_yaml_as_a_person_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("period:\n  start: 2020-01-01\nsampling:\n  budget: 1000\n")
    recipe = load(path)
    assert recipe.period.start is not None and recipe.period.start.year == 2020
    assert recipe.sampling.budget == "1000"
    path.write_text("# only a comment\n")
    assert load(path) == Recipe()


@pytest.mark.parametrize(
    "content",
    [
        b"- a\n- b\n",
        b"region: [",
        b"\xff\xfe\x00",
        b"just text",
        b"period: {start: 2020-13-45}",
        b"sampling: {budget: true}",
    ],
)
def test_files_that_are_no_recipes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"r\.yaml"):
        load(path)


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path / "none.yaml")


def test_keys_are_all_accepted() -> None:
    assert "sampling.splits.block_deg" in keys()
    fields = json.loads(Recipe().model_dump_json())
    for key in keys():
        value: Any = fields
        for part in key.split("."):
            value = value[part]
        assert Recipe().with_options({key: value}) == Recipe()


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Recipe().region = "x"  # type: ignore[misc]
