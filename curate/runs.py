"""Runs of stages for whoever asks, a command line or a script: by which recipe, in which workspace, in which order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from curate import stages
from curate.engine import engine
from curate.recipe import Recipe, load
from curate.regions import region as named
from curate.summary import Summary
from curate.workspace import Workspace, find

Tell = Callable[[Summary], object]


def chosen(path: Path | str | None, options: dict[str, Any]) -> Recipe:
    """The recipe of a file, or the default one, with *options* (keys of the recipe) over it."""
    return (load(Path(path)) if path else Recipe()).with_options(options)


def found(region: str | None, root: Path) -> Workspace:
    """The workspace of a region, which may be given by its slug, or the only one under *root*."""
    if region is None or (root / region / "recipe.yaml").exists():
        return find(root, region)
    return find(root, named(region).slug)


def run(
    names: Sequence[str],
    recipe: Recipe,
    workspace: Workspace,
    workers: int | None = None,
    scheduler: str | None = None,
    tell: Tell | None = None,
) -> None:
    """Run the stages *names* one after the other; *tell* is given the summary of each as soon as it ends."""
    with workspace.locked(), engine(workers, scheduler) as running:
        recipe = stages.self_contained(recipe, workspace)
        for name in names:
            summary = getattr(stages, name)(recipe, workspace, running)
            if tell is not None:
                tell(summary)


def run_again(
    name: str,
    region: str | None,
    options: dict[str, Any],
    root: Path,
    workers: int | None = None,
    scheduler: str | None = None,
    tell: Tell | None = None,
) -> Workspace:
    """Run the stage *name* with the recipe that the region's tables were made with, and *options* over it."""
    recipe = found(region, root).load_recipe().with_options(options)
    workspace = stages.start(recipe, root)
    run([name], recipe, workspace, workers, scheduler, tell)
    return workspace
