"""The commands of `curate` by topic: thin, with heavy imports inside the functions."""
