"""Sampling: which candidates of a pool go into a catalog, in which split, and what chance would have chosen.

`draw` shares a budget out over a tree of strata (split → climate → land-cover set) and fills each stratum in
an order that spreads places, dates and seasons. `measure` and `compare` say what came of it.
"""

from curate.sampling.allocation import ALPHAS
from curate.sampling.baselines import against_chance, compare
from curate.sampling.draw import Draw, draw
from curate.sampling.measures import Measures, effective_number, measure
from curate.sampling.ways.chance import random, uniform_by_area

__all__ = [
    "ALPHAS",
    "Draw",
    "Measures",
    "against_chance",
    "compare",
    "draw",
    "effective_number",
    "measure",
    "random",
    "uniform_by_area",
]
