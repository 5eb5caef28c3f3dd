"""Land cover of every chip, from categorical maps, before any pixel of a scene is read.

`naming` finds a map's files, `rasters` opens them, `mesh` lays chips over their pixels, `counting` counts classes
in one pass over the map's blocks (`sampled` where chips are no mesh), `maps` puts tiles, years and legends together,
and `measures` says what a chip's fractions amount to.
"""

from curate.descriptors.thematic.maps import LandcoverMap, open_map
from curate.descriptors.thematic.measures import class_count, dominant, entropy_bits, in_common
from curate.descriptors.thematic.rasters import Tile

__all__ = ["LandcoverMap", "Tile", "class_count", "dominant", "entropy_bits", "in_common", "open_map"]
