"""Scenes to pairs: for every grid cell, the anchor's acquisitions and the partners that go with them.

A pair is a cell, one acquisition of the anchor (optical) and one of every partner, none further from the anchor in
time than ``max_dt_days``; static layers are joined without a time. All steps are joins of arrays: cells with
footprints by a spatial index, acquisitions with acquisitions by a sorted search in time.
"""

from curate.pairing.pairs import pair
from curate.pairing.places import Cells, Scenes, candidate_cells, groups
from curate.pairing.table import SCENE_COLUMNS, pairs_schema

__all__ = ["SCENE_COLUMNS", "Cells", "Scenes", "candidate_cells", "groups", "pair", "pairs_schema"]
