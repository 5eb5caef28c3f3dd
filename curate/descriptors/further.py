"""The further descriptors, each optional: what a recipe can choose beside land cover and climate."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from curate.catalog.errors import InputError
from curate.catalog.schema import DescriptorInfo
from curate.descriptors import coast, embedding, season, spectral, terrain
from curate.descriptors.candidates import Candidates, Descriptor, as_column
from curate.recipe import Recipe
from curate.workspace import Workspace

ENTRIES: dict[str, Callable[[Recipe, Workspace], Descriptor]] = {  # in the order of their columns
    "terrain": terrain.open_descriptor,
    "spectral": spectral.open_descriptor,
    "season": season.open_descriptor,
    "coast": coast.open_descriptor,
    "embedding": embedding.open_descriptor,
}


def names(recipe: Recipe) -> tuple[str, ...]:
    """The further descriptors that the recipe chooses; `embedding` is one where its file is named.

    Raises:
        InputError: one that does not exist.
    """
    wanted = {*recipe.descriptors.further, *(["embedding"] if recipe.descriptors.embedding else [])}
    unknown = sorted(wanted - ENTRIES.keys())
    if unknown:
        raise InputError(
            f"There is no descriptor {', '.join(unknown)}",
            do=f"descriptors.further may name {', '.join(ENTRIES)}",
        )
    return tuple(name for name in ENTRIES if name in wanted)


def chosen(recipe: Recipe, workspace: Workspace) -> tuple[Descriptor, ...]:
    """The descriptors that the recipe chooses, ready to describe.

    Raises:
        InputError: one that does not exist, or lacks what it needs.
    """
    return tuple(ENTRIES[name](recipe, workspace) for name in names(recipe))


def columns(descriptors: tuple[Descriptor, ...]) -> tuple[DescriptorInfo, ...]:
    """The columns that they add to the pool."""
    return tuple(column for descriptor in descriptors for column in descriptor.columns)


def describe(descriptors: tuple[Descriptor, ...], candidates: Candidates) -> dict[str, pa.Array]:
    """Every column of every descriptor, one value a candidate."""
    if not len(candidates):
        return {column.name: pa.array([], column.field.type) for column in columns(descriptors)}
    found: dict[str, pa.Array] = {}
    for descriptor in descriptors:
        values = descriptor.describe(candidates)
        found |= {column.name: as_column(values[column.name], column) for column in descriptor.columns}
    return found
