"""From catalog rows to pixels: read windows, bring them to one grid and one unit, check them, write shards."""
