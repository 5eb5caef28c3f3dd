"""Legends of categorical maps."""

from __future__ import annotations

from pathlib import Path

import pytest

from curate.catalog.errors import InputError
from curate.legends import COMMON, KOPPEN_CODES, KOPPEN_SYMBOLS, NAMED, WORLDCOVER, legend, read_legend


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


@pytest.mark.parametrize(
    ("name", "classes"),
    [("worldcover", 11), ("corine", 44), ("cgls", 22), ("io", 10), ("mcd12-igbp", 17), ("glcnmo", 20)],
)
def test_named_legends_tell_all_their_classes_in_common_ones(name: str, classes: int) -> None:
    known = legend(name)
    assert name in NAMED and len(known.names) == classes
    assert list(known.codes) == sorted(known.codes)
    assert set(known.common) == set(known.names) and set(known.common.values()) <= set(COMMON)
    common = known.in_common()
    assert common.names == COMMON and common.nodata == known.nodata
    for number, position in known.numbers.items():
        assert common.codes[common.numbers[number]] == known.common[known.codes[position]]
    assert not set(common.numbers) & known.nodata


def test_what_a_code_means_does_not_leak_into_another_legend() -> None:
    """10 is tree cover in the common classes and cloud in the annual maps; a cloud is no tree."""
    assert 10 in legend("io").nodata and 10 not in legend("io").in_common().numbers
    assert legend("corine").numbers[1] == legend("corine").numbers[111] == 0
    assert legend("corine").names[523] == "Sea and ocean" and legend("corine").numbers[44] == 43


def test_the_crosswalk_of_a_csv(tmp_path: Path) -> None:
    text = "code,name,common,value\n1,Wald,tree,\n2,See,Water,7\n0,No data,,\n9,,,\n"
    known = legend(str(write(tmp_path, text)))
    assert known.names == {1: "Wald", 2: "See"} and known.nodata == {0, 9}
    assert known.common == {1: 10, 2: 80} and known.numbers == {1: 0, 2: 1, 7: 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("code,name,common\n1,a,forest\n", "common class 'forest'"),
        ("code,name,value\n1,a,2\n2,b,\n", "uses 2 both"),
        ("code,name,value\n1,a,x\n", "value 'x'"),
        ("code,name\n0,No data\n", "names no class"),
    ],
)
def test_broken_land_cover_legends(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        legend(str(write(tmp_path, text)))


def test_unknown_and_incomplete_legends(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no legend 'worldcovr'.*known are worldcover"):
        legend("worldcovr")
    with pytest.raises(InputError, match=r"common classes.*2 .b."):
        legend(str(write(tmp_path, "code,name,common\n1,a,tree\n2,b,\n"))).in_common()


def test_koppen_codes() -> None:
    assert len(KOPPEN_SYMBOLS) == len(set(KOPPEN_SYMBOLS)) == 30
    assert (KOPPEN_CODES["Af"], KOPPEN_CODES["As"], KOPPEN_CODES["Cfb"], KOPPEN_CODES["EF"]) == (1, 3, 15, 30)


@pytest.mark.real
def test_the_legends_built_in_are_the_published_ones(real_data: Path) -> None:
    beck = read_legend(real_data / "climate" / "koppen_beck2023_legend.csv", "symbol")
    assert beck == dict(enumerate(KOPPEN_SYMBOLS, start=1))
    worldcover = read_legend(real_data / "landcover" / "esa_worldcover_legend.csv")
    assert set(worldcover) - {0} == set(WORLDCOVER)
    assert legend(str(real_data / "landcover" / "esa_worldcover_legend.csv")).names == WORLDCOVER
    glcnmo = legend(str(real_data / "landcover" / "glcnmo_legend.csv"))
    assert glcnmo.codes == legend("glcnmo").codes
    for code, name in legend("glcnmo").names.items():
        letters = [text.lower().replace(" ", "") for text in (name, glcnmo.names[code])]
        assert letters[0] == letters[1], code
