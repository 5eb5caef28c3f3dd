"""Legends of categorical maps."""

from __future__ import annotations

from pathlib import Path

import pytest

from curate.catalog.errors import InputError
from curate.legends import KOPPEN_CODES, KOPPEN_SYMBOLS, WORLDCOVER, read_legend


def write(folder: Path, text: str) -> Path:
    path = folder / "legend.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_codes_and_names(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeffcode,name,colour\n10,Tree cover,#0f0\n0,,#000\n20,Shrubland,#ff0\n")
    assert read_legend(path) == {10: "Tree cover", 20: "Shrubland"}


def test_another_column_and_the_first_of_several_bands(tmp_path: Path) -> None:
    path = write(tmp_path, "code,symbol,band\n1,Af,a\n2,Am,a\n1,low,b\n")
    assert read_legend(path, "symbol") == {1: "Af", 2: "Am"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("code,nme\n1,a\n", "'name'"),
        ("", "not complete"),
        ("code,name\nx,a\n", "code 'x'"),
        ("code,name\n1.5,a\n", "code '1.5'"),
        ("code,name\n1,a\n1,b\n", "two names"),
    ],
)
def test_broken_legends(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=r"legend\.csv") as error:
        read_legend(write(tmp_path, text))
    assert said in str(error.value)


def test_a_legend_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_legend(tmp_path / "none.csv")


def test_koppen_codes() -> None:
    assert len(KOPPEN_SYMBOLS) == len(set(KOPPEN_SYMBOLS)) == 30
    assert (KOPPEN_CODES["Af"], KOPPEN_CODES["As"], KOPPEN_CODES["Cfb"], KOPPEN_CODES["EF"]) == (1, 3, 15, 30)


@pytest.mark.real
def test_the_legends_built_in_are_the_published_ones(real_data: Path) -> None:
    beck = read_legend(real_data / "climate" / "koppen_beck2023_legend.csv", "symbol")
    assert beck == dict(enumerate(KOPPEN_SYMBOLS, start=1))
    worldcover = read_legend(real_data / "landcover" / "esa_worldcover_legend.csv")
    assert set(worldcover) - {0} == set(WORLDCOVER)
