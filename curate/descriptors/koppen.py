"""Köppen-Geiger class from monthly temperature and precipitation normals, by the rules of the published maps.

The rules are table 1 of Peel et al. 2007 (doi 10.5194/hess-11-1633-2007) as in table 2 of Beck et al. 2018
(doi 10.1038/sdata.2018.214): temperate and cold part at 0 °C, arid comes before all others, and a warmest month
of exactly 10 °C, which Peel leaves without a class, is polar. What the tables leave open (summer and winter equally
warm, or both dry) is as in the program that made the maps, github.com/hylken/Koppen-Geiger_maps, tools.py.
"""

from __future__ import annotations

import re
from typing import Any, Final, overload

import numpy as np
import numpy.typing as npt
import xarray as xr

from curate.catalog.errors import InputError
from curate.grid import Floats
from curate.legends import KOPPEN_CODES, KOPPEN_SYMBOLS

Months = npt.NDArray[Any]  # monthly values of a numeric type
Codes = npt.NDArray[np.int8]

APR_SEP, OCT_MAR = [3, 4, 5, 6, 7, 8], [9, 10, 11, 0, 1, 2]  # months counted from 0
DAYS: Final = (31, 28.25, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)  # February with its share of leap days

# What normals on Earth are; beyond lie other units, and fill values that nobody masked.
PLAUSIBLE_DEG_C: Final = (-90.0, 60.0)
PLAUSIBLE_MM: Final = (-1e-6, 20_000.0)  # below zero by rounding only
LEAST_WETTEST_MM: Final = 1e-3  # rates per second stay below it in the wettest month of the wettest place

_BLOCK_CELLS = 1 << 16  # classified at a time, so that only this many cells are copied to float64
_DEG_C = ("degc", "°c", "c", "celsius", "deg_c", "degree_c", "degrees_c", "degree_celsius", "degrees_celsius")
_KELVIN = ("k", "kelvin", "degk", "deg_k")
_MM = {"mm": 1.0, "kg m-2": 1.0, "kg/m2": 1.0, "m": 1000.0}  # 1 kg of water on 1 m² is 1 mm
_TIMES_A_DAY = {"d": 1.0, "day": 1.0, "s": 86_400.0, "sec": 86_400.0, "second": 86_400.0}
_MEND = "Convert to °C and mm per month, or set the attribute units to the true ones for classify_dataset"
_RATE = re.compile(r"(mm|m|kg m-2|kg/m2)(?:/([a-z]+)| ([a-z]+)-1)?")


@overload
def classify(temperature: xr.DataArray, precipitation: xr.DataArray) -> xr.DataArray: ...
@overload
def classify(temperature: Months, precipitation: Months, axis: int | None = None) -> Codes: ...
def classify(temperature: Any, precipitation: Any, axis: int | None = None) -> Any:
    """Köppen-Geiger class of every cell: Beck codes 1 to 30, 0 where any month is NaN or masked.

    Args:
        temperature: monthly means, °C. Arrays have the months, January first, on their first or last axis;
            DataArrays on the dimension ``month``, in any order if that has a coordinate from 1 to 12.
        precipitation: monthly sums, mm, of the same shape or on the same grid.
        axis: of the months in arrays; needed where both the first and the last axis are 12 long.

    Returns:
        int8 in the same shape less the months; lazy for a lazy DataArray, chunked in space only.

    Raises:
        InputError: not 12 months, shapes or grids that differ, or values that no climate on Earth has (kelvin,
            rates per second, fill values). Lazy values are checked when they are computed.
    """
    if isinstance(temperature, xr.DataArray) and isinstance(precipitation, xr.DataArray):
        return _cubes(_in_order(temperature, "temperature"), _in_order(precipitation, "precipitation"))
    if isinstance(temperature, xr.DataArray) or isinstance(precipitation, xr.DataArray):
        raise InputError("Only one of temperature and precipitation is a DataArray", "", "Give two of a kind")
    t, p = _unmasked(temperature), _unmasked(precipitation)
    if t.shape != p.shape:
        raise InputError(f"Temperature has shape {t.shape}, precipitation {p.shape}", "they must be the same")
    if axis is None and t.ndim > 1 and t.shape[0] == t.shape[-1] == 12:
        raise InputError(f"In shape {t.shape} the months may be first or last", "", "Give axis=0 or axis=-1")
    axis = axis if axis is not None else 0 if t.shape[:1] == (12,) else -1
    if not -t.ndim <= axis < t.ndim or t.shape[axis] != 12:
        raise InputError(f"Shape {t.shape} has no 12 months", "they are sought on the first and last axis")
    return _by_block(np.moveaxis(t, axis, -1), np.moveaxis(p, axis, -1))


def classify_dataset(
    dataset: xr.Dataset, temperature: str | tuple[str, str] = "tas", precipitation: str = "pr"
) -> xr.DataArray:
    """`classify` two variables of a dataset, in the units that their attribute ``units`` says.

    Args:
        dataset: normals on a dimension ``month``.
        temperature: name of a variable in K or degC, or names of the daily minimum and maximum, whose mean is
            taken; where there is no ``tas``, ``tasmin`` and ``tasmax`` are.
        precipitation: name of a variable in mm, kg m-2 or m per month, day or second; mm alone is per month.

    Raises:
        InputError: no such variable, units missing or unknown, and as `classify` does.
    """
    if temperature == "tas" and "tas" not in dataset and "tasmin" in dataset and "tasmax" in dataset:
        temperature = ("tasmin", "tasmax")
    names = (temperature,) if isinstance(temperature, str) else temperature
    for name in (*names, precipitation):
        if name not in dataset:
            raise InputError(f"There is no variable {name!r}", f"there are {sorted(map(str, dataset))}")
    first, *second = (_deg_c(dataset[name]) for name in names)
    return classify((first + second[0]) / 2 if second else first, _mm_per_month(dataset[precipitation]))


def _unmasked(values: Any) -> Months:
    return np.ma.filled(values.astype(float), np.nan) if np.ma.isMaskedArray(values) else np.asarray(values)


def pthreshold(MAT: Floats, MAP: Floats, Ps: Floats, Pw: Floats) -> Floats:
    """A tenth of the precipitation, mm, under which a place is arid: Beck et al. 2018, below table 2."""
    mostly = [10 * Pw > 7 * MAP, 10 * Ps > 7 * MAP]  # more than 70 % in winter, in summer
    return np.asarray(2 * MAT + np.select(mostly, [0.0, 28.0], 14.0))


def _rules(t: Floats, p: Floats, names: tuple[str, str]) -> Codes:
    """The table, for *t* in °C and *p* in mm of shape (12, cells); quantities have the names of the papers."""
    t_apr_sep, t_oct_mar = t[APR_SEP].sum(axis=0), t[OCT_MAR].sum(axis=0)
    apr_sep_is_summer = t_apr_sep > t_oct_mar  # where equally warm, Oct-Mar is
    in_summer = np.where(apr_sep_is_summer, p[APR_SEP], p[OCT_MAR])
    in_winter = np.where(apr_sep_is_summer, p[OCT_MAR], p[APR_SEP])

    MAT = (t_apr_sep + t_oct_mar) / 12
    Thot, Tcold, Tmon10 = t.max(axis=0), t.min(axis=0), (t > 10).sum(axis=0)
    Ps, Psdry, Pswet = in_summer.sum(axis=0), in_summer.min(axis=0), in_summer.max(axis=0)
    Pw, Pwdry, Pwwet = in_winter.sum(axis=0), in_winter.min(axis=0), in_winter.max(axis=0)
    MAP, Pdry = Ps + Pw, np.minimum(Psdry, Pwdry)
    _check(names[0], "°C", Tcold, Thot, PLAUSIBLE_DEG_C)
    _check(names[1], "mm", Pdry, np.maximum(Pswet, Pwwet), PLAUSIBLE_MM)
    Pthreshold = pthreshold(MAT, MAP, Ps, Pw)

    known = ~np.isnan(MAT + MAP)
    arid = MAP < 10 * Pthreshold  # noqa: SIM300
    main = {
        "A": ~arid & (Tcold >= 18),
        "B": arid,
        "C": ~arid & (Thot > 10) & (Tcold > 0) & (Tcold < 18),
        "D": ~arid & (Thot > 10) & (Tcold <= 0),
        "E": ~arid & (Thot <= 10),
    }
    f, m = Pdry >= 60, Pdry >= 100 - MAP / 25
    desert = MAP < 5 * Pthreshold  # noqa: SIM300
    dry_summer, dry_winter = (Psdry < 40) & (Psdry < Pwwet / 3), Pwdry < Pswet / 10
    s = dry_summer & ~(dry_winter & (Ps > Pw))  # where both are dry, the one with less rain counts
    w = dry_winter & ~(dry_summer & (Ps <= Pw))
    second = {
        "A": {"f": f, "m": ~f & m, "w": ~f & ~m},
        "B": {"W": desert, "S": ~desert},
        "C": {"s": s, "w": w, "f": ~s & ~w},
        "D": {"s": s, "w": w, "f": ~s & ~w},
        "E": {"T": Thot > 0, "F": Thot <= 0},
    }
    a = Thot >= 22
    b = ~a & (Tmon10 >= 4)
    d = ~a & ~b & (Tcold < -38)
    third = {
        "A": {"": known},
        "B": {"h": MAT >= 18, "k": MAT < 18},
        "C": {"a": a, "b": b, "c": ~a & ~b},
        "D": {"a": a, "b": b, "c": ~a & ~b & ~d, "d": d},
        "E": {"": known},
    }
    codes = np.zeros(len(known), np.int8)
    for symbol in KOPPEN_SYMBOLS:
        i, j, k = symbol[0], symbol[1], symbol[2:]
        codes[known & main[i] & second[i][j] & third[i][k]] = KOPPEN_CODES[symbol]
    return codes


def _check(name: str, unit: str, least: Floats, most: Floats, plausible: tuple[float, float]) -> None:
    """Refuse what no climate has; NaN passes."""
    low, high = plausible
    wrong = np.concatenate([least[least < low], most[most > high]])
    if len(wrong):
        why = f"normals lie from {round(low)} to {round(high)} {unit}: other units, or a fill value that is not NaN"
        raise InputError(f"Monthly {name} has the value {wrong[0]:g} {unit}", why, _MEND)


def _by_block(t: Months, p: Months, names: tuple[str, str] = ("temperature", "precipitation")) -> Codes:
    """Codes of arrays with their months on the last axis."""
    t, p = np.broadcast_arrays(t, p)
    shape = t.shape[:-1]
    t, p = (np.moveaxis(values, -1, 0).reshape(12, -1) for values in (t, p))  # views where possible
    wettest = np.fmax.reduce(p, axis=None, initial=0)
    if 0 < wettest < LEAST_WETTEST_MM:
        raise InputError(f"The wettest month of {names[1]} has {wettest:g} mm", "a rate per second?", _MEND)
    codes = np.empty(t.shape[1], np.int8)
    for start in range(0, len(codes), _BLOCK_CELLS):
        block = slice(start, start + _BLOCK_CELLS)
        codes[block] = _rules(t[:, block].astype(np.float64), p[:, block].astype(np.float64), names)
    return codes.reshape(shape)


def _cubes(t: xr.DataArray, p: xr.DataArray) -> xr.DataArray:
    try:
        xr.align(t, p, join="exact")
    except ValueError as error:
        said = "Interpolate one to the other, or assign its coordinates where they differ by rounding only"
        raise InputError("Temperature and precipitation lie on different grids", str(error), said) from error
    codes: xr.DataArray = xr.apply_ufunc(
        _by_block,
        *(cube.chunk(month=-1) if cube.chunks else cube for cube in (t, p)),
        kwargs={"names": (str(t.name or "temperature"), str(p.name or "precipitation"))},
        input_core_dims=[["month"], ["month"]],
        dask="parallelized",
        output_dtypes=[np.int8],
    )
    codes.attrs = {"long_name": "Köppen-Geiger class", "flag_values": np.arange(31, dtype=np.int8)}
    codes.attrs["flag_meanings"] = " ".join(("none", *KOPPEN_SYMBOLS))
    return codes.rename("koppen")


def _in_order(cube: xr.DataArray, what: str) -> xr.DataArray:
    """Months from January to December, with a coordinate from 1 to 12; January first where there was none."""
    if cube.sizes.get("month") != 12:
        said = f"Monthly {cube.name or what} has no 12 months on a dimension 'month'"
        do = "Average a time series with .groupby('time.month').mean('time')"
        raise InputError(said, f"its dimensions are {dict(cube.sizes)}", do)
    month = cube["month"] if "month" in cube.coords else xr.DataArray(np.arange(1, 13), dims="month")
    number = (month.dt.month if month.dtype.kind == "M" else month).values
    if sorted(number.tolist()) != list(range(1, 13)):
        raise InputError(f"Monthly {cube.name or what} has months {number.tolist()}", "expected are 1 to 12")
    cube = cube.assign_coords(month=number)
    return cube if (np.diff(number) > 0).all() else cube.sortby("month")


def _deg_c(cube: xr.DataArray) -> xr.DataArray:
    units = _units(cube).replace(" ", "_")
    if units not in _DEG_C + _KELVIN:
        raise _unknown(cube, "K or degC")
    return cube - 273.15 if units in _KELVIN else cube


def _mm_per_month(cube: xr.DataArray) -> xr.DataArray:
    found = _RATE.fullmatch(_units(cube))
    amount, period = (found[1], found[2] or found[3]) if found else ("", None)
    if amount and (period in ("month", "mon") or (period is None and amount != "m")):
        return cube * _MM[amount]
    if amount and period in _TIMES_A_DAY:
        days = xr.DataArray(np.array(DAYS, np.result_type(cube.dtype, np.float32)), dims="month")
        return _in_order(cube, "precipitation") * (days * (_MM[amount] * _TIMES_A_DAY[period]))
    raise _unknown(cube, "mm/month, mm/day, kg m-2 s-1 or m/s")


def _units(cube: xr.DataArray) -> str:
    spelt = " ".join(str(cube.attrs.get("units", "")).lower().split())
    return re.sub(r"\*\*|\^", "", re.sub(r" ?/ ?| per ", "/", spelt))


def _unknown(cube: xr.DataArray, known: str) -> InputError:
    units = cube.attrs.get("units", "")
    said = f"Variable {cube.name} has {f'unknown units {units!r}' if units else 'no units'}"
    do = f'Set dataset["{cube.name}"].attrs["units"] to {known}'
    return InputError(said, "what its values mean is not guessed", do)
