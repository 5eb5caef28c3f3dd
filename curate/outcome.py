"""What a draw gave, told to a person: beside chance, what was left out and why, and what the sample is worth."""

from __future__ import annotations

import os
from typing import Any

from curate.building import Drawn
from curate.console import say, show_comparison
from curate.recipe import Budget, Recipe
from curate.sampling import against_chance
from curate.sampling.measures import reach_km
from curate.sampling.source import Pool
from curate.workspace import Workspace

MEASURED_UP_TO = 5_000_000  # rows of a pool


def beside_chance(pool: Pool, drawn: Drawn, recipe: Recipe) -> list[dict[str, Any]]:
    """Measures of the sample and of chance; none where the pool is too large to be looked at row by row."""
    if pool.rows > MEASURED_UP_TO:
        return []
    sampling, adjacent_km = recipe.sampling, reach_km(recipe.chips.size_m)
    name, seed = sampling.chosen_by, sampling.seed
    return against_chance(pool.read(), drawn.draw, name, seed, sampling.presence, adjacent_km)


def not_drawn(drawn: Drawn) -> dict[str, int]:
    """Candidates that were left out, by reason."""
    summary = drawn.draw.summary
    left = {
        "not drawn: over the budget": summary["available"] - summary["taken"],
        "without climate or land cover": summary["undescribed"],
        "in the buffer between splits": summary["buffer"],
    }
    return {reason: number for reason, number in left.items() if number}


def announce(
    drawn: Drawn,
    pool_rows: int,
    recipe: Recipe,
    simulated: bool,
    workspace: Workspace,
    with_pixels: int,
    chance: list[dict[str, Any]],
) -> None:
    """Say what was drawn, what it is worth, and what chance would have given."""
    rows, budget = drawn.chips.num_rows, recipe.sampling.budget
    if rows < Budget(budget).of(pool_rows):
        say(
            f"The budget of {budget} exceeds what can be drawn: all {rows:,} usable chips of {pool_rows:,} were taken."
        )
    kind = "simulated chips" if simulated else "chips"
    say(f"{os.path.relpath(workspace.catalog)}: {rows:,} {kind}, {with_pixels:,} with pixels.")
    for line in _said_of(drawn.draw.summary):
        say(line)
    if chance:
        show_comparison(chance)
    else:
        say(f"Not measured: the pool has more than {MEASURED_UP_TO:,} candidates.")


def _said_of(summary: dict[str, Any]) -> list[str]:
    """What a person should know of a draw: its worth for unbiased estimates, its splits, what was kept."""
    taken = summary["taken"]
    lines = [
        f"Weighted back to the pool, the {taken:,} chips are worth {summary['effective_size']:,.0f} drawn by chance."
    ]
    if (least := summary["least_train_eval_km"]) is not None:
        lines.append(f"The nearest chips of training and evaluation are {least:.1f} km apart.")
    if kept := summary.get("kept"):
        lines.append(
            f"Of {kept['asked']:,} chips to keep, {kept['held']:,} hold the first seats; {kept['not_in_pool']:,} are "
            f"no longer in the pool, {kept['not_drawable']:,} cannot be drawn any more."
        )
    if beyond := summary.get("beyond_target"):
        lines.append(
            f"{beyond:,} chips are of classes to which the target gives nothing: the others are used up."
        )
    return lines
