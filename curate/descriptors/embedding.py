"""Embeddings from a trained model: vectors in Parquet, joined to the candidates by chip id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.catalog.errors import InputError
from curate.catalog.schema import DescriptorInfo
from curate.descriptors.candidates import Candidates
from curate.grid import Floats
from curate.recipe import Recipe
from curate.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow.dataset as ds

COLUMN = "embedding"  # of the file and of the pool
_BATCH_ROWS = 16_384


@dataclass(frozen=True)
class Embedding:
    """Vectors of *size* numbers by chip id, in a Parquet file or a folder of them."""

    path: str
    size: int

    @property
    def columns(self) -> tuple[DescriptorInfo, ...]:
        """One column of lists."""
        return (
            DescriptorInfo(COLUMN, "Vector of a trained model; null where its file has none.", "", self.size),
        )

    def describe(self, candidates: Candidates) -> dict[str, Floats]:
        """The vector of each chip, NaN where the file has none.

        Raises:
            InputError: a vector of another length or with a missing number, or two for one chip.
        """
        found = _dataset(self.path).scanner(
            columns=["chip_id", COLUMN],
            filter=pc.field("chip_id").isin(pa.array(candidates.chip_id, pa.string())),
            batch_size=_BATCH_ROWS,
        )
        # until duplicates are left out, an id may be that of several candidates: each gets the vector
        ids, candidate = np.unique(np.asarray(candidates.chip_id, dtype=str), return_inverse=True)
        vectors, number = np.full((len(ids), self.size), np.nan), np.zeros(len(ids), np.int64)
        for batch in found.to_batches():
            if batch.num_rows:
                at = np.searchsorted(ids, batch["chip_id"].to_numpy(zero_copy_only=False).astype(str))
                vectors[at] = _vectors(batch[COLUMN], self.size, self.path)
                np.add.at(number, at, 1)
        twice = ids[number > 1]
        if len(twice):
            raise InputError(f"Embeddings {self.path} have chip {twice[0]} more than once")
        return {COLUMN: vectors[candidate]}


def open_descriptor(recipe: Recipe, workspace: Workspace) -> Embedding:
    """The recipe's embeddings.

    Raises:
        InputError: no file is named, or it cannot be read, lacks a column, has no row, or no vectors.
    """
    path = recipe.descriptors.embedding
    if path is None:
        raise InputError("No embeddings are named", do="Set descriptors.embedding to a Parquet file")
    dataset = _dataset(path)
    kind = dataset.schema.field(COLUMN).type
    if pa.types.is_fixed_size_list(kind):
        return Embedding(path, kind.list_size)
    first = dataset.head(1, columns=[COLUMN])
    size = len(first[COLUMN][0]) if first.num_rows and first[COLUMN][0].is_valid else 0
    if not size:
        raise InputError(f"Embeddings {path} are empty", "the first row has no vector")
    return Embedding(path, size)


def _dataset(path: str) -> ds.Dataset:
    import pyarrow.dataset as ds

    try:
        dataset = ds.dataset(path, format="parquet")
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"Embeddings {path} cannot be read", " ".join(str(error).split())) from error
    names = dataset.schema.names
    for name in ("chip_id", COLUMN):
        if name not in names:
            raise InputError(f"Embeddings {path} have no column {name!r}", f"there are {', '.join(names)}")
    kind = dataset.schema.field(COLUMN).type
    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not listed or not pa.types.is_floating(kind.value_type):
        raise InputError(
            f"Embeddings {path} are {kind}", "column 'embedding' must hold lists of float numbers"
        )
    return dataset


def _vectors(column: pa.Array, size: int, path: str) -> Floats:
    """The vectors as an array (rows, size)."""
    lengths = pc.list_value_length(column)
    if column.null_count or pc.any(pc.not_equal(lengths, size)).as_py():
        other = sorted({str(length) for length in pc.unique(lengths).to_pylist() if length != size})
        raise InputError(
            f"Embeddings {path} are not all {size} long", f"there are some of length {', '.join(other)}"
        )
    flat = column.flatten()
    values: Floats = flat.to_numpy(zero_copy_only=False).astype(np.float64).reshape(-1, size)
    if not np.isfinite(values).all():
        raise InputError(f"Embeddings {path} hold numbers that are not finite")
    return values
