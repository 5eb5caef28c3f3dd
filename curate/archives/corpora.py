"""Existing corpora as archives: by a prefix such as ``bigearthnet:PATH``, or by what a folder looks like."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from curate.archives.bigearthnet import BigEarthNetArchive, version_of
from curate.archives.majortom import MajorTomArchive, is_majortom
from curate.archives.ssl4eo import Ssl4eoArchive, is_ssl4eo

if TYPE_CHECKING:
    from curate.archives import Archive


def open_corpus(name: str) -> Archive | None:
    """The corpus called *name*; None where it is none.

    With a prefix, ``majortom:``, ``bigearthnet:`` or ``ssl4eo:``, it must be one. Without, it is one where *name* is a
    folder in a corpus's own layout that is no static STAC catalog at the same time.

    Raises:
        InputError: it has a prefix, and is not what the prefix says, or cannot be read.
    """
    prefix, _, root = name.partition(":")
    if prefix == "majortom":
        return MajorTomArchive.open(root)
    if prefix == "bigearthnet":
        return BigEarthNetArchive.open(root)
    if prefix == "ssl4eo":
        return Ssl4eoArchive.open(root)
    path = Path(name)
    if "://" in name or not path.is_dir() or (path / "catalog.json").is_file():
        return None
    if version_of(path) is not None:
        return BigEarthNetArchive.open(name)
    if is_ssl4eo(path):
        return Ssl4eoArchive.open(name)
    if is_majortom(path):
        return MajorTomArchive.open(name)
    return None
